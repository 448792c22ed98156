"""The overview kept fresh: a thread works it out every few seconds, while somebody looks at it.

Whoever asks gets what is there, at once; only the first one waits. The same thread looks for what moved, a
slice of the fleet each time.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Final

from edgepress_server.errors import ServerError
from edgepress_server.store import Store
from edgepress_server.telemetry_query.movers import Watch
from edgepress_server.telemetry_query.overview import Overview, overview
from edgepress_server.telemetry_query.source import Source

log = logging.getLogger(__name__)

EVERY_S: Final = 5.0
STALE_S: Final = 30.0  # nobody looked for a while: what is there then is too old to be shown
LEAVE_S: Final = 60.0  # after the last one asked
REST: Final = 4  # of the time that a look takes, at least, the thread leaves the processor to others


class Refresh:
    def __init__(self, store: Store, source: Source, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._source = source
        self._clock = clock
        self._watch = Watch(source)
        self._lock = threading.Lock()  # of what is below
        self._looking = threading.Lock()  # one look at a time
        self._found: Overview | None = None
        self._at_s = 0.0
        self._asked_s = 0.0
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self.prepare: Callable[[Overview], None] = lambda _found: (
            None
        )  # before it is shown: answers made of it

    def newest(self) -> tuple[Overview, float]:
        """(the overview, its age in seconds). Raises StoreError where the first look fails."""
        with self._lock:
            self._asked_s = self._clock()
            found, age_s = self._found, self._asked_s - self._at_s
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(target=self._run, name="overview", daemon=True)
                self._thread.start()
        if found is not None and age_s < STALE_S:
            return found, age_s
        return self.look(older_than_s=EVERY_S), 0.0

    def look(self, older_than_s: float = 0.0) -> Overview:
        """Work it out now; where somebody else has just done so, that. Raises StoreError."""
        begun = self._clock()
        with self._looking:
            if self._found is not None and (self._at_s >= begun or begun - self._at_s < older_than_s):
                return self._found
            # Devices are read with the overview; the watch looks at those of the look before.
            found = overview(self._store, self._source, self._watch.seen)
            self.prepare(found)
            with self._lock:
                self._found, self._at_s = found, self._clock()
            return found

    def watch(self) -> None:
        """Look at the next slice of the fleet for what moved."""
        with self._lock:
            found = self._found
        if found is not None:
            with self._looking:
                self._watch.look(found.rows, self._store.now_ms())

    def close(self) -> None:
        """End the thread; it is not started again."""
        self._stop.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            begun = self._clock()
            try:
                self.look(older_than_s=EVERY_S / 2)
                self.watch()
            except (ServerError, sqlite3.Error) as error:
                log.warning("the overview cannot be worked out now (%s); trying again", error)
            took_s = self._clock() - begun
            stopped = self._stop.wait(max(EVERY_S - took_s, REST * took_s, 0.1))
            with self._lock:
                if stopped or self._clock() - self._asked_s > LEAVE_S:
                    self._thread = None
                    return

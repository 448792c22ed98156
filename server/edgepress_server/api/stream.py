"""Live events for many listeners from one look at the store.

One thread watches ``PRAGMA data_version`` four times a second, which costs next to nothing while nothing
changes, and hands new event rows to every listener's queue. It runs while somebody listens. A listener that
does not keep up is dropped: its browser connects again and resumes by Last-Event-ID.
"""

from __future__ import annotations

import json
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator

from edgepress_server.errors import ServerError, StoreError
from edgepress_server.store import Store
from edgepress_server.store.events import KEEP_EVENTS, Event

log = logging.getLogger(__name__)

POLL_S = 0.25
HEARTBEAT_S = 15.0  # a comment, so that proxies and both ends notice a dead connection
MAX_LISTENERS = 48  # each holds one of the web server's 64 threads
RESUME_LIMIT = 2000  # a listener further behind reads its page anew instead
_QUEUE_EVENTS = 2000

_CLOSED = None  # in a queue: the stream ends here


class EventFan:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._queues: set[queue.Queue[Event | None]] = set()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._also: list[Callable[[], None]] = []

    def on_close(self, also: Callable[[], None]) -> None:
        """What else ends with this process."""
        self._also.append(also)

    def listen(self, after: int | None) -> Iterator[str]:
        """Server-sent events as text, those after an id first. Raises StoreError when too many listen
        already.

        ``after`` None: from now on.
        """
        with self._lock:
            if len(self._queues) >= MAX_LISTENERS:
                raise StoreError(
                    "too_many_listeners",
                    f"{MAX_LISTENERS} pages are live already. Close one, or reload this one later.",
                )
        return self._texts(self._store.events.last_id() if after is None else after)

    def close(self) -> None:
        """End every stream and the thread."""
        self._stop.set()
        with self._lock:
            thread = self._thread
            for inbox in self._queues:
                _offer(inbox, _CLOSED)
        if thread is not None:
            thread.join(timeout=5)
        for also in self._also:
            also()

    def _texts(self, after: int) -> Iterator[str]:
        inbox: queue.Queue[Event | None] = queue.Queue(_QUEUE_EVENTS)
        with self._lock:  # in the generator, so that one that never runs leaves nothing behind
            self._queues.add(inbox)
        try:
            last = self._store.events.last_id()
            self._ensure_thread(last)
            yield "retry: 2000\n\n"
            if last - after > min(RESUME_LIMIT, KEEP_EVENTS):
                yield f'id: {last}\nevent: missed\ndata: {{"id": {last}}}\n\n'
            else:
                for event in self._store.events.after(after, RESUME_LIMIT):
                    last = max(last, event.id)
                    yield as_text(event)
            while True:
                try:
                    received = inbox.get(timeout=HEARTBEAT_S)
                except queue.Empty:
                    yield ": still here\n\n"
                    continue
                if received is _CLOSED:
                    return
                if received.id > last:  # a backlog and the watcher may both bring it
                    last = received.id
                    yield as_text(received)
        finally:
            with self._lock:
                self._queues.discard(inbox)

    def _ensure_thread(self, last: int) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._watch, args=(last,), name="events", daemon=True)
                self._thread.start()

    def _watch(self, last: int) -> None:
        connection: sqlite3.Connection | None = None
        seen_version = -1
        try:
            while not self._stop.wait(POLL_S):
                with self._lock:
                    if not self._queues:
                        self._thread = None
                        return
                try:
                    if connection is None:
                        connection = self._store.database.connect()
                    version = int(connection.execute("PRAGMA data_version").fetchone()[0])
                    if version == seen_version:
                        continue
                    seen_version = version
                    while events := self._store.events.after(last):
                        last = events[-1].id
                        self._fan_out(events)
                except (sqlite3.Error, ServerError) as error:
                    log.warning("events cannot be read now (%s); trying again", error)
        finally:
            if connection is not None:
                connection.close()

    def _fan_out(self, events: list[Event]) -> None:
        with self._lock:
            for inbox in list(self._queues):
                for event in events:
                    if not _offer(inbox, event):
                        self._queues.discard(inbox)  # it does not keep up; its stream ends at the marker
                        inbox.queue.clear()
                        _offer(inbox, _CLOSED)
                        break


def as_text(event: Event) -> str:
    """One event in the text/event-stream format."""
    return f"id: {event.id}\nevent: change\ndata: {json.dumps(vars(event), separators=(',', ':'))}\n\n"


def _offer(inbox: queue.Queue[Event | None], item: Event | None) -> bool:
    try:
        inbox.put_nowait(item)
    except queue.Full:
        return False
    return True

"""A copy of the store a day, made by the supervisor beside everything else it does.

The first is due a day after the store was made or last copied; a server that is off at that time makes it
when it is back. What goes wrong is told once, and tried again later.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from edgepress_server.errors import ServerError
from edgepress_server.store.backup import backups, make_backup

log = logging.getLogger(__name__)

EVERY_S: Final = 24 * 3600.0
RETRY_S: Final = 3600.0


class DailyBackup:
    """``kept``: how many copies stay; 0: none are made."""

    def __init__(
        self,
        store: Path,
        kept: int,
        stop: threading.Event,
        tell: Callable[[str], None],
        *,
        every_s: float = EVERY_S,
    ) -> None:
        self._store = store
        self._kept = kept
        self._stop = stop
        self._tell = tell
        self._every_s = every_s
        self._told: str | None = None
        self._began = time.time()
        self._thread = threading.Thread(target=self._run, name="backup", daemon=True)

    def start(self) -> None:
        if self._kept:
            self._thread.start()

    def join(self) -> None:
        """After ``stop``: a copy under way is broken off."""
        if self._thread.is_alive():
            self._thread.join(5.0)

    def _run(self) -> None:
        while not self._stop.wait(self._wait_s()):
            self.make()

    def _wait_s(self) -> float:
        if self._told is not None:
            return min(RETRY_S, self._every_s)
        newest = max((b.path.stat().st_mtime for b in backups(self._store.parent)), default=self._age())
        return max(0.0, min(self._every_s, newest + self._every_s - time.time()))

    def _age(self) -> float:
        """When there is no copy yet: the store's own beginning, as far as files tell."""
        try:
            return min(self._began, self._store.with_name("settings.json").stat().st_mtime)
        except OSError:
            return self._began

    def make(self) -> None:
        try:
            made = make_backup(self._store, kept=self._kept, go_on=lambda: not self._stop.is_set())
        except ServerError as error:
            if error.message != self._told and not self._stop.is_set():
                self._told = error.message
                self._tell(f"Note: no daily back-up of the store: {error.message}")
        else:
            self._told = None
            log.info("back-up made: %s", made)

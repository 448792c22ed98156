"""One at a time, in the order of coming.

Rules
-----
1. Whoever comes while nobody is in goes in at once.
2. Others wait, at most so many as each allows when it comes (``QueueFullError``), and each until its own
   deadline (``WaitedTooLongError``).
3. Who leaves hands over to the one that came first of those that still wait.
"""

import threading
import time
from collections import deque


class QueueFullError(Exception):
    """Too many are waiting already."""


class WaitedTooLongError(Exception):
    """The turn did not come in time."""


class Turn:
    """From any thread; every ``enter`` that returns needs a ``leave``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Lock] = deque()  # each is released when its turn comes

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def enter(self, *, waiting_max: int | None = None, until_s: float | None = None) -> None:
        """``until_s``: of time.monotonic(). Raises QueueFullError, WaitedTooLongError."""
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            if waiting_max is not None and len(self._waiting) >= waiting_max:
                raise QueueFullError
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if until_s is None:
            mine.acquire()
        elif not mine.acquire(timeout=max(0.0, until_s - time.monotonic())):
            self._give_up(mine)

    def leave(self) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()  # it stays taken: handed over
            else:
                self._taken = False

    def _give_up(self, mine: threading.Lock) -> None:
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)
                raise WaitedTooLongError
        # else the turn came at the very last moment

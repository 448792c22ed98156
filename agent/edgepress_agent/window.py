"""Which chunks to ask the broker for now: a window of literal topics, and what to do when one stays away.

Rules
-----
1. At most ``FETCH_WINDOW`` chunk topics are subscribed to at a time; a chunk that arrives makes place for
   the next.
2. A chunk that has not come ``PATIENCE_S`` after its topic was subscribed to is asked for on ``up/need``;
   again after twice that, and so on to ``PATIENCE_MAX_S``.
3. A chunk that came damaged is asked for at once.
4. When nothing at all has come for ``PATIENCE_S``, the broker has lost the artifact: everything missing is
   asked for, not only what the window shows.
5. Two ``need`` messages are at least ``NEED_EVERY_S`` apart.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edgepress_devices.protocol import FETCH_WINDOW

PATIENCE_S: Final = 5.0
PATIENCE_MAX_S: Final = 60.0
NEED_EVERY_S: Final = 1.0


@dataclass
class _Open:
    due_s: float  # ask for it then
    asked: int = 0


class Window:
    """Pure: clocks are passed in (any that only grows, in seconds)."""

    def __init__(self, missing: Iterable[int], now_s: float, size: int = FETCH_WINDOW) -> None:
        self._waiting = deque(missing)
        self._size = size
        self._open: dict[int, _Open] = {}
        self._last_arrival_s = now_s
        self._next_need_s = now_s

    @property
    def subscribed(self) -> list[int]:
        return sorted(self._open)

    def open(self, now_s: float) -> list[int]:
        """Chunks to subscribe to now."""
        opened = []
        while self._waiting and len(self._open) < self._size:
            n = self._waiting.popleft()
            self._open[n] = _Open(now_s + PATIENCE_S)
            opened.append(n)
        return opened

    def reopened(self, now_s: float) -> list[int]:
        """The connection is new: chunks to subscribe to again; waiting for them starts again."""
        for entry in self._open.values():
            entry.due_s, entry.asked = now_s + PATIENCE_S, 0
        self._last_arrival_s = now_s
        return self.subscribed

    def is_missing(self, n: int) -> bool:
        return n in self._open or n in self._waiting

    def arrived(self, n: int, now_s: float) -> None:
        """Chunk ``n`` is stored."""
        self._last_arrival_s = now_s
        if self._open.pop(n, None) is None and n in self._waiting:
            self._waiting.remove(n)

    def damaged(self, n: int, now_s: float) -> None:
        entry = self._open.get(n)
        if entry is not None and entry.asked == 0:
            entry.due_s = now_s  # later ones wait their turn: a forger must not make us shout

    def ask(self, now_s: float) -> list[int]:
        """Chunks to name in a ``need`` now, ascending; empty when none is due."""
        if now_s < self._next_need_s:
            return []
        due = [n for n, entry in self._open.items() if entry.due_s <= now_s]
        if not due:
            return []
        self._next_need_s = now_s + NEED_EVERY_S
        for n in due:
            entry = self._open[n]
            entry.asked += 1
            entry.due_s = now_s + min(PATIENCE_MAX_S, PATIENCE_S * 2**entry.asked)
        silent = len(due) == len(self._open) and now_s - self._last_arrival_s >= PATIENCE_S
        return sorted([*due, *self._waiting] if silent else due)

    def deadline_s(self) -> float | None:
        """When ``ask`` may have something to say; None when nothing is waited for."""
        if not self._open:
            return None
        return max(self._next_need_s, min(entry.due_s for entry in self._open.values()))

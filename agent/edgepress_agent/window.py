"""Which chunks to let come now: a window of literal topics, and what to do when one stays away.

Rules
-----
1. At most ``FETCH_WINDOW`` chunk topics are subscribed to at a time. Places that chunks left free are filled
   ``REFILL`` at a time, so that a packet subscribes to several, while most of the window is on its way.
2. A subscription brings chunks in order. One that others overtook is lost: after ``OVERTAKEN_S`` its topic is
   subscribed to again, and the broker's own copy comes, at no cost to the server. If that brings nothing it
   is asked for on ``up/need``, then subscribed to again, and so on by turns: after ``AGAIN_S``, then twice
   that, up to ``PATIENCE_MAX_S``.
3. A chunk that came damaged is asked for at once: the broker's copy may be what is damaged.
4. When nothing at all comes for ``PATIENCE_S`` (on a slow link: four times what a chunk took), the first of
   the window is subscribed to again, alone: bytes that are only late must not come twice. If ``AGAIN_S``
   later still nothing has come, the broker has lost the artifact, and everything missing is asked for, not
   only what the window shows; again after twice as long, and so on.
5. Two ``need`` messages are at least ``NEED_EVERY_S`` apart.
6. Each chunk is stored once, whichever way and however often it comes: ``is_missing`` says whether it still
   is wanted.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from edgepress_devices.protocol import FETCH_WINDOW

OVERTAKEN_S: Final = 2.0
PATIENCE_S: Final = 6.0
AGAIN_S: Final = 4.0
PATIENCE_MAX_S: Final = 60.0
NEED_EVERY_S: Final = 1.0
REFILL: Final = 4
SLOWNESS: Final = 4.0  # patience, in times between two chunks


@dataclass(slots=True)
class _Open:
    order: int  # of subscribing
    due_s: float | None = None  # something is to be done about it then; None: it is in good time
    ask: bool = False  # the server, not the broker
    tries: int = 0  # to get it, after the first

    def tried(self, now_s: float, *, ask_next: bool) -> None:
        self.due_s = now_s + min(PATIENCE_MAX_S, AGAIN_S * 2 ** min(self.tries, 10))
        self.ask = ask_next
        self.tries += 1


class Window:
    """Pure: clocks are passed in (any that only grows, in seconds)."""

    def __init__(self, missing: Iterable[int], now_s: float, size: int = FETCH_WINDOW) -> None:
        self._order = deque(missing)  # may name some that came meanwhile
        self._missing = set(self._order)
        self._size = size
        self._open: dict[int, _Open] = {}  # in the order of subscribing
        self._subscriptions = 0
        self._quiet_s = now_s  # since then nothing has come
        self._gap_s = 0.0  # between two chunks, averaged
        self._silences = 0  # steps of rule 4 that were taken since something came
        self._silence_due_s = now_s
        self._next_need_s = now_s
        self.unanswered = 0  # needs for everything, since the last chunk came

    @property
    def subscribed(self) -> list[int]:
        return sorted(self._open)

    @property
    def remaining(self) -> int:
        """Chunks that have not come."""
        return len(self._missing)

    def is_missing(self, n: int) -> bool:
        return n in self._missing

    # --- opening and closing ------------------------------------------------------------------------------

    def room(self) -> int:
        """How many chunks ``open`` would open, were all of them allowed."""
        room = min(self._size - len(self._open), len(self._missing) - len(self._open))
        return room if not self._open or room >= min(REFILL, len(self._missing) - len(self._open)) else 0

    def open(self, now_s: float, most: int = FETCH_WINDOW) -> list[int]:
        """Chunks to subscribe to now, at most ``most``."""
        opened: list[int] = []
        room = min(self.room(), most)
        if room > 0 and not self._open:
            self._quiet_s = now_s  # until now nothing was waited for
        while self._order and len(opened) < room:
            n = self._order.popleft()
            if n in self._missing:
                self._open[n] = _Open(self._subscriptions)
                self._subscriptions += 1
                opened.append(n)
        return opened

    def reopened(self, now_s: float) -> list[int]:
        """The connection is new: chunks to subscribe to again; waiting for them starts again."""
        again = list(self._open)
        for n in again:
            self._open[n] = _Open(self._subscriptions)
            self._subscriptions += 1
        self._heard(now_s)
        return again

    def close(self) -> list[int]:
        """Let nothing come for now; what was subscribed to until now, which ``open`` begins with again."""
        closed = self.subscribed
        self._order.extendleft(reversed(closed))
        self._open.clear()
        self._silences = self.unanswered = 0
        return closed

    def hopeless(self, now_s: float) -> bool:
        """Two needs for everything brought nothing, and a third is due: this way is closed."""
        return self.unanswered >= 2 and self._is_silent(now_s)

    # --- what came ----------------------------------------------------------------------------------------

    def arrived(self, n: int, now_s: float) -> None:
        """Chunk ``n`` is stored."""
        self._missing.discard(n)
        entry = self._open.pop(n, None)
        if entry is not None:
            for other in self._open.values():
                if other.order > entry.order:
                    break
                if other.due_s is None:
                    other.due_s = now_s + max(OVERTAKEN_S, SLOWNESS * self._gap_s)
        gap_s = now_s - self._quiet_s
        if gap_s > 0:
            self._gap_s = gap_s if not self._gap_s else 0.7 * self._gap_s + 0.3 * gap_s
        self._heard(now_s)

    def damaged(self, n: int, now_s: float) -> None:
        entry = self._open.get(n)
        if (
            entry is not None and entry.tries == 0
        ):  # later ones wait their turn: a forger must not make us shout
            entry.due_s, entry.ask = now_s, True

    def _heard(self, now_s: float) -> None:
        self._quiet_s = now_s
        self._silences = self.unanswered = 0

    # --- what did not come --------------------------------------------------------------------------------

    def again(self, now_s: float) -> list[int]:
        """Chunks to subscribe to again now (rules 2 and 4)."""
        due = [n for n, entry in self._open.items() if _is_due(entry, now_s) and not entry.ask]
        if self._silences == 0 and self._is_silent(now_s):
            self._was_silent(now_s)
            due = due or [next(iter(self._open))]
        for n in due:
            self._open[n].tried(now_s, ask_next=True)
        return due

    def ask(self, now_s: float) -> list[int]:
        """Chunks to name in a ``need`` now, ascending; empty when none is due."""
        if now_s < self._next_need_s:
            return []
        due = [n for n, entry in self._open.items() if _is_due(entry, now_s) and entry.ask]
        silent = self._silences > 0 and self._is_silent(now_s)
        if silent:
            self._was_silent(now_s)
            self.unanswered += 1
            due = list(self._open)
        if not due:
            return []
        self._next_need_s = now_s + NEED_EVERY_S
        for n in due:
            self._open[n].tried(now_s, ask_next=False)
        return sorted(self._missing if silent else due)

    def deadline_s(self) -> float | None:
        """When ``again`` or ``ask`` may have something to say; None when nothing is waited for."""
        if not self._open:
            return None
        due = self._silence_ends_s()
        for entry in self._open.values():
            if entry.due_s is not None:
                due = min(due, max(entry.due_s, self._next_need_s) if entry.ask else entry.due_s)
        return due

    def _is_silent(self, now_s: float) -> bool:
        return bool(self._open) and now_s >= self._silence_ends_s()

    def _silence_ends_s(self) -> float:
        if self._silences == 0:
            return self._quiet_s + max(PATIENCE_S, SLOWNESS * self._gap_s)
        return max(self._silence_due_s, self._next_need_s)

    def _was_silent(self, now_s: float) -> None:
        """Take the next step of rule 4: again after 4 seconds, 4, 8, 16 ..."""
        self._silences += 1
        wait_s = AGAIN_S * 2 ** min(max(0, self._silences - 2), 10)
        self._silence_due_s = now_s + min(PATIENCE_MAX_S, wait_s)


def _is_due(entry: _Open, now_s: float) -> bool:
    return entry.due_s is not None and entry.due_s <= now_s

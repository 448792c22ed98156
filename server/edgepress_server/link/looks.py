"""When the rollout engine looks at its rollouts: plain values, no clock of its own.

A look at a rollout of ten thousand devices takes some tenths of a second, and it may wait for sleepers for
days. So after a look that took t seconds

    there is more to do     after t, at most MORE_MOST_S: what it decided is to be sent, too
    states came             after NEWS_REST * t, at most NEWS_MOST_S: storing and sending get their time
    somebody did something  at once
    else                    after TICK_S, or IDLE_REST * t where that is longer, at most IDLE_MOST_S
"""

from __future__ import annotations

from typing import Final

TICK_S: Final = 0.25
MORE_MOST_S: Final = 0.25
NEWS_REST: Final = 3.0
NEWS_MOST_S: Final = 0.25
IDLE_REST: Final = 20.0
IDLE_MOST_S: Final = 10.0


class Looks:
    """Times are seconds of one clock that only grows."""

    def __init__(self) -> None:
        self.due_s = 0.0
        self._soonest_s = 0.0  # for news

    def looked(self, began_s: float, over_s: float, *, more: bool) -> None:
        took_s = over_s - began_s
        self._soonest_s = over_s + min(NEWS_MOST_S, NEWS_REST * took_s)
        pause_s = max(TICK_S, min(IDLE_MOST_S, IDLE_REST * took_s))
        self.due_s = over_s + (min(MORE_MOST_S, took_s) if more else pause_s)

    def news(self) -> None:
        """Devices said something."""
        self.due_s = min(self.due_s, self._soonest_s)

    def asked(self) -> None:
        """A person did something, or the broker is back."""
        self.due_s = 0.0

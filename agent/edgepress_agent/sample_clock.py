"""The time that samples carry: the board's own clock, which people, NTP and empty batteries set.

Rules
-----
1. Forward it is believed at once: a board without a clock wakes in 1970 and learns the time from the network.
2. Set back by less than ``STEP_MS`` it is waited for: samples keep the time that has passed since, so their
   times never go back.
3. Set back further, it was wrong before: the new time is taken, and ``set_back`` says so once, so that the
   outbox draws a new epoch. Within an epoch times never go back.
"""

import time
from collections.abc import Callable
from typing import Final

STEP_MS: Final = 5_000


class SampleClock:
    """``wall_ns``: Unix time; ``steady_s``: seconds, only grows."""

    def __init__(
        self,
        wall_ns: Callable[[], int] = time.time_ns,
        steady_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall_ns, self._steady_s = wall_ns, steady_s
        self._last_ms = self._wall_ms()
        self._last_s = steady_s()
        self.set_back = False

    def now_ms(self) -> int:
        """Unix milliseconds for a sample that ends now; ``set_back`` is of this call."""
        wall_ms, now_s = self._wall_ms(), self._steady_s()
        expected_ms = self._last_ms + max(0, round((now_s - self._last_s) * 1000))
        self.set_back = wall_ms < expected_ms - STEP_MS
        at_ms = wall_ms if self.set_back else max(wall_ms, self._last_ms)
        self._last_ms, self._last_s = at_ms, now_s
        return at_ms

    def _wall_ms(self) -> int:
        return max(0, self._wall_ns() // 1_000_000)

"""How often somebody may ask: a bucket of requests for each person or address, that fills again steadily.

Generous, so that nobody who works meets it: it keeps one runaway script from starving everybody else.
Kept in memory: the web role is one process, and a restart forgives everyone.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final

from edgepress_server.errors import RateLimitedError

_MAX_SOURCES: Final = 10_000  # bounds the memory; past it the sources heard from longest ago are forgotten


class RequestLimit:
    """``per_minute`` on average, ``burst`` at once, for each source."""

    def __init__(
        self, per_minute: int, burst: int, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_minute / 60
        self._burst = burst
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}  # source -> (left, at); least recent first

    def count(self, source: str) -> None:
        """Take one. Raises RateLimitedError when none is left."""
        with self._lock:
            now = self._monotonic_s()
            left, at = self._buckets.pop(source, (float(self._burst), now))
            left = min(float(self._burst), left + (now - at) * self._per_s)
            allowed = left >= 1
            self._buckets[source] = (left - 1 if allowed else left, now)
            if len(self._buckets) > _MAX_SOURCES:
                del self._buckets[next(iter(self._buckets))]
        if not allowed:
            wait_s = max(1, math.ceil((1 - left) / self._per_s))
            raise RateLimitedError(
                "too_many_requests",
                f"Too many requests in a short time from {source[:80]}. Wait {wait_s} s, then go on slower.",
                wait_s,
            )

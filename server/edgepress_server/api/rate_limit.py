"""Slows guessing down: after a number of failures from one source within a window, further tries wait.

Only failures count, so a fleet enrolling from behind one address, or a person with many tabs, is not held up.
Kept in memory: the web role is one process, and a restart forgives everyone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from edgepress_server.errors import RateLimitedError

_MAX_SOURCES = 10_000  # bounds the memory; past it the sources heard from longest ago are forgotten


class FailureLimit:
    """At most ``failures`` within ``window_s`` seconds for each source."""

    def __init__(
        self, failures: int, window_s: float, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._failures = failures
        self._window_s = window_s
        self._monotonic_s = monotonic_s
        self._lock = threading.Lock()
        self._times: dict[str, deque[float]] = {}  # insertion order = least recently failed first

    def check(self, source: str) -> None:
        """Raises RateLimitedError while the source has failed too often."""
        with self._lock:
            times = self._recent(source)
            if len(times) < self._failures:
                return
            wait_s = max(1, round(times[0] + self._window_s - self._monotonic_s()))
        raise RateLimitedError(
            "too_many_tries", f"Too many failed tries. Wait {wait_s} seconds, then try again.", wait_s
        )

    def failed(self, source: str) -> None:
        """Count a failure."""
        with self._lock:
            times = self._recent(source)
            times.append(self._monotonic_s())
            self._times.pop(source, None)
            self._times[source] = times
            if len(self._times) > _MAX_SOURCES:
                del self._times[next(iter(self._times))]

    def succeeded(self, source: str) -> None:
        """Forget the failures of a source."""
        with self._lock:
            self._times.pop(source, None)

    def _recent(self, source: str) -> deque[float]:
        times = self._times.get(source, deque())
        while times and times[0] <= self._monotonic_s() - self._window_s:
            times.popleft()
        return times

"""How fast an artifact may come: a token bucket of bytes (Turner 1986; RFC 2697 has its usual form).

Rules
-----
1. Tokens come at the rate and are kept up to two seconds' worth, or one chunk where that is more.
2. A chunk is subscribed to when its bytes are there, and takes them.
3. What came beside that (twice, or damaged) is taken too, below nothing if need be: the link carried it.
4. At the start there is one chunk's worth: a fetch begins at once, and its first seconds are at the rate.
"""

from typing import Final

from edgepress_devices.protocol import CHUNK_MAX_BYTES

BURST_S: Final = 2.0


class Pace:
    """Pure: clocks are passed in (any that only grows, in seconds). ``rate_bytes_s`` None = no limit."""

    def __init__(self, rate_bytes_s: int | None, now_s: float) -> None:
        self._rate = rate_bytes_s
        self._tokens = float(CHUNK_MAX_BYTES)
        self._at_s = now_s

    @property
    def rate_bytes_s(self) -> int | None:
        return self._rate

    def set_rate(self, rate_bytes_s: int | None, now_s: float) -> None:
        """Another rate from now on."""
        self._refill(now_s)
        self._rate = rate_bytes_s
        self._refill(now_s)

    def chunks(self, now_s: float, most: int) -> int:
        """How many whole chunks may be subscribed to now, at most ``most``."""
        if self._rate is None:
            return most
        self._refill(now_s)
        return max(0, min(most, int(self._tokens / CHUNK_MAX_BYTES)))

    def spend(self, size_bytes: int, now_s: float) -> None:
        if self._rate is not None:
            self._refill(now_s)
            self._tokens -= size_bytes

    def ready_s(self) -> float:
        """When the next chunk may be subscribed to."""
        if self._rate is None:
            return self._at_s
        # A microsecond on top: rounding must not wake us just too early, over and over.
        return self._at_s + max(0.0, (CHUNK_MAX_BYTES - self._tokens) / self._rate) + 1e-6

    def _refill(self, now_s: float) -> None:
        if self._rate is not None:
            most = max(float(CHUNK_MAX_BYTES), BURST_S * self._rate)
            self._tokens = min(most, self._tokens + max(0.0, now_s - self._at_s) * self._rate)
        self._at_s = max(self._at_s, now_s)

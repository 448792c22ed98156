"""What time it may be: this device's clock, or, where that cannot be right, signed time that passes on.

Boards without a battery start in 1970. The floor is the newest time that the director signed; since this
device learnt of it (or started) time has passed, so the truth is not before the floor and as much. A clock
that is behind that is not believed.
"""

from typing import Final

NO_CLOCK_S: Final = 1_704_067_200  # 2024-01-01: nothing of this protocol is older
_SLACK_S: Final = 600.0  # two clocks that were both set may differ by as much


class SignedClock:
    """Pure: ``clock_s`` is the device's clock (Unix seconds), ``now_s`` any clock that only grows."""

    def __init__(self) -> None:
        self._floor_s = 0
        self._floor_at_s = 0.0
        self.trusted = True  # the device's own clock counts

    def read(self, clock_s: float, now_s: float, floor_s: int) -> float:
        """Unix seconds, never before the floor."""
        if floor_s < self._floor_s:
            self._floor_s = 0  # another director: what the old one signed binds no more
        if floor_s > self._floor_s:
            # Not where the old floor has got to already by itself: time would go back.
            passed_s = now_s - self._floor_at_s if self._floor_s else 0.0
            if not self._floor_s or floor_s > self._floor_s + passed_s:
                self._floor_s, self._floor_at_s = floor_s, now_s
        least_s = self._floor_s + (now_s - self._floor_at_s if self._floor_s else 0.0)
        self.trusted = clock_s >= NO_CLOCK_S and clock_s >= least_s - _SLACK_S
        return max(clock_s, least_s)

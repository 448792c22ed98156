"""Looks at the board between two visits: sensors, clock, and how much everybody else used the processor."""

import os
import time
from collections.abc import Callable
from pathlib import Path

from edgepress_devices.microbench.timed import Look
from edgepress_devices.sensors import Sensors
from edgepress_devices.sensors.clock_rate import ClockRate


class BoardLook:
    """``look()`` for ``timing.time_nets``. Power is measured or None, never estimated. Use from one thread.

    What this process itself used (all its threads) is taken off the board's CPU use: the rest is everybody
    else's, the agent's own requests included.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._sensors = Sensors(root)
        self._clock_rate = ClockRate(root)
        self._clock, self._cpu_clock = clock, cpu_clock
        self._last = clock(), cpu_clock()
        self._cores = os.cpu_count() or 1

    def look(self) -> Look:
        readings = self._sensors.read()
        now_s, used_s = self._clock(), self._cpu_clock()
        elapsed_s, own_s = now_s - self._last[0], used_s - self._last[1]
        other: float | None = None
        if readings.cpu_percent is not None and elapsed_s > 0:
            own_percent = 100.0 * own_s / (elapsed_s * self._cores)
            other = min(100.0, max(0.0, readings.cpu_percent - own_percent))
        self._last = now_s, used_s
        return Look(
            throttled=readings.throttled,
            temp_c=readings.temp_c,
            clock_mhz=self._clock_rate.mhz(),
            power_mw=readings.power_mw,
            other_cpu_percent=other,
        )

    def close(self) -> None:
        self._sensors.close()

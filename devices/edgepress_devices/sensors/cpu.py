"""CPU use: of the whole board from /proc/stat, of this process from its own clock."""

import time
from collections.abc import Callable
from pathlib import Path

from edgepress_devices.say_once import say_once
from edgepress_devices.sensors.kernel_file import KernelFile


class CpuUse:
    """Percent of all cores that was not idle since the last call; waiting for the disk counts as idle."""

    def __init__(self, root: Path) -> None:
        self._file = KernelFile(root / "proc/stat", size=256)  # only the first line, the sum, is used
        self._last = self._ticks()
        self._percent: float | None = None

    def percent(self) -> float | None:
        now = self._ticks()
        if now is None or self._last is None:
            self._last = now
            return None
        busy, total = now[0] - self._last[0], now[1] - self._last[1]
        if total > 0:  # 0: called twice within one tick (10 ms), nothing new to tell
            self._last = now
            self._percent = min(100.0, max(0.0, 100.0 * busy / total))
        return self._percent

    def _ticks(self) -> tuple[int, int] | None:
        """(busy, total) since boot."""
        line = (self._file.text() or "").partition("\n")[0].split()
        # cpu user nice system idle iowait irq softirq steal guest guest_nice (proc(5)); user has the guests
        if len(line) < 6 or line[0] != "cpu":
            say_once(f"{self._file.path} has no cpu line: CPU use is unknown (Android hides it from apps)")
            return None
        try:
            counts = [int(word) for word in line[1:9]]
        except ValueError:
            say_once(f"{self._file.path} has a cpu line that is no numbers: CPU use is unknown")
            return None
        total = sum(counts)
        return total - counts[3] - counts[4], total


class PsutilCpuUse:
    """The same where there is no /proc (macOS, Windows)."""

    def __init__(self) -> None:
        import psutil  # Linux, where agents run, does without its megabyte

        self._cpu_percent = psutil.cpu_percent
        self._cpu_percent(interval=None)  # the first call only starts the count

    def percent(self) -> float | None:
        return float(self._cpu_percent(interval=None))


class AgentCpuUse:
    """Percent of one core that this process used since the last call, all threads together."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> None:
        self._clock, self._cpu_clock = clock, cpu_clock
        self._last = clock(), cpu_clock()

    def percent(self) -> float | None:
        now, used = self._clock(), self._cpu_clock()
        elapsed = now - self._last[0]
        if elapsed <= 0:
            return None
        percent = 100.0 * (used - self._last[1]) / elapsed
        self._last = now, used
        return percent

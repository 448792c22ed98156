"""The processor's clock right now, from cpufreq, or from /proc/cpuinfo where there is none (x86 guests)."""

import re
from pathlib import Path
from typing import Final

from edgepress_devices.sensors.kernel_file import KernelFile, entries

_CPUINFO_MHZ: Final = re.compile(r"^cpu MHz\s*: *([0-9]{1,6}(?:\.[0-9]{1,6})?)$", re.MULTILINE)
_PLAUSIBLE_MHZ: Final = (10.0, 20_000.0)
_CLOCKS_MAX: Final = 16  # each costs the kernel microseconds: of a server the first speak for all
_CPUINFO_BYTES: Final = 16_384  # about ten cores


class ClockRate:
    """Megahertz of the cores, asleep or not; cores that share one clock are read once."""

    def __init__(self, root: Path = Path("/")) -> None:
        clocks: dict[Path, tuple[KernelFile, int]] = {}  # -> the file, and how many cores it clocks
        for path in entries(root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_cur_freq"):
            clock = path.resolve()  # cpu1/cpufreq is a link to the policy that it has with cpu0
            file, cores = clocks.get(clock, (KernelFile(path, 32), 0))
            clocks[clock] = file, cores + 1
        self._clocks = list(clocks.values())[:_CLOCKS_MAX]
        self._cpuinfo: KernelFile | None = KernelFile(root / "proc/cpuinfo", _CPUINFO_BYTES)

    def mhz(self) -> float | None:
        """Of the fastest core: the others may sleep. None where the board cannot tell."""
        return max((mhz for mhz, _ in self._known()), default=None)

    def mean_mhz(self) -> float | None:
        """The mean over the cores. None where the board cannot tell."""
        known = self._known()
        cores = sum(count for _, count in known)
        return sum(mhz * count for mhz, count in known) / cores if cores else None

    def _known(self) -> list[tuple[float, int]]:
        """(MHz, cores that run at it)."""
        known = [(khz / 1000, cores) for file, cores in self._clocks if (khz := file.number()) is not None]
        if not known and self._cpuinfo is not None:
            known = [(float(found), 1) for found in _CPUINFO_MHZ.findall(self._cpuinfo.whole_text() or "")]
            if not known:
                self._cpuinfo = None  # it never will: only x86 writes the clock there
        return [(mhz, cores) for mhz, cores in known if _PLAUSIBLE_MHZ[0] <= mhz <= _PLAUSIBLE_MHZ[1]]

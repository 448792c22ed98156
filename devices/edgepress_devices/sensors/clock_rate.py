"""The processor's clock right now, from cpufreq, or from /proc/cpuinfo where there is none (x86 guests)."""

import re
from pathlib import Path
from typing import Final

from edgepress_devices.sensors.kernel_file import KernelFile, entries

_CPUINFO_MHZ: Final = re.compile(r"^cpu MHz\s*: *([0-9]{1,6}(?:\.[0-9]{1,6})?)$", re.MULTILINE)
_PLAUSIBLE_MHZ: Final = (10.0, 20_000.0)


class ClockRate:
    """Megahertz of the fastest core: the others may sleep."""

    def __init__(self, root: Path = Path("/")) -> None:
        paths = entries(root / "sys/devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_cur_freq")
        self._files = [KernelFile(path, 32) for path in paths]
        self._cpuinfo = KernelFile(root / "proc/cpuinfo", 262_144)

    def mhz(self) -> float | None:
        """None where the board cannot tell."""
        known = [khz / 1000 for file in self._files if (khz := file.number()) is not None]
        if not known:
            known = [float(found) for found in _CPUINFO_MHZ.findall(self._cpuinfo.text() or "")]
        plausible = [mhz for mhz in known if _PLAUSIBLE_MHZ[0] <= mhz <= _PLAUSIBLE_MHZ[1]]
        return max(plausible, default=None)

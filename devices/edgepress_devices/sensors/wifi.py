"""Strength of the Wi-Fi signal, from /proc/net/wireless (Linux wireless extensions, iwconfig(8)).

The first interface that is connected speaks. Kernels without the old extensions lack the file, and some
drivers give a level of their own instead of dBm: both are absent.
"""

import re
from pathlib import Path
from typing import Final

from edgepress_devices.say_once import say_once
from edgepress_devices.sensors.kernel_file import KernelFile

# face | status | quality: link, level, noise. A dot follows what was updated since the last look.
_LINE: Final = re.compile(
    r"^ *[^\s:]{1,32}: +[0-9a-f]{4} +-?\d{1,4}\.? +(-?\d{1,4})\.? ", re.MULTILINE | re.ASCII
)
_PLAUSIBLE_DBM: Final = (-120, -1)  # thermal noise of a 20 MHz channel is -101; -256 is "not connected"


class WifiSignal:
    @classmethod
    def find(cls, root: Path) -> "WifiSignal | None":
        path = root / "proc/net/wireless"
        return cls(path) if path.exists() else None

    def __init__(self, path: Path) -> None:
        self._file = KernelFile(path, 2048)

    def dbm(self) -> float | None:
        levels = [int(found) for found in _LINE.findall(self._file.text() or "")]
        for level in levels:
            if _PLAUSIBLE_DBM[0] <= level <= _PLAUSIBLE_DBM[1]:
                return float(level)
        if any(level >= 0 for level in levels):
            say_once(f"{self._file.path} has a level that is not in dBm: the Wi-Fi signal is unknown")
        return None

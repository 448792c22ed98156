"""What the board reads from its disks and writes to them, from /proc/diskstats (kernel documentation,
iostats).

Whole disks with a device behind them are counted (``/sys/block/NAME/device``: SD cards, NVMe, SATA, USB,
virtio). Partitions are parts of them; loop, zram, md and dm devices pass the same bytes on once more.
"""

import re
from pathlib import Path
from typing import Final

from edgepress_devices.say_once import say_once
from edgepress_devices.sensors.growth import Growth, Pair
from edgepress_devices.sensors.kernel_file import KernelFile

_SECTOR_BYTES: Final = 512  # of these counters, whatever the disk's own is
_COUNTER_MAX: Final = 2**64
# major minor name, reads done, merged, sectors read, ms, writes done, merged, sectors written
_LINE: Final = re.compile(
    r"^ *\d+ +\d+ ([^\s/]{1,32}) \d+ \d+ (\d{1,20}) \d+ \d+ \d+ (\d{1,20}) ", re.MULTILINE | re.ASCII
)


class DiskTraffic:
    """Bytes read and written since the last look."""

    def __init__(self, root: Path) -> None:
        self._file = KernelFile(root / "proc/diskstats", 65_536)
        self._folder = root / "sys/block"
        self._whole: dict[str, bool] = {}  # devices that are there now
        self._growth = Growth()
        self._growth.since_last(self._counters())

    def since_last(self) -> Pair | None:
        grown = self._growth.since_last(self._counters())
        return None if grown is None else Pair(*(sectors * _SECTOR_BYTES for sectors in grown))

    def _counters(self) -> dict[str, Pair] | None:
        text = self._file.whole_text()
        if text is None:
            return None
        found = {name: Pair(int(read), int(written)) for name, read, written in _LINE.findall(text)}
        self._whole = {
            name: self._whole[name] if name in self._whole else (self._folder / name / "device").exists()
            for name in found
        }
        counted = {
            name: pair for name, pair in found.items() if self._whole[name] and max(pair) < _COUNTER_MAX
        }
        if not counted:
            say_once(f"{self._file.path} lists no disk of this board: disk traffic is unknown")
            return None
        return counted

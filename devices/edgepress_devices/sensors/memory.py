"""Memory of the board and of this process, in bytes."""

import os
import re
from pathlib import Path
from typing import Final, NamedTuple

from edgepress_devices.say_once import say_once
from edgepress_devices.sensors.kernel_file import KernelFile

_BYTES_MAX: Final = 2**53  # of protocol.Count
_LINE: Final = re.compile(
    r"^(MemTotal|MemAvailable|SwapTotal|SwapFree): *([0-9]{1,20})(?: kB)?$", re.MULTILINE | re.ASCII
)


class MemoryUse(NamedTuple):
    used_bytes: int
    total_bytes: int
    swap_used_bytes: int | None  # None: this board has no swap


class SystemMemory:
    """/proc/meminfo: used = MemTotal - MemAvailable, so page cache that can be dropped is not used."""

    def __init__(self, root: Path) -> None:
        self._file = KernelFile(root / "proc/meminfo", size=2048)  # swap stands around the 15th line

    def read(self) -> MemoryUse | None:
        found = {name: int(kib) * 1024 for name, kib in _LINE.findall(self._file.text() or "")}
        total, available = found.get("MemTotal"), found.get("MemAvailable")
        if total is None or available is None or not 0 < total < _BYTES_MAX:
            say_once(f"{self._file.path} does not tell MemTotal and MemAvailable: memory use is unknown")
            return None
        return MemoryUse(max(0, total - available), total, _swap_used(found))


def _swap_used(found: dict[str, int]) -> int | None:
    total, free = found.get("SwapTotal"), found.get("SwapFree")
    if not total or free is None or total >= _BYTES_MAX:
        return None
    return max(0, total - free)


class PsutilMemory:
    """The same where there is no /proc (macOS, Windows)."""

    def read(self) -> MemoryUse | None:
        import psutil  # Linux, where agents run, does without its megabyte

        memory = psutil.virtual_memory()
        swap = psutil.swap_memory()
        return MemoryUse(
            memory.total - memory.available, memory.total, int(swap.used) if swap.total else None
        )


class ProcessMemory:
    """Resident set of this process: second field of /proc/self/statm, in pages (proc(5))."""

    def __init__(self, root: Path) -> None:
        self._file = KernelFile(root / "proc/self/statm", size=128)
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")

    def rss_bytes(self) -> int | None:
        words = (self._file.text() or "").split()
        if len(words) < 2 or not words[1].isdecimal() or int(words[1]) * self._page_bytes >= _BYTES_MAX:
            say_once(f"{self._file.path} does not tell the resident pages: the agent's memory is unknown")
            return None
        return int(words[1]) * self._page_bytes


class PsutilProcessMemory:
    def __init__(self) -> None:
        import psutil

        self._process = psutil.Process()

    def rss_bytes(self) -> int | None:
        return int(self._process.memory_info().rss)

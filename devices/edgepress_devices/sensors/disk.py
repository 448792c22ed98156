"""Free bytes where the agent keeps its artifacts."""

import shutil
from pathlib import Path

from edgepress_devices.say_once import say_once


class DiskFree:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def free_bytes(self) -> int | None:
        """Free to this user; reserved blocks do not count."""
        try:
            return shutil.disk_usage(self._folder).free
        except OSError as error:
            say_once(f"free space of {self._folder} is unknown: {error.strerror}")
            return None

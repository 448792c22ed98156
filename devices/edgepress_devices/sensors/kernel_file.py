"""Files of /proc and /sys, kept open: the kernel writes them anew for every read at offset 0.

One ``pread`` costs a fifth of open, read and close. A file that stops answering (a board part that went to
sleep, a battery pulled out) is opened again at the next read.
"""

import os
from collections.abc import Callable
from pathlib import Path

from edgepress_devices.say_once import say_once


class KernelFile:
    """One attribute of the kernel. ``text()`` and ``number()`` answer None where it cannot be read."""

    def __init__(self, path: Path, size: int = 4096) -> None:
        self.path = path
        self._size = size
        self._fd: int | None = None

    def text(self) -> str | None:
        """What one read gives: lists (``seq_file``) come a page of 4 KiB at a time."""
        return self._read(self._read_once)

    def whole_text(self) -> str | None:
        """A list in as many reads as it takes, ``size`` bytes at most, no line of it torn."""
        return self._read(self._read_all)

    def _read(self, read: Callable[[int], bytes]) -> str | None:
        try:
            if self._fd is None:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            return read(self._fd).decode("utf-8", "replace")
        except OSError as error:
            # EAGAIN, ENODEV, ENODATA: parts that sleep; EACCES: root only; ENOENT: not this board
            say_once(f"{self.path} cannot be read: {error.strerror}")
            self.close()
            return None

    def _read_once(self, fd: int) -> bytes:
        return os.pread(fd, self._size, 0)

    def _read_all(self, fd: int) -> bytes:
        data = b""
        while len(data) < self._size:
            part = os.pread(fd, self._size - len(data), len(data))
            if not part:
                return data
            data += part
        return data[: data.rfind(b"\n") + 1]

    def number(self) -> int | None:
        text = self.text()
        if text is None:
            return None
        try:
            return int(text)
        except ValueError:
            say_once(f"{self.path} holds no number: {text[:40]!r}", key=f"{self.path} no number")
            return None

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __del__(self) -> None:
        self.close()


def first_line(path: Path) -> str:
    """A small file's first line without white space or trailing NUL; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            raw = file.read(4096)
    except OSError:  # most boards lack most of these files, and that is how we find out
        return ""
    lines = raw.decode("utf-8", "replace").replace("\0", "").splitlines()
    return lines[0].strip() if lines else ""


def entries(folder: Path, pattern: str) -> list[Path]:
    """What a folder of /sys has under this pattern, in natural order; nothing where it is missing."""
    try:
        return sorted(folder.glob(pattern), key=lambda path: (len(path.name), path.name))
    except OSError:
        return []

"""A disk that dies: before, in the middle of, or after the n-th change, and stays dead."""

import errno
import io
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from edgepress_agent.durable import Disk


class PowerCut(BaseException):
    """Not an Exception: nothing may catch it."""


def cut() -> None:
    raise PowerCut


def kill_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DyingDisk(Disk):
    """Dies at half-change ``at``: changes count 0, 1 (middle), 2, 3 (middle), ... ``die`` does not return."""

    def __init__(self, at: int | None = None, die: Callable[[], None] = cut) -> None:
        self.count = 0
        self._at = at
        self._die = die

    def _tick(self) -> None:
        if self._at is not None and self.count >= self._at:
            self._die()
        self.count += 1

    def write_whole(self, path: Path, data: bytes) -> None:
        self._tick()
        if self.count == self._at:
            path.with_name(f".{path.name}.new").write_bytes(data[: len(data) // 2])
        self._tick()
        super().write_whole(path, data)

    def write_through(self, path: Path, fill: Callable[[BinaryIO], None]) -> None:
        self._tick()
        if self.count == self._at:
            half = io.BytesIO()
            fill(half)
            path.with_name(f".{path.name}.new").write_bytes(half.getvalue()[: half.tell() // 2])
        self._tick()
        super().write_through(path, fill)

    def write_at(self, path: Path, pieces: Sequence[tuple[int, bytes]]) -> None:
        self._tick()
        if self.count == self._at:
            offset, data = pieces[0]
            super().write_at(path, [(offset, data[: len(data) // 2])])
        self._tick()
        super().write_at(path, pieces)

    def allocate(self, path: Path, size_bytes: int) -> None:
        self._tick()
        if self.count == self._at:
            super().allocate(path, size_bytes // 2)
        self._tick()
        super().allocate(path, size_bytes)

    def make_folder(self, path: Path) -> None:
        self._tick()
        super().make_folder(path)

    def move(self, source: Path, target: Path) -> None:
        self._tick()
        super().move(source, target)

    def remove(self, path: Path) -> None:
        self._tick()
        if self.count == self._at and path.is_dir():
            aside = path.with_name(f".old-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            next(file for file in aside.iterdir()).unlink()
        self._tick()
        super().remove(path)


class RefusingDisk(Disk):
    """Refuses changes with one error (a full disk, one that turned read-only) while ``refuses``: all of them,
    or all from the ``after``-th on.
    """

    def __init__(self, error: int = errno.ENOSPC, after: int | None = None) -> None:
        self.refuses = after is not None
        self.count = 0
        self._error = error
        self._after = after or 0

    def _check(self) -> None:
        self.count += 1
        if self.refuses and self.count > self._after:
            raise OSError(self._error, os.strerror(self._error))

    def write_whole(self, path: Path, data: bytes) -> None:
        self._check()
        super().write_whole(path, data)

    def write_through(self, path: Path, fill: Callable[[BinaryIO], None]) -> None:
        self._check()
        super().write_through(path, fill)

    def write_at(self, path: Path, pieces: Sequence[tuple[int, bytes]]) -> None:
        self._check()
        super().write_at(path, pieces)

    def allocate(self, path: Path, size_bytes: int) -> None:
        self._check()
        super().allocate(path, size_bytes)


class ReadOnlyDisk(RefusingDisk):
    """Refuses removing and renaming, too, as a medium does that was mounted again read-only."""

    def __init__(self, after: int = 0) -> None:
        super().__init__(errno.EROFS, after)

    def make_folder(self, path: Path) -> None:
        if not path.is_dir():
            self._check()
        super().make_folder(path)

    def move(self, source: Path, target: Path) -> None:
        self._check()
        super().move(source, target)

    def remove(self, path: Path) -> None:
        if path.exists():
            self._check()
        super().remove(path)


class KeepingDisk(Disk):
    """Refuses to remove anything while ``refuses``, as a failing card or a damaged folder does."""

    refuses = False

    def remove(self, path: Path) -> None:
        if self.refuses and path.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().remove(path)


class FullDisk(RefusingDisk):
    """Refuses every change with ENOSPC while ``full``."""

    @property
    def full(self) -> bool:
        return self.refuses

    @full.setter
    def full(self, value: bool) -> None:
        self.refuses = value

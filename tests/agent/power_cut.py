"""A disk that dies: before, in the middle of, or after the n-th change, and stays dead."""

import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

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


class FullDisk(Disk):
    """Refuses every change with ENOSPC while ``full``."""

    def __init__(self) -> None:
        self.full = False

    def _check(self) -> None:
        if self.full:
            raise OSError(28, os.strerror(28))

    def write_whole(self, path: Path, data: bytes) -> None:
        self._check()
        super().write_whole(path, data)

    def write_at(self, path: Path, pieces: Sequence[tuple[int, bytes]]) -> None:
        self._check()
        super().write_at(path, pieces)

    def allocate(self, path: Path, size_bytes: int) -> None:
        self._check()
        super().allocate(path, size_bytes)

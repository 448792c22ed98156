"""Changes to the state folder that survive a power cut, each one whole or not at all.

Every write of the agent that must last goes through a :class:`Disk`. It is passed in, so a test can hand over
one that stops at any line.
"""

import errno
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO


class Disk:
    """The real disk. All methods raise OSError; ``ENOSPC`` and the like are for the caller to explain."""

    def write_whole(self, path: Path, data: bytes) -> None:
        """Replace ``path`` by ``data``, mode 0600: after a crash it holds the old bytes or the new ones."""
        aside = path.with_name(f".{path.name}.new")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        aside.replace(path)
        self.sync_folder(path.parent)

    def write_through(self, path: Path, fill: Callable[[BinaryIO], None]) -> None:
        """As ``write_whole``, for what is too large for memory: ``fill`` writes into the file that becomes
        ``path``. What ``fill`` raises passes through, and ``path`` is as before.
        """
        aside = path.with_name(f".{path.name}.new")
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                fill(file)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        aside.replace(path)
        self.sync_folder(path.parent)

    def write_at(self, path: Path, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Write (offset, bytes) pieces into an existing file; on return they are on the medium."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            for offset, data in pieces:
                done = 0
                while done < len(data):
                    done += os.pwrite(descriptor, data[done:], offset + done)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def allocate(self, path: Path, size_bytes: int) -> None:
        """Create a file of zeros, its blocks reserved where the file system can: a full disk shows now."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, size_bytes)
            if size_bytes and hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(descriptor, 0, size_bytes)
                except OSError as error:
                    if error.errno not in (
                        errno.EOPNOTSUPP,
                        errno.EINVAL,
                    ):  # FAT, some overlays: no such call
                        raise
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self.sync_folder(path.parent)

    def make_folder(self, path: Path) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.sync_folder(path.parent)

    def move(self, source: Path, target: Path) -> None:
        """Rename a file or a folder; ``target`` must not be a folder with something in it."""
        source.rename(target)
        self.sync_folder(target.parent)
        if source.parent != target.parent:
            self.sync_folder(source.parent)

    def remove(self, path: Path) -> None:
        """Remove a file or a whole folder; nothing there is fine.

        A folder is first renamed to ``.old-...``, so that half a folder never bears its name.
        """
        if path.is_dir():
            aside = path.with_name(f".old-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            shutil.rmtree(aside)
        elif os.path.lexists(path):  # a read-only disk would refuse to remove even what is not there
            path.unlink()
        if path.parent.is_dir():
            self.sync_folder(path.parent)

    def sync_folder(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(disk: Disk, folder: Path) -> None:
    """Remove what an interrupted change left beside its target (``.name.new``, ``.old-name``)."""
    for path in list(folder.iterdir()):
        if path.name.startswith(".old-") and path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.startswith(".") and path.name.endswith(".new"):
            disk.remove(path)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]

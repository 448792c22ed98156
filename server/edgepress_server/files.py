"""Files that are whole at any moment: written aside, fsynced, then put in place."""

from __future__ import annotations

import os
from pathlib import Path

from edgepress_server.errors import DiskFullError, StoreError, is_disk_full


def replace_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file so that a reader, or a power cut, finds the old bytes or the new ones.

    Raises DiskFullError, StoreError (folder missing, no rights).
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        handle = os.open(aside, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError() from error
        raise StoreError("file_not_written", f"{path} cannot be written: {error}.") from error


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

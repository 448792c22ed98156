"""Content-addressed files: ``blobs/ab/<sha256>``, each written aside, synced and renamed, so it is whole or
absent.

A blob no row names is garbage and harms nothing: blobs are written before the row that names them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from edgepress_server.errors import DiskFullError, NotFoundError, StoreError, TooLargeError, is_disk_full
from edgepress_server.files import sync_folder

COPY_BYTES = 1 << 20  # read and hashed at a time
_STALE_S = 24 * 3600  # a file put aside longer ago than this belongs to nobody alive


class Blobs:
    """The folder of blobs. Safe to share between threads and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, digest: str) -> Path:
        """Where a blob lies. Raises NotFoundError when it is not there."""
        path = self._place(digest)
        if not path.is_file():
            raise NotFoundError(
                "blob_missing",
                f"The file {digest[:12]}... is gone from {self.folder}. Restore it from a back-up, "
                "or add it again (an artifact: compress again).",
            )
        return path

    def read(self, digest: str) -> bytes:
        """A blob's bytes, checked. Raises NotFoundError, and StoreError when bits have flipped."""
        data = self.path(digest).read_bytes()
        self._check(digest, hashlib.sha256(data).hexdigest())
        return data

    def intact(self, digest: str) -> Path:
        """Where a blob lies, after a look at every byte of it. Raises as `read`."""
        path = self.path(digest)
        with path.open("rb") as file:
            self._check(digest, hashlib.file_digest(file, "sha256").hexdigest())
        return path

    def put(self, data: bytes) -> str:
        """Store bytes; returns their SHA-256. Raises DiskFullError."""
        with self.writer() as writer:
            writer.write(data)
            return writer.keep()

    def put_stream(self, parts: Iterable[bytes], limit_bytes: int) -> str:
        """Store a stream; returns its SHA-256. Raises TooLargeError past the limit, DiskFullError."""
        with self.writer(limit_bytes) as writer:
            for part in parts:
                writer.write(part)
            return writer.keep()

    def writer(self, limit_bytes: int | None = None) -> BlobWriter:
        """A file put aside: ``with blobs.writer() as writer: writer.write(...); writer.keep()``."""
        return BlobWriter(self, self.aside() / secrets.token_hex(16), limit_bytes)

    def aside(self) -> Path:
        """The folder for what is being made; `sweep` removes what a killed process left there."""
        aside = self.folder / "aside"
        aside.mkdir(parents=True, exist_ok=True, mode=0o700)
        return aside

    def check_room(self, needed_bytes: int) -> None:
        """Refuse early what cannot fit: raises DiskFullError."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if shutil.disk_usage(self.folder).free < needed_bytes:
            raise DiskFullError()

    def sweep(self) -> int:
        """Remove files put aside by processes that died long ago; returns how many."""
        removed = 0
        for path in self.aside().iterdir():
            try:
                if time.time() - path.lstat().st_mtime <= _STALE_S:
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()
                removed += 1
            except FileNotFoundError:
                pass  # its writer has just kept or dropped it
        return removed

    def _place(self, digest: str) -> Path:
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
            raise NotFoundError("blob_unknown", f"{digest[:80]!r} is no SHA-256.")
        return self.folder / digest[:2] / digest

    def _check(self, digest: str, found: str) -> None:
        if found != digest:
            raise StoreError(
                "blob_damaged",
                f"{self._place(digest)} was damaged on disk. Restore it from a back-up or add it again.",
            )

    def _adopt(self, aside: Path, digest: str) -> None:
        place = self._place(digest)
        place.parent.mkdir(exist_ok=True, mode=0o700)
        aside.replace(place)
        sync_folder(place.parent)
        sync_folder(self.folder)  # the two-letter folder may be new


class BlobWriter:
    """A file put aside. What is not kept when the ``with`` ends is removed."""

    def __init__(self, blobs: Blobs, path: Path, limit_bytes: int | None) -> None:
        self._blobs = blobs
        self._limit_bytes = limit_bytes
        self._hash = hashlib.sha256()
        self.path = path
        self.size_bytes = 0
        try:
            self._file = path.open("xb")
        except OSError as error:
            if is_disk_full(error):
                raise DiskFullError() from error
            raise

    def write(self, part: bytes) -> None:
        """Append. Raises TooLargeError past the limit, DiskFullError."""
        self.size_bytes += len(part)
        if self._limit_bytes is not None and self.size_bytes > self._limit_bytes:
            raise TooLargeError(
                "too_large",
                f"The upload is larger than {self._limit_bytes / 2**20:,.0f} MiB; it was not kept.",
            )
        try:
            self._file.write(part)
        except OSError as error:
            if is_disk_full(error):
                raise DiskFullError() from error
            raise
        self._hash.update(part)

    def flush(self) -> Path:
        """Everything written so far is in the file (for a look at it before keeping); returns its path."""
        try:
            self._file.flush()
        except OSError as error:
            if is_disk_full(error):
                raise DiskFullError() from error
            raise
        return self.path

    def keep(self) -> str:
        """Sync and move to its place; returns the SHA-256."""
        digest = self._hash.hexdigest()
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._blobs._adopt(self.path, digest)
        except OSError as error:
            if is_disk_full(error):
                raise DiskFullError() from error
            raise
        return digest

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._file.close()
        except OSError:
            pass  # what could not be written is not kept; the first error is already on its way
        self.path.unlink(missing_ok=True)

"""An artifact on its way: chunks are put at their place in a file, and a bitmap says which are there.

::

    fetch/<digest>/artifact    the whole file's length from the start; chunk n at n * CHUNK_PLAIN_BYTES
    fetch/<digest>/bitmap      one bit a chunk, most significant bit first, set = on the medium
    fetch/<digest>/info.json   once the whole file has the digest (slots.py): then the folder becomes a slot

The data is on the medium before its bit is, so after a power cut a set bit is true, and what was fetched
once is never fetched again. A fetch that was broken off by another want stays while the next one runs, if
there is room: whoever wants it again goes on where it was.
"""

import errno
from collections.abc import Callable, Sequence
from pathlib import Path

from edgepress_agent.durable import Disk, sweep
from edgepress_agent.slots import SlotInfo, file_sha256, read_info, write_info
from edgepress_devices.protocol import CHUNK_PLAIN_BYTES


class FetchFolder:
    """``fetch/<digest>``. Methods raise OSError (a full disk among them)."""

    def __init__(self, root: Path, disk: Disk, *, digest: str, size_bytes: int, chunks: int) -> None:
        self.path = root / "fetch" / digest
        self.artifact = self.path / "artifact"
        self._bits = self.path / "bitmap"
        self._disk = disk
        self._digest = digest
        self._size_bytes = size_bytes
        self._chunks = chunks
        self._bitmap = self._read_bitmap()

    @property
    def checked(self) -> bool:
        """The whole file has the digest."""
        info = read_info(self.path)
        return info is not None and info.file_digest == self._digest

    def begin(self) -> None:
        """Make the folder and reserve the file; what is there from an earlier start stays. Of other fetches
        the newest stays too, unless its room is needed.
        """
        parent = self.path.parent
        self._disk.make_folder(parent)
        sweep(self._disk, parent)
        self.clear_others(keep=1)
        if self.has_room():
            return
        if self.path.exists():
            self._disk.remove(self.path)
        self._disk.make_folder(self.path)
        try:
            self._disk.allocate(self.artifact, self._size_bytes)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self.clear_others():
                raise
            self._disk.allocate(self.artifact, self._size_bytes)
        self._bitmap = bytearray(-(-self._chunks // 8))
        self._disk.write_whole(self._bits, bytes(self._bitmap))

    def clear_others(self, *, keep: int = 0) -> bool:
        """Remove other fetches but for the ``keep`` newest; whether there was one to remove."""
        removed = newest_first(self.path.parent, but=self.path)[keep:]
        for folder in removed:
            self._disk.remove(folder)
        return bool(removed)

    def has_room(self) -> bool:
        """The file is there in its whole length, and the bitmap beside it."""
        try:
            return self.artifact.stat().st_size == self._size_bytes and self._bits.is_file()
        except (FileNotFoundError, NotADirectoryError):
            return False

    def count(self) -> int:
        """Chunks that are here."""
        return sum(byte.bit_count() for byte in self._bitmap)

    def missing(self) -> list[int]:
        return [n for n in range(self._chunks) if not self._bitmap[n // 8] & (0x80 >> n % 8)]

    def store(self, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Put (n, plaintext) chunks in their places: data, fsync, then the bits, fsync."""
        bitmap = bytearray(self._bitmap)
        for n, _ in pieces:
            bitmap[n // 8] |= 0x80 >> n % 8
        self._disk.write_at(self.artifact, [(n * CHUNK_PLAIN_BYTES, data) for n, data in pieces])
        first = min(n // 8 for n, _ in pieces)
        last = max(n // 8 for n, _ in pieces) + 1
        self._disk.write_at(self._bits, [(first, bytes(bitmap[first:last]))])
        self._bitmap = bitmap

    def has_digest(self, keep_on: Callable[[], None]) -> bool:
        """Read the whole file and compare its SHA-256; ``keep_on`` is called between blocks and may raise."""
        return file_sha256(self.artifact, keep_on) == self._digest

    def mark_checked(self, info: SlotInfo) -> None:
        write_info(self._disk, self.path, info)

    def discard(self) -> None:
        if self.path.exists():
            self._disk.remove(self.path)
        self._bitmap = bytearray(-(-self._chunks // 8))

    def _read_bitmap(self) -> bytearray:
        length = -(-self._chunks // 8)
        try:
            data = self._bits.read_bytes() if self.has_room() else b""
        except FileNotFoundError:
            data = b""
        if len(data) != length:
            return bytearray(length)
        bitmap = bytearray(data)
        if self._chunks % 8:
            bitmap[-1] &= 0xFF << (8 - self._chunks % 8) & 0xFF  # bits past the last chunk mean nothing
        return bitmap


def newest_first(fetches: Path, but: Path | None = None) -> list[Path]:
    """The folders of unfinished artifacts, by when their last chunk came."""

    def changed_ns(folder: Path) -> int:
        try:
            return (folder / "bitmap").stat().st_mtime_ns
        except OSError:
            return 0  # it was not even begun

    folders = [folder for folder in fetches.iterdir() if folder != but] if fetches.is_dir() else []
    return sorted(folders, key=changed_ns, reverse=True)


def clear_fetches(root: Path, disk: Disk, *, keep: int = 0) -> None:
    """Drop unfinished artifacts, but for the ``keep`` newest."""
    if keep == 0 and (root / "fetch").is_dir():
        disk.remove(root / "fetch")
    for folder in newest_first(root / "fetch")[keep:]:
        disk.remove(folder)

"""Where a decoded ONNX file goes, piece by piece: into memory, or into a file."""

import io
from typing import BinaryIO, Protocol


class Sink(Protocol):
    """Takes the bytes of one file in order."""

    def begin(self, total_bytes: int) -> None:
        """How long the file will be; called once, before all else."""

    def reserve(self, size_bytes: int) -> memoryview:
        """Memory for the next ``size_bytes``, to be filled and then given to ``commit``."""

    def commit(self, region: memoryview) -> None:
        """What ``reserve`` gave is filled."""


class MemorySink:
    """Keeps the file in memory, once."""

    def __init__(self) -> None:
        self._file = io.BytesIO()
        self._at = 0

    def begin(self, total_bytes: int) -> None:
        # BytesIO takes over these bytes and later hands them out again without a copy (CPython), and
        # bytes(n) is memory that the system fills with zeros page by page as it is touched.
        self._file = io.BytesIO(bytes(total_bytes))

    def reserve(self, size_bytes: int) -> memoryview:
        region = self._file.getbuffer()[self._at : self._at + size_bytes]
        self._at += size_bytes
        return region

    def commit(self, region: memoryview) -> None:
        region.release()

    def take(self) -> bytes:
        """The file."""
        return self._file.getvalue()


class FileSink:
    """Writes to a file; holds one tensor at a time."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def begin(self, total_bytes: int) -> None:
        """Nothing is reserved on the disk."""

    def reserve(self, size_bytes: int) -> memoryview:
        return memoryview(bytearray(size_bytes))

    def commit(self, region: memoryview) -> None:
        self._file.write(region)
        region.release()

"""What a coder is. Two kinds: of bytes (any tensor) and of symbols (small whole numbers, one an element)."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[np.uint16]
Shape = tuple[int, ...]


class ByteCoder(Protocol):
    """Codes a tensor's little-endian bytes."""

    def encode(self, data: bytes, itemsize: int, is_float: bool) -> bytes:
        """The payload for ``data``; the same input gives the same payload."""

    def decode(self, payload: memoryview, size_bytes: int, itemsize: int, is_float: bool) -> bytes:
        """The inverse, of exactly ``size_bytes`` bytes. Raises CodecError for what encode never writes."""


class SymbolCoder(Protocol):
    """Codes symbols 0 .. alphabet-1 (alphabet <= 4096) of a tensor with the shape ``shape``."""

    def encode(self, symbols: Symbols, alphabet: int, shape: Shape) -> bytes | None:
        """The payload for ``symbols`` (flat, C order), or None where this coder cannot pay."""

    def decode(self, payload: memoryview, alphabet: int, shape: Shape) -> Symbols:
        """The inverse (flat, C order): all < alphabet. Raises CodecError for what encode never writes."""

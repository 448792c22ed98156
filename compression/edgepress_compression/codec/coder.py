"""What a coder is. Two kinds: of bytes (any tensor) and of symbols (small whole numbers, one an element)."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Symbols = NDArray[Any]  # uint8 or uint16, as symbol_dtype says
Shape = tuple[int, ...]


def symbol_dtype(alphabet: int) -> np.dtype[Any]:
    """The numpy type of symbols 0 .. alphabet-1."""
    return np.dtype("uint8" if alphabet <= 256 else "uint16")


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

    def decode(self, payload: memoryview, alphabet: int, shape: Shape, out: Symbols) -> None:
        """The inverse, into ``out`` (flat, C order): all < alphabet. Raises CodecError for what encode
        never writes; ``out`` then holds anything."""


class DeltaCoder(Protocol):
    """Codes symbols of a tensor given others of the same shape and alphabet that the reader has."""

    def encode(self, symbols: Symbols, alphabet: int, shape: Shape, base: Symbols) -> bytes:
        """The payload for ``symbols``; ``base`` (both flat, C order) is what each was, or is likely to be."""

    def decode(self, payload: memoryview, alphabet: int, shape: Shape, base: Symbols, out: Symbols) -> None:
        """The inverse, into ``out``. Raises CodecError for what encode never writes."""

"""What symbols stand for: elements of a tensor, made in the tensor's own memory, a block at a time."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact.format import Grid, TensorEntry, storage
from edgepress_compression.codec.coder import Symbols, symbol_dtype

BYTE_ALPHABET: Final = 256
_BLOCK: Final = 1 << 16  # elements


def alphabet(entry: TensorEntry) -> int:
    """How many symbols there are."""
    if isinstance(entry.values, Grid):
        return entry.values.count
    return entry.values or BYTE_ALPHABET


def byte_symbols(data: bytes | memoryview, dtype: str) -> Symbols:
    """int8 or uint8 elements as symbols 0..255, in the order of their values."""
    low = 128 if dtype == "int8" else 0
    return np.frombuffer(data, np.uint8) ^ np.uint8(low)


def place_for_symbols(entry: TensorEntry, region: memoryview) -> Symbols:
    """Memory for the symbols: the end of the tensor's own ``region``, where it can be.

    Elements are written from the front; a block's symbols are copied before its elements are written, so the
    symbols not yet used lie behind whatever is written.
    """
    dtype = symbol_dtype(alphabet(entry))
    used = entry.size * dtype.itemsize
    start = len(region) - used
    whole = np.frombuffer(region, np.uint8)
    odd = (whole.ctypes.data + start) % dtype.itemsize
    if start < odd:  # no room to align them
        return np.empty(entry.size, dtype)
    return whole[start - odd : len(region) - odd].view(dtype)


def expand(entry: TensorEntry, symbols: Symbols, side: bytes, region: memoryview) -> None:
    """Write the elements that ``symbols`` stand for; ``side`` are the codebook's or the scales' bytes."""
    element_of = _elements(entry, np.frombuffer(side, storage(entry.dtype)))
    out = np.frombuffer(region, storage(entry.dtype))
    for first in range(0, entry.size, _BLOCK):
        last = min(first + _BLOCK, entry.size)
        out[first:last] = element_of(symbols[first:last], first)


def _elements(entry: TensorEntry, side: NDArray[Any]) -> Callable[[Symbols, int], NDArray[Any]]:
    """(symbols of a block, flat index of its first element) -> elements, none of it the symbols' memory."""
    grid = entry.values
    if not isinstance(grid, Grid):
        if grid:
            return lambda symbols, first: side.take(symbols)
        flip = np.uint8(128 if entry.dtype == "int8" else 0)
        return lambda symbols, first: (symbols ^ flip).view(storage(entry.dtype))
    whole = np.arange(grid.lowest, grid.lowest + grid.count).astype(np.float32)
    if grid.axis < 0:
        # One multiplication a symbol gives the same float32 as one an element.
        table = whole * side[0]
        return lambda symbols, first: table.take(symbols)
    inner = int(np.prod(entry.shape[grid.axis + 1 :], dtype=np.int64))

    def scaled(symbols: Symbols, first: int) -> NDArray[Any]:
        index = np.arange(first, first + len(symbols)) // inner % len(side)
        product: NDArray[Any] = whole.take(symbols) * side.take(index)
        return product

    return scaled

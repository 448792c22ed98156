"""What symbols stand for: elements of a tensor, made in the tensor's own memory, a block at a time."""

import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact.format import PER_INDEX, TRELLIS, Grid, TensorEntry, storage
from edgepress_compression.codec import native
from edgepress_compression.codec.coder import Symbols, symbol_dtype
from edgepress_compression.codec.trellis import untangle

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
    if isinstance(entry.values, Grid) and entry.values.flags & TRELLIS:
        _expand_trellis(entry, entry.values, symbols, np.frombuffer(side, "<f4"), region)
        return
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
    if not grid.flags & PER_INDEX:
        # One multiplication a symbol gives the same float32 as one an element.
        table = whole * side[0]
        return lambda symbols, first: table.take(symbols)
    scale_of = scales_of(entry, grid, side)

    def scaled(symbols: Symbols, first: int) -> NDArray[Any]:
        product: NDArray[Any] = whole.take(symbols) * scale_of(first, len(symbols))
        return product

    return scaled


def scales_of(entry: TensorEntry, grid: Grid, scales: NDArray[Any]) -> Callable[[int, int], NDArray[Any]]:
    """A function: (flat index of the first element, how many) -> the scale of each, or the only one."""
    if not grid.flags & PER_INDEX:
        return lambda first, count: scales
    inner = math.prod(entry.shape[grid.axis + 1 :])
    return lambda first, count: scales.take(np.arange(first, first + count) // inner % len(scales))


def _expand_trellis(
    entry: TensorEntry, grid: Grid, symbols: Symbols, scales: NDArray[Any], region: memoryview
) -> None:
    # The whole numbers have the width of the elements, so they fit where the elements will lie.
    whole = np.frombuffer(region, np.uint8)
    aligned = whole.ctypes.data % 4 == 0
    integers = whole.view("<i4") if aligned else np.empty(entry.size, np.int32)
    if not native.available():
        symbols = symbols.copy()  # plain numpy goes through the rows side by side, over what lies behind
    untangle(symbols, grid.lowest, entry.shape, grid.axis, integers)
    scale_of = scales_of(entry, grid, scales)
    out = np.frombuffer(region, "<f4")
    for first in range(0, entry.size, _BLOCK):
        last = min(first + _BLOCK, entry.size)
        out[first:last] = integers[first:last].astype(np.float32) * scale_of(first, last - first)

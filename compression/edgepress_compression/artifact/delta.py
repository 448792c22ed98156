"""Sections of a delta: a tensor as what changed against the base's tensor of the same name, type and shape.

Codings of a delta, beside all others::

    same         no bytes at all, no checksum: the base's tensor
    difference   as a coding of bytes, blocks and all: planes of the differences. An element's difference is
                 (order(new) - order(base)) mod 2**w as a signed number d of w bits, stored as 2 d for d >= 0
                 and -2 d - 1 for d < 0; w = its bits. order(x) = x's bits for whole numbers, and for floats
                 all bits flipped when the sign is set, the sign flipped otherwise: a float's neighbours
                 in value are neighbours there
    a delta      codebook or scales and payload as in a section of symbols; the coder is given the symbols
    coder        that are nearest to the base's elements

The byte coder number 7 of a codebook means: the base's own values, its distinct ones ascending; no bytes.

Nearest symbols, in double precision: with a codebook, the number of midpoints (value[j] + value[j + 1]) / 2
below the element; on a grid, element / scale (element / (2 * scale) for a trellis) rounded half to even,
minus ``lowest``, held in 0 .. count - 1; 0 in place of element / 0. An element that is no number counts as
the lowest. For int8 and uint8 without a codebook, the symbol of the element.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact.base import Base
from edgepress_compression.artifact.format import (
    DIFFERENCE,
    SAME,
    TRELLIS,
    Grid,
    TensorEntry,
    is_float,
    storage,
)
from edgepress_compression.artifact.section import BLOCK_BYTES, split_body
from edgepress_compression.artifact.values import (
    alphabet,
    byte_symbols,
    expand,
    place_for_symbols,
    scales_of,
)
from edgepress_compression.codec.bytestream import ByteReader, CodecError, varint
from edgepress_compression.codec.coder import Symbols, symbol_dtype
from edgepress_compression.codec.registry import BYTE_CODERS, DELTA_CODERS

DELTA_CODINGS: Final = frozenset((SAME, DIFFERENCE, *DELTA_CODERS))
_BLOCK: Final = 1 << 16  # elements


def decode_delta(entry: TensorEntry, body: memoryview, region: memoryview, base: Base) -> None:
    """Fill ``region``, the tensor's bytes. Raises CodecError."""
    before = base.wanted(entry)
    if entry.coding == SAME:
        region[:] = before
    elif entry.coding == DIFFERENCE:
        _decode_difference(entry, body, region, before)
    else:
        side, payload = split_body(entry, body, base)
        symbols = place_for_symbols(entry, region)
        likely = nearest(entry, side, before)
        DELTA_CODERS[entry.coding].decode(payload, alphabet(entry), entry.shape, likely, symbols)
        expand(entry, symbols, side, region)


def encode_difference(new: bytes, before: memoryview, dtype: str) -> bytes:
    """The body of a difference."""
    kind = _unsigned(dtype)
    blocks = []
    for first in range(0, len(new), BLOCK_BYTES):
        ours = np.frombuffer(new[first : first + BLOCK_BYTES], kind)
        theirs = np.frombuffer(before[first : first + BLOCK_BYTES], kind)
        step = _order(ours, dtype) - _order(theirs, dtype)
        top = step >> kind.type(8 * kind.itemsize - 1)  # 1 for a negative step
        stored = (step << kind.type(1)) ^ (~top + kind.type(1))
        blocks.append(BYTE_CODERS["planes"].encode(stored.tobytes(), kind.itemsize, False))
    if len(new) <= BLOCK_BYTES:
        return blocks[0]
    return b"".join(varint(len(block)) + block for block in blocks)


def nearest(entry: TensorEntry, side: bytes, before: memoryview) -> Symbols:
    """The symbols (flat) nearest to the base's elements. Raises CodecError for values that do not ascend."""
    grid = entry.values
    if not isinstance(grid, Grid) and grid == 0:
        return byte_symbols(before, entry.dtype)
    count = alphabet(entry)
    out = np.empty(entry.size, symbol_dtype(count))
    kind = storage(entry.dtype)
    elements = np.frombuffer(before, kind)
    values = np.frombuffer(side, kind)
    if not isinstance(grid, Grid):
        wide = _doubles(values, entry.dtype)
        if (wide[1:] < wide[:-1]).any():
            raise CodecError("the values do not ascend")
        middles = (wide[:-1] + wide[1:]) / 2
        for first in range(0, entry.size, _BLOCK):
            block = _doubles(elements[first : first + _BLOCK], entry.dtype)
            block[np.isnan(block)] = -np.inf
            out[first : first + _BLOCK] = np.searchsorted(middles, block, side="left")
        return out
    scale_of = scales_of(entry, grid, values)
    double = 2.0 if grid.flags & TRELLIS else 1.0
    for first in range(0, entry.size, _BLOCK):
        block = _doubles(elements[first : first + _BLOCK], entry.dtype)
        scales = scale_of(first, len(block)).astype(np.float64) * double
        ratio = np.divide(block, scales, out=np.zeros_like(block), where=scales != 0)
        ratio[np.isnan(ratio)] = -np.inf
        out[first : first + _BLOCK] = np.clip(np.rint(ratio) - grid.lowest, 0, count - 1)
    return out


def _decode_difference(entry: TensorEntry, body: memoryview, region: memoryview, before: memoryview) -> None:
    kind = _unsigned(entry.dtype)
    reader = ByteReader(body)
    for first in range(0, len(region), BLOCK_BYTES):
        block = region[first : first + BLOCK_BYTES]
        payload = reader.rest() if len(region) <= BLOCK_BYTES else reader.take(reader.varint(reader.left))
        stored = np.frombuffer(BYTE_CODERS["planes"].decode(payload, len(block), kind.itemsize, False), kind)
        step = (stored >> kind.type(1)) ^ (~(stored & kind.type(1)) + kind.type(1))
        theirs = np.frombuffer(before[first : first + BLOCK_BYTES], kind)
        block[:] = _from_order(_order(theirs, entry.dtype) + step, entry.dtype).tobytes()
    reader.end()


def _unsigned(dtype: str) -> np.dtype[Any]:
    return np.dtype(f"<u{storage(dtype).itemsize}")


def _order(bits: NDArray[Any], dtype: str) -> NDArray[Any]:
    if not is_float(dtype):
        return bits
    sign = bits.dtype.type(1 << (8 * bits.itemsize - 1))
    return np.where(bits & sign, ~bits, bits | sign)


def _from_order(order: NDArray[Any], dtype: str) -> NDArray[Any]:
    if not is_float(dtype):
        return order
    sign = order.dtype.type(1 << (8 * order.itemsize - 1))
    return np.where(order & sign, order ^ sign, ~order)


def _doubles(values: NDArray[Any], dtype: str) -> NDArray[np.float64]:
    if dtype == "bfloat16":
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    return values.astype(np.float64)

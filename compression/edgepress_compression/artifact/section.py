"""One tensor's section: how its body is read and made. A body, by what the entry says::

    coding "raw"           the tensor's bytes
    another coding of      up to 1 MiB of tensor: the payload; above: for each 1 MiB of it, the last
    bytes                  shorter, varint n, then a payload of n bytes
    coding of symbols:
      values 0             (int8 and uint8 only) the payload, alphabet 256; symbol s is the element s, for
                           int8 s - 128
      values k > 0         varint 8 * n + c; n bytes, the k values by the byte coder number c; the payload,
                           alphabet k; symbol s is value number s
      values [lowest,      varint 8 * n + c; n bytes, one scale, or with flag 1 one for each index of the
        count, axis,       axis, by the byte coder number c; the payload, alphabet count. An element of symbol
        flags]             s is float32(float32(whole) * scale), rounded once; whole is lowest + s, or with
                           flag 2 what codec/trellis.py makes of it

Byte coders by number: 0 raw, 1 deflate, 2 planes, 3 floats. In a delta, more codings and the number 7 are
possible (delta.py).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from edgepress_compression.artifact.base import Base
from edgepress_compression.artifact.format import (
    SIDE_CODERS,
    SIDE_OF_BASE,
    Grid,
    TensorEntry,
    is_float,
    storage,
)
from edgepress_compression.artifact.values import alphabet, expand, place_for_symbols
from edgepress_compression.codec.bytestream import ByteReader, CodecError, varint
from edgepress_compression.codec.registry import BYTE_CODERS, SYMBOL_CODERS

BLOCK_BYTES: Final = 1 << 20  # of a tensor that a coder of bytes sees at once: bounds its work memory


def decode_body(entry: TensorEntry, body: memoryview, region: memoryview, base: Base | None = None) -> None:
    """Fill ``region``, the tensor's bytes; ``base`` is there for a delta. Raises CodecError."""
    if entry.coding in BYTE_CODERS:
        _decode_bytes(entry, body, region)
        return
    side, payload = split_body(entry, body, base)
    decode_symbols(entry, side, payload, region)


def decode_symbols(entry: TensorEntry, side: bytes, payload: memoryview, region: memoryview) -> None:
    """As decode_body, for a body that is already split."""
    symbols = place_for_symbols(entry, region)
    SYMBOL_CODERS[entry.coding].decode(payload, alphabet(entry), entry.shape, symbols)
    expand(entry, symbols, side, region)


def split_body(entry: TensorEntry, body: memoryview, base: Base | None = None) -> tuple[bytes, memoryview]:
    """(bytes of the codebook or the scales, payload) of a section of symbols. Raises CodecError."""
    count = side_values(entry)
    if count == 0:
        return b"", body
    reader = ByteReader(body)
    stored, number = divmod(reader.varint(8 * len(body) + 7), 8)
    if number == SIDE_OF_BASE and base is not None and stored == 0:
        return base.codebook(entry).tobytes(), reader.rest()
    if number >= len(SIDE_CODERS) or SIDE_CODERS[number] not in BYTE_CODERS:
        raise CodecError(f"the codebook's coding number {number} is not known here; update this edgepress")
    coder = BYTE_CODERS[SIDE_CODERS[number]]
    itemsize = storage(entry.dtype).itemsize
    side = coder.decode(reader.take(stored), count * itemsize, itemsize, is_float(entry.dtype))
    if isinstance(entry.values, Grid) and not np.isfinite(np.frombuffer(side, "<f4")).all():
        raise CodecError("a scale is not finite")
    return side, reader.rest()


def side_values(entry: TensorEntry) -> int:
    """How many values of the tensor's type stand before the payload: a codebook's, or scales."""
    return entry.scales if isinstance(entry.values, Grid) else entry.values


def encode_side(values: bytes, dtype: str) -> bytes:
    """A codebook or scales (bytes of the tensor's type) by the byte coder that takes the fewest bytes."""
    itemsize = storage(dtype).itemsize
    best = b""
    for number, name in enumerate(SIDE_CODERS):
        if name in BYTE_CODERS and name != "deflate":
            stored = BYTE_CODERS[name].encode(values, itemsize, is_float(dtype))
            if not best or len(stored) + 2 < len(best):
                best = varint(8 * len(stored) + number) + stored
    return best


def encode_bytes(data: bytes, coding: str, dtype: str) -> bytes:
    """A body of a coder of bytes."""
    coder, itemsize, signed = BYTE_CODERS[coding], storage(dtype).itemsize, is_float(dtype)
    if coding == "raw" or len(data) <= BLOCK_BYTES:
        return coder.encode(data, itemsize, signed)
    blocks: Sequence[bytes] = [
        coder.encode(data[first : first + BLOCK_BYTES], itemsize, signed)
        for first in range(0, len(data), BLOCK_BYTES)
    ]
    return b"".join(varint(len(block)) + block for block in blocks)


def _decode_bytes(entry: TensorEntry, body: memoryview, region: memoryview) -> None:
    if entry.coding == "raw":
        if len(body) != len(region):
            raise CodecError(f"{len(body)} bytes stored for a tensor of {len(region)}")
        region[:] = body
        return
    coder, itemsize, signed = BYTE_CODERS[entry.coding], storage(entry.dtype).itemsize, is_float(entry.dtype)
    if len(region) <= BLOCK_BYTES:
        region[:] = coder.decode(body, len(region), itemsize, signed)
        return
    reader = ByteReader(body)
    for first in range(0, len(region), BLOCK_BYTES):
        block = region[first : first + BLOCK_BYTES]
        payload = reader.take(reader.varint(reader.left))
        block[:] = coder.decode(payload, len(block), itemsize, signed)
    reader.end()

"""Chooses how one tensor is coded: every coder that can, really run, and the fewest bytes win."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepress_compression.artifact.base import Base, codebook_of
from edgepress_compression.artifact.codes import Codes, ScaledIntegers, SharedWeights
from edgepress_compression.artifact.delta import encode_difference, nearest
from edgepress_compression.artifact.format import (
    DIFFERENCE,
    LEVELS_MAX,
    PER_INDEX,
    SAME,
    SIDE_OF_BASE,
    TRELLIS,
    Grid,
    TensorEntry,
    is_float,
    storage,
)
from edgepress_compression.artifact.holes import Hole
from edgepress_compression.artifact.section import encode_bytes, encode_side, split_body
from edgepress_compression.artifact.values import BYTE_ALPHABET, byte_symbols
from edgepress_compression.codec.bytestream import CodecError, varint
from edgepress_compression.codec.coder import Symbols, symbol_dtype
from edgepress_compression.codec.registry import BYTE_CODERS, DELTA_CODERS, SYMBOL_CODERS
from edgepress_compression.codec.shared import find_codebook
from edgepress_compression.codec.text import TEXT_MAX_BYTES
from edgepress_compression.errors import ArtifactError

AUTO: Final = "auto"
FAST: Final = "fast"
SMALL: Final = "small"
_CODERS: Final = tuple(dict.fromkeys((*BYTE_CODERS, *SYMBOL_CODERS)))
CODINGS: Final = (AUTO, FAST, SMALL, *_CODERS)
SLOW: Final = ("context", "bloomier")  # tens of millions of weights a second, not hundreds
_SLOW_SAVES: Final = 0.01  # of a section: what a slow coder must save where "auto" is asked for
_ELEMENTS_A_VALUE: Final = 4  # with more elements for each value, coders of bytes never won
_TEXT_TENSOR_MAX_BYTES: Final = 64 << 10  # tables of whole numbers; a slow coder


@dataclass(frozen=True)
class Choice:
    """A coding, what its symbols stand for, and the body it gives (section.py)."""

    coding: str
    values: int | Grid
    body: bytes


@dataclass(frozen=True)
class Source:
    """A tensor as symbols: what they stand for, and the bytes that say so before the payload."""

    symbols: Symbols  # flat
    alphabet: int
    values: int | Grid
    side: bytes


def check_coding(coding: str) -> None:
    """Raises ArtifactError when there is no such way to choose."""
    if coding not in CODINGS:
        raise ArtifactError("coding", f"'{coding}' is not known; use one of {', '.join(CODINGS)}")


def choose(
    data: bytes, hole: Hole, coding: str, code: Codes | None = None, base: Base | None = None
) -> Choice:
    """How the tensor's bytes ``data`` are stored.

    "small" takes the fewest bytes of all coders, "fast" of all but the slow ones; "auto" as "fast", unless a
    slow one saves at least a hundredth. The name of a coder: it where it can code the tensor and is smaller
    than the bytes as they are. ``code`` is what a pass knows of the tensor, checked by the caller. With a
    ``base``, the codings of a delta are tried, too, whatever ``coding`` is.
    """
    if base is not None and base.tensor(hole.name, hole.dtype, hole.shape) == memoryview(data):
        return Choice(SAME, 0, b"")
    best = Choice("raw", 0, data)
    slow: Choice | None = None
    for choice in _candidates(data, hole, coding, code, base):
        if coding == AUTO and choice.coding in SLOW:
            slow = choice if slow is None or len(choice.body) < len(slow.body) else slow
        elif len(choice.body) < len(best.body):  # ties go to the simpler coder, which comes first
            best = choice
    if slow is not None and len(slow.body) <= (1 - _SLOW_SAVES) * len(best.body):
        return slow
    return best


def _wanted(name: str, coding: str, size_bytes: int, *, is_real: bool) -> bool:
    if name == "text" and size_bytes > TEXT_MAX_BYTES:
        return False
    if name == coding:
        return True
    if coding not in (AUTO, FAST, SMALL) or (coding == FAST and name in SLOW):
        return False
    if name == "deflate":  # its bytes depend on the build of zlib, and "text" takes fewer
        return False
    return name != "text" or (not is_real and size_bytes <= _TEXT_TENSOR_MAX_BYTES)


def _candidates(
    data: bytes, hole: Hole, coding: str, code: Codes | None, base: Base | None
) -> Iterator[Choice]:
    real = is_float(hole.dtype)
    of_symbols = [name for name in SYMBOL_CODERS if _wanted(name, coding, len(data), is_real=real)]
    source = symbol_source(data, hole, code, base) if of_symbols or base is not None else None
    if base is not None:
        yield from _changes(data, hole, source, base)
    if source is None or source.alphabet * _ELEMENTS_A_VALUE > len(source.symbols):
        for name in BYTE_CODERS:
            if name != "raw" and _wanted(name, coding, len(data), is_real=real):
                yield Choice(name, 0, encode_bytes(data, name, hole.dtype))
    if source is not None:
        for name in of_symbols:
            payload = SYMBOL_CODERS[name].encode(source.symbols, source.alphabet, hole.shape)
            if payload is not None:
                yield Choice(name, source.values, source.side + payload)
    if isinstance(code, SharedWeights):
        yield from _ready(hole, code, of_symbols)


def symbol_source(data: bytes, hole: Hole, code: Codes | None, base: Base | None) -> Source | None:
    """The tensor as symbols, or None when it has too many values for that."""
    if isinstance(code, ScaledIntegers):
        coded, lowest, count = code.coded()
        symbols = (coded.reshape(-1) - lowest).astype(symbol_dtype(count))
        flags = (PER_INDEX if len(code.scales) > 1 else 0) | (TRELLIS if code.trellis else 0)
        side = encode_side(code.scales.astype("<f4").tobytes(), hole.dtype)
        return Source(symbols, count, Grid(lowest, count, code.axis if flags else 0, flags), side)
    if hole.dtype in ("int8", "uint8"):
        return Source(byte_symbols(data, hole.dtype), BYTE_ALPHABET, 0, b"")
    dtype = storage(hole.dtype)
    values = hole.dtype if hole.dtype == "bfloat16" else dtype.str
    shared = find_codebook(np.frombuffer(data, f"<u{dtype.itemsize}"), values, LEVELS_MAX)
    if shared is None or 2 * len(shared[1]) > len(shared[0]):
        return None  # a codebook of that size leaves nothing to gain
    indices, codebook = shared
    side = encode_side(codebook.tobytes(), hole.dtype)
    before = None if base is None else base.tensor(hole.name, hole.dtype, hole.shape)
    if before is not None:
        theirs = codebook_of(before, hole.dtype)
        if theirs is not None and np.array_equal(theirs, codebook):
            side = varint(SIDE_OF_BASE)
    return Source(indices, len(codebook), len(codebook), side)


def _changes(data: bytes, hole: Hole, source: Source | None, base: Base) -> Iterator[Choice]:
    """The codings of a delta."""
    before = base.tensor(hole.name, hole.dtype, hole.shape)
    if before is None:
        return
    if source is None:
        yield Choice(DIFFERENCE, 0, encode_difference(data, before, hole.dtype))
        return
    entry = TensorEntry(hole.name, hole.dtype, hole.shape, "", source.values, 0, 0)
    side = b"" if source.values == 0 else split_body(entry, memoryview(source.side), base)[0]
    likely = nearest(entry, side, before)
    for name, coder in DELTA_CODERS.items():
        payload = coder.encode(source.symbols, source.alphabet, hole.shape, likely)
        yield Choice(name, source.values, source.side + payload)


def _ready(hole: Hole, code: SharedWeights, wanted: list[str]) -> Iterator[Choice]:
    """The payloads that a pass made itself. Raises ArtifactError when one is not what it should be."""
    count = len(code.codebook)
    for name, payload in sorted(code.ready.items()):
        if name not in wanted:
            continue
        symbols = np.empty(code.indices.size, symbol_dtype(count))
        where = f"tensor '{hole.name}'"
        try:
            SYMBOL_CODERS[name].decode(memoryview(payload), count, hole.shape, symbols)
        except CodecError as error:
            raise ArtifactError(where, f"its ready payload for '{name}' cannot be read: {error}") from error
        if not np.array_equal(symbols, code.indices.reshape(-1)):
            raise ArtifactError(where, f"its ready payload for '{name}' does not give its indices")
        side = encode_side(code.codebook.astype("<f4").tobytes(), hole.dtype)
        yield Choice(name, count, side + payload)

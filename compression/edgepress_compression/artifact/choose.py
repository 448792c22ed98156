"""Chooses how one tensor is coded: every coder that can, really run, and the fewest bytes win."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepress_compression.artifact.format import CODEBOOK_MAX, storage
from edgepress_compression.artifact.holes import Hole
from edgepress_compression.artifact.section import BYTE_ALPHABET, byte_symbols, encode_shared, is_float
from edgepress_compression.codec.registry import BYTE_CODERS, SYMBOL_CODERS
from edgepress_compression.codec.shared import find_codebook

AUTO: Final = "auto"
CODINGS: Final = (AUTO, *BYTE_CODERS, *SYMBOL_CODERS)
# Larger tensors skip DEFLATE: on weights it never won there in any model tried, and it is the slowest by far.
_DEFLATE_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class Choice:
    """A coding and the section it gives."""

    coding: str
    codebook: int  # values in it, 0 = none
    section: bytes


def choose(data: bytes, hole: Hole, coding: str) -> Choice:
    """The smallest section for the tensor's bytes ``data``: of all coders, or of ``coding`` and raw."""
    best = Choice("raw", 0, data)
    for choice in _candidates(data, hole, coding):
        if len(choice.section) < len(best.section):  # ties go to the simpler coder, which comes first
            best = choice
    return best


def _candidates(data: bytes, hole: Hole, coding: str) -> Iterator[Choice]:
    dtype = storage(hole.dtype)
    for name, byte_coder in BYTE_CODERS.items():
        if name == coding or (coding == AUTO and (name != "deflate" or len(data) <= _DEFLATE_MAX_BYTES)):
            yield Choice(name, 0, byte_coder.encode(data, dtype.itemsize, is_float(hole.dtype)))
    wanted = [name for name in SYMBOL_CODERS if coding in (AUTO, name)]
    if not wanted:
        return
    if hole.dtype in ("int8", "uint8"):
        symbols = byte_symbols(data, hole.dtype)
        for name in wanted:
            payload = SYMBOL_CODERS[name].encode(symbols, BYTE_ALPHABET, hole.shape)
            if payload is not None:
                yield Choice(name, 0, payload)
        return
    values = "u2" if hole.dtype == "bfloat16" else dtype.str
    shared = find_codebook(np.frombuffer(data, f"<u{dtype.itemsize}"), values, CODEBOOK_MAX)
    if shared is None:
        return
    indices, codebook = shared
    for name in wanted:
        payload = SYMBOL_CODERS[name].encode(indices, len(codebook), hole.shape)
        if payload is not None:
            yield Choice(name, len(codebook), encode_shared(codebook, hole.dtype, payload))

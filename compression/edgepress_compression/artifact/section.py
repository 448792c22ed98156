"""One tensor section: a byte coder's payload, or a codebook and a symbol coder's payload (see format.py)."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact.format import TensorEntry, storage
from edgepress_compression.codec.bytestream import ByteReader, CodecError, varint
from edgepress_compression.codec.coder import Symbols, symbol_dtype
from edgepress_compression.codec.registry import BYTE_CODERS, SYMBOL_CODERS

_CODEBOOK_CODER: Final = "planes"
BYTE_ALPHABET: Final = 256


def is_float(dtype: str) -> bool:
    """Whether the bytes of ``dtype`` are a sign, an exponent and a fraction."""
    return dtype in ("float16", "float32", "float64", "bfloat16")


def byte_symbols(data: bytes, dtype: str) -> Symbols:
    """int8 or uint8 elements as symbols 0..255, in the order of their values."""
    low = 128 if dtype == "int8" else 0
    return np.frombuffer(data, np.uint8) ^ np.uint8(low)


def decode_section(entry: TensorEntry, section: memoryview) -> bytes:
    """The tensor's bytes. Raises CodecError."""
    dtype = storage(entry.dtype)
    if entry.coding in BYTE_CODERS:
        coder = BYTE_CODERS[entry.coding]
        return coder.decode(section, entry.size_bytes, dtype.itemsize, is_float(entry.dtype))
    if entry.codebook == 0:
        symbols = np.empty(entry.size, symbol_dtype(BYTE_ALPHABET))
        SYMBOL_CODERS[entry.coding].decode(section, BYTE_ALPHABET, entry.shape, symbols)
        low = 128 if entry.dtype == "int8" else 0
        symbols ^= symbols.dtype.type(low)
        return symbols.tobytes()
    reader = ByteReader(section)
    stored = reader.take(reader.varint(len(section)))
    values = BYTE_CODERS[_CODEBOOK_CODER].decode(
        stored, entry.codebook * dtype.itemsize, dtype.itemsize, is_float(entry.dtype)
    )
    indices = np.empty(entry.size, symbol_dtype(entry.codebook))
    SYMBOL_CODERS[entry.coding].decode(reader.rest(), entry.codebook, entry.shape, indices)
    return np.frombuffer(values, dtype)[indices].tobytes()


def encode_shared(codebook: NDArray[Any], dtype: str, payload: bytes) -> bytes:
    """A section of the values of ``codebook`` (bits of the tensor's type ``dtype``) and the coded indices."""
    values = BYTE_CODERS[_CODEBOOK_CODER].encode(codebook.tobytes(), codebook.itemsize, is_float(dtype))
    return varint(len(values)) + values + payload


def codebook_bytes(entry: TensorEntry, section: memoryview) -> int:
    """How many of the section's bytes are the codebook, its length included; 0 where that cannot be."""
    if entry.codebook == 0:
        return 0
    try:
        reader = ByteReader(section)
        reader.take(reader.varint(len(section)))
    except CodecError:
        return 0
    return len(section) - reader.left

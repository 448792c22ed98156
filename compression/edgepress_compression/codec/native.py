"""The codec's hot loops, compiled from ``compression/native``, called through ctypes where they are built.

The numpy code beside each call is the specification and the fallback: the same bytes, slower. Set
``EDGEPRESS_NATIVE=0`` to do without the library.
"""

import ctypes
import os
import platform
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec.bytestream import CodecError

ABI: Final = 1
_FILES: Final = {"win32": "edgepress_codec.dll", "darwin": "libedgepress_codec.dylib"}
LIBRARY: Final = Path(__file__).parent / "native" / _FILES.get(sys.platform, "libedgepress_codec.so")
_SOURCES: Final = Path(__file__).parents[2] / "native"  # in a checkout; an installed wheel has none
# The errors of edgepress.h.
REASONS: Final = {
    -1: "the payload ends early",
    -2: "bytes or bits are left over after the payload",
    -3: "a number is outside what is possible here",
    -4: "a code table is not complete",
    -5: "the payload does not end as an encoder ends it",
    -6: "the output has no room",
    -7: "the work memory is too small",
    -8: "an argument is not possible",
}
FULL: Final = -6


@cache
def _library() -> ctypes.CDLL | None:
    if os.environ.get("EDGEPRESS_NATIVE") == "0":
        return None
    try:
        library = ctypes.CDLL(str(LIBRARY))
        library.ep_abi.restype = ctypes.c_int64
        return library if library.ep_abi() == ABI else None
    except (OSError, AttributeError):  # not built for this machine, or not ours
        return None


def available() -> bool:
    """Whether the compiled loops are here."""
    return _library() is not None


def missing_reason() -> str | None:
    """None where the compiled loops are used, else one sentence that says why not and what to do."""
    if available():
        return None
    slower = "numpy codes weights instead: the same bytes, many times slower."
    if os.environ.get("EDGEPRESS_NATIVE") == "0":
        return f"EDGEPRESS_NATIVE=0 is set: {slower}"
    if (_SOURCES / "codec.c").is_file():
        return f"The compiled codec is not built: run `python deploy/build_native.py`. Until then {slower}"
    return f"This installation has no compiled codec for {sys.platform} on {platform.machine()}: {slower}"


def status(function: str, *arguments: int | NDArray[Any] | bytes | memoryview | None) -> int:
    """What the exported ``function`` returns: a count, or a negative key of ``REASONS``.

    Arrays (C order) and bytes are passed as pointers, numbers as int64_t, None as a null pointer.
    """
    library = _library()
    if library is None:
        raise RuntimeError("the compiled codec is not here; ask available() first")
    entry = getattr(library, function)
    entry.restype = ctypes.c_int64
    kept: list[NDArray[Any]] = []  # alive until the call returns
    return int(entry(*(_argument(argument, kept) for argument in arguments)))


def call(function: str, *arguments: int | NDArray[Any] | bytes | memoryview | None) -> int:
    """As ``status``; raises CodecError with the reason for a negative result."""
    result = status(function, *arguments)
    if result < 0:
        raise CodecError(REASONS.get(result, f"error {result}"))
    return result


def _argument(value: int | NDArray[Any] | bytes | memoryview | None, kept: list[NDArray[Any]]) -> Any:
    if value is None:
        return ctypes.c_void_p(None)
    if isinstance(value, int):
        return ctypes.c_int64(value)
    array = value if isinstance(value, np.ndarray) else np.frombuffer(value, np.uint8)
    if not array.flags.c_contiguous:
        raise ValueError("native code takes arrays in C order")
    kept.append(array)
    return ctypes.c_void_p(array.ctypes.data)

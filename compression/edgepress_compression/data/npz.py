"""Reads `.npz` files that strangers made: every length is checked before anything is allocated, nothing
is unpickled.

An .npz file is a zip archive of `NAME.npy` members; each starts with a small header (dtype, order, shape)
and goes on with exactly shape x itemsize bytes. NumPy's own loader trusts the header; here it must agree
with the archive.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from edgepress_compression.errors import DatasetError

MAX_ARRAYS = 64
MAX_BYTES = 2 << 30  # unpacked, all arrays together
MAX_HEADER_BYTES = 4096
PLAIN_KINDS = "biufU"  # bool, integers, floats, text; no objects (pickles), no structs


def read_npz(
    path: Path, *, max_bytes: int = MAX_BYTES, only: set[str] | None = None
) -> dict[str, np.ndarray]:
    """Arrays by name, C order, at most `max_bytes` unpacked; with `only`, just the arrays of these names.

    Raises DatasetError when the file is missing, no .npz, damaged, too large or holds Python objects.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _read_archive(archive, path, max_bytes, only)
    except FileNotFoundError:
        raise DatasetError(f"There is no data file {path}; check the path.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        # NotImplementedError and RuntimeError: zipfile meets an unknown compression, or a password
        raise DatasetError(f"{path.name} is not an intact .npz file ({error}); save it again.") from error
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be read: {error}.") from error


def _read_archive(
    archive: zipfile.ZipFile, path: Path, max_bytes: int, only: set[str] | None
) -> dict[str, np.ndarray]:
    members = archive.infolist()
    if len(members) > MAX_ARRAYS:
        raise DatasetError(f"{path.name} holds {len(members)} arrays; at most {MAX_ARRAYS} are read.")
    total_bytes = sum(member.file_size for member in members)
    if total_bytes > max_bytes:
        raise DatasetError(
            f"{path.name} unpacks to {total_bytes:,} bytes; at most {max_bytes:,} are read. Save fewer "
            "samples."
        )
    arrays: dict[str, np.ndarray] = {}
    for member in members:
        if not member.filename.endswith(".npy"):
            raise DatasetError(f"{path.name} holds {member.filename!r}, which is no array; use numpy.savez.")
        name = member.filename.removesuffix(".npy")
        if name in arrays:
            raise DatasetError(f"{path.name} holds two arrays named {name!r}; keep one.")
        if only is None or name in only:
            with archive.open(member) as stream:
                arrays[name] = _read_array(stream, member.file_size, f"{path.name}: array {name!r}")
    return arrays


def _read_array(stream: IO[bytes], size_bytes: int, where: str) -> np.ndarray:
    try:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(stream, max_header_size=MAX_HEADER_BYTES)
        elif version == (2, 0):
            header = np.lib.format.read_array_header_2_0(stream, max_header_size=MAX_HEADER_BYTES)
        else:
            raise DatasetError(f"{where} uses .npy version {version}; save it with numpy.savez.")
    except (ValueError, TypeError, SyntaxError) as error:
        raise DatasetError(f"{where} has a damaged header; save the file again.") from error
    shape, fortran_order, dtype = header
    if dtype.kind not in PLAIN_KINDS:
        raise DatasetError(
            f"{where} has type {dtype}; only numbers and text are read. Convert it, for example with "
            "array.astype('float32')."
        )
    if any(length < 0 for length in shape):
        raise DatasetError(f"{where} has a negative length in its shape {shape}.")
    wanted_bytes = math.prod(shape) * dtype.itemsize
    if wanted_bytes > size_bytes:  # the archive's own figure bounds what may be allocated
        raise DatasetError(f"{where} says it has {wanted_bytes:,} bytes and has at most {size_bytes:,}.")
    payload = stream.read(wanted_bytes)
    if len(payload) != wanted_bytes or stream.read(1):
        raise DatasetError(f"{where} does not hold what its header says; save the file again.")
    flat: np.ndarray = np.frombuffer(payload, dtype=dtype)
    if dtype.kind == "f" and not np.isfinite(flat).all():
        raise DatasetError(f"{where} holds NaN or infinity; clean the data first.")
    array = flat.reshape(shape, order="F" if fortran_order else "C")
    return np.ascontiguousarray(array)

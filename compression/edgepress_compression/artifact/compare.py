"""What differs between two models: tensor by tensor, by name."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact.format import storage
from edgepress_compression.artifact.holes import Hole, find_holes

_BLOCK: Final = 1 << 20  # elements


@dataclass(frozen=True)
class Difference:
    """One tensor of two models. Absent is None."""

    name: str
    change: Literal["same", "changed", "other shape", "only before", "only after"]
    shape: tuple[int, ...]  # after, or before where it is gone
    changed: float | None  # fraction 0..1 of the elements
    relative_l2: float | None  # |after - before| / |before|; None where before is 0 everywhere


def compare(before: bytes, after: bytes) -> list[Difference]:
    """The tensors of two ONNX files, in the order of the second, then those only in the first.

    Raises ArtifactError for bytes that are no ONNX file.
    """
    old, new = _by_name(before), _by_name(after)
    rows = [_compare(name, before, old.get(name), after, hole) for name, hole in new.items()]
    gone = [
        Difference(name, "only before", hole.shape, None, None)
        for name, hole in old.items()
        if name not in new
    ]
    return rows + gone


def _by_name(onnx_model: bytes) -> Mapping[str, Hole]:
    found: dict[str, Hole] = {}
    for hole in find_holes(onnx_model):
        found.setdefault(hole.name, hole)
    return found


def _compare(name: str, before: bytes, old: Hole | None, after: bytes, new: Hole) -> Difference:
    if old is None:
        return Difference(name, "only after", new.shape, None, None)
    if (old.dtype, old.shape) != (new.dtype, new.shape):
        return Difference(name, "other shape", new.shape, None, None)
    size = (new.stop - new.start) // storage(new.dtype).itemsize
    changed, distance, norm = 0, 0.0, 0.0
    for first in range(0, size, _BLOCK):
        count = min(_BLOCK, size - first)
        a, b = _elements(before, old, first, count), _elements(after, new, first, count)
        changed += int(np.count_nonzero(a.view(f"u{a.itemsize}") != b.view(f"u{b.itemsize}")))
        x, y = _doubles(a, old.dtype), _doubles(b, new.dtype)
        distance += float(np.square(y - x).sum())
        norm += float(np.square(x).sum())
    relative = float(np.sqrt(distance / norm)) if norm > 0 and np.isfinite(distance) else None
    return Difference(name, "changed" if changed else "same", new.shape, changed / size, relative)


def _elements(data: bytes, hole: Hole, first: int, count: int) -> NDArray[Any]:
    kind = storage(hole.dtype)
    return np.frombuffer(data, kind, count, hole.start + first * kind.itemsize)


def _doubles(values: NDArray[Any], dtype: str) -> NDArray[np.float64]:
    if dtype == "bfloat16":
        return (values.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    return values.astype(np.float64)

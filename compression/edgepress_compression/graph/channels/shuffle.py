"""Chains of reshapes and transposes that only reorder channels (ShuffleNet), and what replaces them after a
cut.

Between the reshapes of a channel shuffle the channels lie on two axes; a cut there would have to be
rectangular, which ties many channels to each other, and more with every shuffle. But the chain as a whole
is a choice of positions along one axis: when its channels are cut, one Gather takes its place, and no
channel is tied.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from edgepress_compression.graph.channels.labels import varying
from edgepress_compression.graph.channels.walk import Walk

_RESHAPES = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}


@dataclass(frozen=True)
class Shuffle:
    """`value` is `root` with the positions `order` along `axis`."""

    root: str
    axis: int
    order: np.ndarray  # int64


@dataclass(frozen=True)
class _Moved:
    root: str
    places: tuple[np.ndarray, np.ndarray]  # in both runs: positions in the flat root, in the value's shape
    apart: bool  # whether some value between had its channels on several axes


def find_shuffles(walk: Walk) -> dict[str, Shuffle]:
    """Value name -> the shuffle that makes it."""
    moved: dict[str, _Moved] = {}
    found: dict[str, Shuffle] = {}
    for node in walk.graph.proto.graph.node:
        source = node.input[0] if node.input else ""
        if source not in walk.values or not walk.of(source).any():
            continue
        before = moved.get(source) if source not in found else None
        if before is None:
            runs = (walk.trace.first[source], walk.trace.second[source])
            flat = [np.arange(np.prod(run, dtype=np.int64)).reshape(run) for run in runs]
            before = _Moved(source, (flat[0], flat[1]), False)
        places = _moved(walk, node, before.places)
        if places is None:
            continue
        out = node.output[0]
        apart = before.apart or len(varying(walk.of(out))) > 1
        moved[out] = _Moved(before.root, places, apart)
        if apart:
            shuffle = _shuffle(walk, out, moved[out])
            if shuffle is not None:
                found[out] = shuffle
    return found


def _moved(
    walk: Walk, node: onnx.NodeProto, places: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """What the node makes of positions, in both runs; None for a node that does more than move numbers."""
    out = node.output[0]
    settings = walk.attributes(node)
    one, other = places
    if node.op_type in _RESHAPES:
        return one.reshape(walk.trace.first[out]), other.reshape(walk.trace.second[out])
    if node.op_type == "Transpose":
        order: Sequence[int] = [int(str(a)) for a in np.asarray(settings.get("perm", range(one.ndim)[::-1]))]
        return one.transpose(order), other.transpose(order)
    if node.op_type == "Gather":
        where = walk.trace.constant(node.input[1])
        axis = int(str(settings.get("axis", 0)))
        if where is not None:
            return np.take(one, where, axis=axis), np.take(other, where, axis=axis)
    return None


def _shuffle(walk: Walk, name: str, moved: _Moved) -> Shuffle | None:
    axes = varying(walk.of(moved.root))
    if len(axes) != 1 or len(walk.dims(name)) != len(walk.dims(moved.root)):
        return None
    axis = axes[0]
    order: np.ndarray | None = None
    for places, runs in zip(moved.places, (walk.trace.first, walk.trace.second), strict=True):
        root = np.arange(np.prod(runs[moved.root], dtype=np.int64)).reshape(runs[moved.root])
        line = np.moveaxis(places, axis, 0).reshape(places.shape[axis], -1)[:, 0]
        along = np.unravel_index(line, root.shape)[axis].astype(np.int64)
        if order is not None and not np.array_equal(order, along):
            return None
        order = along
        expected = np.take(root, order, axis=axis)
        if expected.shape != places.shape or not np.array_equal(expected, places):
            return None
    return None if order is None else Shuffle(moved.root, axis, order)

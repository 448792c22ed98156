"""What a cut must equal: the model with every member of the cut units at zero, run by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper, parser

from edgepress_compression.evaluate import open_session, run
from edgepress_compression.graph import Graph, load_model
from edgepress_compression.graph.channels import ChannelGroup, ChannelGroups, channel_groups, cut

Weights = dict[str, tuple[int, ...] | np.ndarray]  # a shape, filled at random, or the numbers
TOLERANCE = 1e-4  # of the largest number of the output


def net(
    inputs: str,
    outputs: str,
    body: str,
    weights: Mapping[str, tuple[int, ...] | np.ndarray],
    *,
    opset: int = 13,
    seed: int = 0,
) -> Graph:
    """A model in ONNX's own text form."""
    rng = np.random.default_rng(seed)
    graph = parser.parse_graph(f"tiny ({inputs}) => ({outputs}) {{ {body} }}")
    for name, given in weights.items():
        array = given
        if not isinstance(given, np.ndarray):
            fan_in = max(1, int(np.prod(given[1:])))
            array = (rng.standard_normal(given) / np.sqrt(fan_in)).astype(np.float32)
            if name.startswith("var"):
                array = np.abs(array) + np.float32(0.5)
        graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    proto = onnx.shape_inference.infer_shapes(proto)
    return load_model(proto.SerializeToString())


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.int64)


def masked(
    graph: Graph, kept: Mapping[str, np.ndarray], groups: Sequence[ChannelGroup], *, readers: bool
) -> Graph:
    """The same graph with the cut units' makers and riders at 0, and their readers, too, if asked."""
    arrays: dict[str, np.ndarray] = {}
    for group in groups:
        for member in group.members if group.name in kept else ():
            if member.role != "reads" or readers:
                array = arrays.setdefault(member.tensor, graph.weights[member.tensor].copy())
                np.moveaxis(array, member.axis, 0)[member.positions[~kept[group.name]].ravel()] = 0
    new = graph.copy()
    for name, array in arrays.items():
        new.set_weight(name, array)
    return new


def some_units(
    groups: ChannelGroups, rng: np.random.Generator, share: float = 1 / 3
) -> dict[str, np.ndarray]:
    """A random share of every group that can be cut; no value is left without channels."""
    kept = {}
    for group in groups:
        if group.fixed is None:
            kept[group.name] = np.ones(group.units, dtype=bool)
            gone = rng.permutation(group.units)[: max(1, int(group.units * share))]
            kept[group.name][gone] = False
    while empty := groups.emptied(kept):
        name, position = empty[0][1][0]
        kept[name][position] = True
    return kept


def feeds(
    graph: Graph, rng: np.random.Generator, *, batch: int = 3, length: int = 16
) -> dict[str, np.ndarray]:
    feed = {}
    for value in graph.inputs:
        shape = [
            size if isinstance(size, int) else (batch if axis == 0 else length)
            for axis, size in enumerate(value.shape)
        ]
        if value.dtype.kind == "f":
            feed[value.name] = rng.standard_normal(shape).astype(value.dtype)
        elif "mask" in value.name:
            feed[value.name] = np.ones(shape, dtype=value.dtype)
        else:
            feed[value.name] = rng.integers(0, 10, shape).astype(value.dtype)
    return feed


def outputs(graph: Graph, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    onnx.checker.check_model(graph.proto, full_check=True)
    return run(open_session(graph.serialize()), feed)


def check_cut(graph: Graph, *, seed: int = 0, readers: bool = False, share: float = 1 / 3) -> ChannelGroups:
    """Cuts a random part of every free group and compares. `readers`: only with the readers at 0, too
    (where an activation makes something of 0). Gives the groups.
    """
    rng = np.random.default_rng(seed)
    groups = channel_groups(graph)
    kept = some_units(groups, rng, share)
    small = cut(graph, kept, groups)
    assert small.weight_bytes() < graph.weight_bytes() or not kept
    feed = feeds(graph, rng)
    found = outputs(small, feed)
    for with_readers in (True,) if readers else (True, False):
        expected = outputs(masked(graph, kept, groups, readers=with_readers), feed)
        for one, other in zip(found, expected, strict=True):
            assert one.shape == other.shape
            assert np.abs(one - other).max() <= TOLERANCE * max(np.abs(other).max(), 1e-6)
    return groups


def units(groups: Sequence[ChannelGroup]) -> dict[str, int]:
    """Free groups by name, and how many units they have."""
    return {group.name: group.units for group in groups if group.fixed is None}


def why_fixed(groups: Sequence[ChannelGroup], name: str) -> str:
    reason = next(group.fixed for group in groups if group.name == name)
    assert reason is not None, f"{name} can be cut"
    return reason

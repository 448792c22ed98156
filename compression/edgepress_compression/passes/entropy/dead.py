"""Cuts units that a price emptied: nobody makes them, or nobody reads them.

A unit (a neuron, a channel) is dead when all weights that make it are 0 with its bias, or when all weights
that read it are. Coding a dead unit costs little; running it costs what it always did.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.errors import GraphError
from edgepress_compression.graph.channels import ChannelGroup, channel_groups, cut
from edgepress_compression.graph.model import Graph

_ROUNDS = 8  # a cut may leave others dead


def without_dead_units(
    graph: Graph, codes: Mapping[str, ScaledIntegers]
) -> tuple[Graph, dict[str, ScaledIntegers], int]:
    """(the graph, its codes, units cut). The graph computes the same; where nothing is dead it is the same.

    Codes give the graph's weights bit for bit, before and after.
    """
    codes, total = dict(codes), 0
    for _ in range(_ROUNDS):
        try:
            groups = channel_groups(graph)
        except GraphError:  # a model that does not run on a made-up input: nothing is known of its units
            return graph, codes, total
        kept = {group.name: _alive(graph, group) for group in groups if _cuttable(group)}
        kept = {name: alive for name, alive in kept.items() if not alive.all()}
        kept = {name: alive for name, alive in groups.refilled(kept).items() if not alive.all()}
        if not kept:
            break
        smaller = cut(graph, kept, groups)
        integers = graph.copy()
        for name, code in codes.items():
            integers.set_weight(name, code.integers.astype(np.float32))
        integers = cut(integers, kept, groups)
        wide = graph.copy()
        for name, code in codes.items():
            ones = ScaledIntegers(np.ones_like(code.integers), code.scales, code.axis)
            wide.set_weight(name, ones.weights())
        wide = cut(wide, kept, groups)
        codes = {
            name: ScaledIntegers(
                integers.weights[name].astype(np.int32), _scales(code, wide.weights[name]), code.axis
            )
            for name, code in codes.items()
            if name in smaller.weights
        }
        graph = smaller
        total += sum(int((~alive).sum()) for alive in kept.values())
    return graph, codes, total


def _cuttable(group: ChannelGroup) -> bool:
    return group.fixed is None and group.granularity == 1


def _alive(graph: Graph, group: ChannelGroup) -> np.ndarray:
    """(units,) bool"""
    made, read = np.zeros(group.units, bool), np.zeros(group.units, bool)
    readers = False
    for member in group.members:
        lines = np.moveaxis(graph.weights[member.tensor], member.axis, 0)
        used = (lines != 0).reshape(len(lines), -1).any(axis=1)  # (length of the axis,)
        if member.role == "reads":
            readers = True
            read |= used[member.positions].any(axis=1)
        else:
            made |= used[member.positions].any(axis=1)
    return made & read if readers else made


def _scales(code: ScaledIntegers, wide: np.ndarray) -> np.ndarray:
    """The steps of what was kept; wide: each element's step, in the tensor's new shape."""
    if len(code.scales) == 1:
        return code.scales
    lines = np.moveaxis(wide, code.axis, 0)
    return np.ascontiguousarray(lines.reshape(len(lines), -1)[:, 0])

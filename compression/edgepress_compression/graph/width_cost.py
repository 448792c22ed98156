"""A model's cost as a function of how many channels each group keeps, without cutting it.

Work of a product is proportional to each axis of its weight, work of anything else and traffic to the
channels of the values (MorphNet, Gordon et al. 2018, equations 2 and 3, in every operator's own numbers). For
chains of layers this is exact; where several groups meet in one value (concatenation), the value's share is
the mean of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from edgepress_compression.graph.channels import ChannelGroup
from edgepress_compression.graph.cost import PRODUCTS, OperatorCost, operator_costs
from edgepress_compression.graph.model import Graph
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.roofline import Roofline

CostKind = Literal["flops", "bytes", "latency"]


@dataclass(frozen=True)
class _Share:
    """1 - sum of coefficient * units dropped: the share that is left of an axis or of a value."""

    coefficients: tuple[tuple[str, float], ...]  # group -> share of one unit

    def left(self, dropped: Mapping[str, float]) -> float:
        return max(0.0, 1.0 - sum(c * dropped.get(group, 0.0) for group, c in self.coefficients))


@dataclass(frozen=True)
class _Node:
    flops: int
    weights: tuple[tuple[int, tuple[_Share, ...]], ...]  # bytes, and its axes
    values: tuple[tuple[int, _Share], ...]  # bytes
    work: tuple[_Share, ...]  # what the flops are proportional to
    limits: Roofline | None  # None: a runtime does it on the way


class WidthCost:
    """`cost(dropped)` of a graph, in operations, bytes of weights, or microseconds.

    Microseconds fall smoothly with the channels: by what the operator's kind sustains at its full width on
    calibrated devices, else by the datasheet's roofline.

    `dropped` maps group names to numbers of units, which may be fractions.
    """

    def __init__(
        self,
        graph: Graph,
        groups: Sequence[ChannelGroup],
        kind: CostKind,
        profile: DeviceProfile | None = None,
    ) -> None:
        if kind == "latency" and profile is None:
            raise ValueError("a latency needs a device profile")
        self._kind = kind
        tensors = _tensor_shares(graph, groups)
        values = _value_shares(groups)
        self._nodes: list[_Node] = []
        self._touched: dict[str, list[int]] = {group.name: [] for group in groups}
        for one in operator_costs(graph, profile):
            self._nodes.append(_node(graph, one, tensors, values))
            node = self._nodes[-1]
            shares = [share for _, axes in node.weights for share in axes]
            shares += [share for _, share in node.values] + list(node.work)
            for name in {group for share in shares for group, _ in share.coefficients}:
                self._touched[name].append(len(self._nodes) - 1)

    def cost(self, dropped: Mapping[str, float]) -> float:
        """Of the whole model."""
        return math.fsum(self._of(node, dropped) for node in self._nodes)

    def saving(self, group: str, units: float, dropped: Mapping[str, float]) -> float:
        """How much less it costs when `group` loses that many more units; never less than 0."""
        after = {**dropped, group: dropped.get(group, 0.0) + units}
        nodes = [self._nodes[number] for number in self._touched[group]]
        return max(0.0, math.fsum(self._of(node, dropped) - self._of(node, after) for node in nodes))

    def _of(self, node: _Node, dropped: Mapping[str, float]) -> float:
        weight_bytes = sum(size * _product(axes, dropped) for size, axes in node.weights)
        if self._kind == "bytes":
            return weight_bytes
        flops = node.flops * _product(node.work, dropped)
        if self._kind == "flops":
            return flops
        if node.limits is None:
            return 0.0
        traffic = weight_bytes + sum(size * share.left(dropped) for size, share in node.values)
        return node.limits.latency_us(operations=flops, bytes_moved=traffic)


def _product(shares: Sequence[_Share], dropped: Mapping[str, float]) -> float:
    return math.prod(share.left(dropped) for share in shares)


def _node(
    graph: Graph,
    one: OperatorCost,
    tensors: Mapping[str, tuple[_Share, ...]],
    values: Mapping[str, _Share],
) -> _Node:
    weights = tuple((graph.weights[name].nbytes, tensors.get(name, ())) for name in one.weights)
    traffic = tuple((size, values.get(name, _Share(()))) for name, size in one.moved)
    matrices = [name for name in one.weights if graph.weights[name].ndim >= 2]
    if one.op_type in PRODUCTS and matrices:
        work = tensors.get(matrices[0], ())
    else:
        work = (values[one.node],) if one.node in values else ()
    return _Node(one.flops, weights, traffic, work, one.limits)


def _tensor_shares(graph: Graph, groups: Sequence[ChannelGroup]) -> dict[str, tuple[_Share, ...]]:
    """Tensor -> one share for each axis that some group cuts."""
    axes: dict[tuple[str, int], dict[str, float]] = {}
    for group in groups:
        for member in group.members:
            size = graph.weights[member.tensor].shape[member.axis]
            of_groups = axes.setdefault((member.tensor, member.axis), {})
            of_groups[group.name] = max(of_groups.get(group.name, 0.0), member.positions.shape[1] / size)
    shares: dict[str, tuple[_Share, ...]] = {}
    for (tensor, _), of_groups in axes.items():
        shares[tensor] = (*shares.get(tensor, ()), _Share(tuple(of_groups.items())))
    return shares


def _value_shares(groups: Sequence[ChannelGroup]) -> dict[str, _Share]:
    """Value -> its share, by the units of the groups that meet in it."""
    units: dict[str, dict[str, int]] = {}
    for group in groups:
        for value in group.values:
            units.setdefault(value, {})[group.name] = group.units
    return {
        value: _Share(tuple((group, 1.0 / sum(of_groups.values())) for group in of_groups))
        for value, of_groups in units.items()
    }

"""Shapes of students that a device runs within a latency: the same network, narrower in different ways.

even      every group keeps the same fraction of its units: a width multiplier
latency   units go where they save the device most time for what they matter
flops     units go where they save most work for what they matter, until the latency is met
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from edgepress_compression.graph.channels import ChannelGroup
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.width_cost import WidthCost
from edgepress_compression.passes.pruning.channels_choose import choose_units
from edgepress_devices.profile import DeviceProfile

Shape = Literal["even", "latency", "flops"]
_HALVINGS = 12  # of the interval in which the factor lies


def student_shape(
    shape: Shape,
    graph: Graph,
    groups: Sequence[ChannelGroup],
    scores: Mapping[str, np.ndarray],
    profile: DeviceProfile,
    target_us: float,
    *,
    least: Mapping[str, int],
    multiple: int,
) -> dict[str, np.ndarray]:
    """Group -> (units,) bool, what the student keeps: at most `target_us` by the roofline, or as near as the
    least widths allow."""
    latency = WidthCost(graph, groups, "latency", profile)
    if shape == "latency":
        return choose_units(groups, scores, latency, target_us, least=least, multiple=multiple)
    flops = WidthCost(graph, groups, "flops")
    whole = flops.cost({})

    def kept(factor: float) -> dict[str, np.ndarray]:
        if shape == "even":
            return _even(groups, scores, factor, least, multiple)
        return choose_units(groups, scores, flops, factor * whole, least=least, multiple=multiple)

    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        dropped = {name: float((~mask).sum()) for name, mask in kept(middle).items()}
        low, high = (middle, high) if latency.cost(dropped) <= target_us else (low, middle)
    return kept(low)


def _even(
    groups: Sequence[ChannelGroup],
    scores: Mapping[str, np.ndarray],
    factor: float,
    least: Mapping[str, int],
    multiple: int,
) -> dict[str, np.ndarray]:
    kept = {}
    for group in groups:
        grain = math.lcm(group.granularity, multiple)
        grain = grain if grain < group.units else group.granularity
        wanted = max(factor * group.units, least[group.name])
        count = min(group.units, max(1, round(wanted / grain)) * grain)
        mask = np.zeros(group.units, bool)
        mask[np.argsort(-scores[group.name], kind="stable")[:count]] = True
        kept[group.name] = mask
    return kept

"""With a calibrated profile, widths are chosen by what such devices were measured to take."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import numpy as np
import pytest
from planted_reports import Law, planted
from test_calibration_fit import PC, fitted
from test_width_cost import residual

from edgepress_compression.figures import figures
from edgepress_compression.graph.channels import ChannelGroup, channel_groups
from edgepress_compression.graph.cost import model_cost, operator_costs
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.width_cost import WidthCost
from edgepress_compression.passes.pruning.channels_choose import choose_units, least_units
from edgepress_devices.calibration import Calibration
from edgepress_devices.profile import DeviceProfile

SLOW_DEPTHWISE = Law(overhead_us=0.01, fp32_per_us=500.0, bytes_per_us=500.0, depthwise=30.0)
EVEN = Law(overhead_us=0.01, fp32_per_us=500.0, bytes_per_us=500.0)


def plain(law: Law) -> DeviceProfile:
    """A profile calibrated by devices that follow the law; without corrections for shapes."""
    calibration: Calibration = fitted(planted(law))
    kinds = {name: msgspec.structs.replace(one, correction=None) for name, one in calibration.kinds.items()}
    return msgspec.structs.replace(PC, calibration=msgspec.structs.replace(calibration, kinds=kinds))


def network() -> tuple[Graph, list[ChannelGroup]]:
    graph = residual(np.random.default_rng(0))
    return graph, [one for one in channel_groups(graph) if one.fixed is None]


def units_left(profile: DeviceProfile) -> dict[int, int]:
    """Units of a group -> how many stay at 60 % of the latency, where all are equally important."""
    graph, groups = network()
    cost = WidthCost(graph, groups, "latency", profile)
    scores = {group.name: np.ones(group.units) for group in groups}
    least = least_units(groups, 0.1)
    kept = choose_units(groups, scores, cost, 0.6 * cost.cost({}), least=least)
    return {
        group.units: int(kept[group.name].sum()) if group.name in kept else group.units for group in groups
    }


def test_where_depthwise_convolutions_are_slow_their_channels_go_first() -> None:
    even, slow = units_left(plain(EVEN)), units_left(plain(SLOW_DEPTHWISE))
    assert even != slow
    assert slow[8] < even[8]  # the eight channels of the depthwise convolution
    assert slow[6] >= even[6]


def test_the_depthwise_layer_is_what_costs_there() -> None:
    graph, _ = network()
    told = {one.node: one.latency_us or 0.0 for one in operator_costs(graph, plain(SLOW_DEPTHWISE))}
    assert told["d"] == max(told.values())
    told = {one.node: one.latency_us or 0.0 for one in operator_costs(graph, plain(EVEN))}
    assert told["d"] < max(told.values())


def test_the_cost_falls_smoothly_with_every_channel_of_a_calibrated_profile() -> None:
    graph, groups = network()
    profile = msgspec.structs.replace(PC, calibration=fitted(planted(Law(), noise=0.1)))
    cost = WidthCost(graph, groups, "latency", profile)
    whole = cost.cost({})
    assert whole == pytest.approx(model_cost(graph, profile).latency_us)
    for group in groups:
        at = [cost.cost({group.name: float(units)}) for units in range(group.units)]
        assert all(before >= after for before, after in pairwise(at))
        assert at[-1] < at[0]


def test_figures_are_those_of_the_calibration() -> None:
    graph, _ = network()
    slow, even = (figures(graph, plain(law)).latency_us_estimate for law in (SLOW_DEPTHWISE, EVEN))
    assert slow is not None
    assert even is not None
    assert slow > even != figures(graph, PC).latency_us_estimate

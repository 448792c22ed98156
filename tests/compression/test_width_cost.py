"""The cost of narrower models, told without cutting them, is the cost of the models that are cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.data.spec import data_folder
from edgepress_compression.graph.channels import channel_groups, cut
from edgepress_compression.graph.cost import model_cost
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.width_cost import CostKind, WidthCost
from edgepress_devices.profile import load_profile

PI = load_profile("raspberry-pi-4")


def residual(rng: np.random.Generator) -> Graph:
    """Two convolutions beside a shortcut, one depthwise, then a dense layer: x (N, 3, 8, 8) -> y (N, 5)."""
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Conv", ["ar", "w1", "b1"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["br"]),
        helper.make_node("Conv", ["br", "dw"], ["d"], pads=[1, 1, 1, 1], group=8),
        helper.make_node("Conv", ["d", "w2", "b2"], ["c"]),
        helper.make_node("Add", ["c", "ar"], ["s"]),
        helper.make_node("GlobalAveragePool", ["s"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "fc", "fb"], ["y"], transB=1),
    ]
    weights = {
        "w0": normal(rng, 6, 3, 3, 3), "b0": normal(rng, 6),
        "w1": normal(rng, 8, 6, 3, 3, scale=0.2), "b1": normal(rng, 8),
        "dw": normal(rng, 8, 1, 3, 3, scale=0.3),
        "w2": normal(rng, 6, 8, 1, 1, scale=0.3), "b2": normal(rng, 6),
        "fc": normal(rng, 5, 6, scale=0.4), "fb": normal(rng, 5),
    }  # fmt: skip
    proto = model(nodes, weights, input_shape=["N", 3, 8, 8], output_shape=["N", 5])
    return load_model(proto.SerializeToString())


MODELS = {"mlp": mlp, "cnn": cnn, "residual": residual}


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(MODELS)),
    st.sampled_from(["flops", "bytes", "latency"]),
    st.integers(0, 2**32 - 1),
)
def test_the_cost_of_dropped_units_is_that_of_the_cut_model(name: str, kind: CostKind, seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph = MODELS[name](rng)
    groups = [one for one in channel_groups(graph) if one.fixed is None]
    kept = {}
    for group in groups:
        mask = rng.random(group.units) < 0.6
        mask[0] = True
        kept[group.name] = mask
    dropped = {group: float((~mask).sum()) for group, mask in kept.items()}
    told = WidthCost(graph, groups, kind, PI).cost(dropped)
    assert told == pytest.approx(WidthCost(cut(graph, kept), (), kind, PI).cost({}), rel=1e-9)


def test_the_whole_model_costs_what_model_cost_says() -> None:
    graph = residual(np.random.default_rng(0))
    whole = model_cost(graph, PI)
    assert WidthCost(graph, (), "flops").cost({}) == whole.flops
    assert WidthCost(graph, (), "bytes").cost({}) == whole.weight_bytes
    assert WidthCost(graph, (), "latency", PI).cost({}) == pytest.approx(whole.latency_us)


def test_what_a_unit_saves_depends_on_the_widths_that_are_left() -> None:
    graph = residual(np.random.default_rng(0))
    groups = [one for one in channel_groups(graph) if one.fixed is None]
    cost = WidthCost(graph, groups, "flops")
    (inner,) = (one.name for one in groups if one.units == 8)
    (outer,) = (one.name for one in groups if one.units == 6)
    alone = cost.saving(inner, 1.0, {})
    assert alone == cost.cost({}) - cost.cost({inner: 1.0})
    assert cost.saving(inner, 1.0, {outer: 3.0}) < alone  # a filter that reads half as many channels


def test_a_latency_needs_a_device() -> None:
    graph = mlp(np.random.default_rng(0))
    with pytest.raises(ValueError, match="profile"):
        WidthCost(graph, (), "latency")


@pytest.mark.data
@pytest.mark.parametrize("name", ["resnet20_cifar10", "squeezenet1.1", "minilm3_sst2", "FastestDet"])
def test_real_models_cut_by_half_cost_what_is_told(name: str) -> None:
    folder = data_folder(Path(__file__))
    if not folder.is_dir():
        pytest.skip("there is no data folder; set EDGEPRESS_DATA")
    graph = load_model(folder / "models" / f"{name}.onnx")
    groups = [one for one in channel_groups(graph) if one.fixed is None and one.units > 1]
    kept = {one.name: np.arange(one.units) % 2 == 0 for one in groups if one.granularity == 1}
    dropped = {group: float((~mask).sum()) for group, mask in kept.items()}
    after = cut(graph, kept)
    # a cut channel shuffle becomes one Gather: fewer calls than were told (FastestDet)
    for kind, close in (("flops", 1e-3), ("bytes", 0.03), ("latency", 0.25)):
        told = WidthCost(graph, groups, kind, PI).cost(dropped)  # type: ignore[arg-type]
        assert told == pytest.approx(WidthCost(after, (), kind, PI).cost({}), rel=close)  # type: ignore[arg-type]

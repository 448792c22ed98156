"""MorphNet: units die by what they cost on a device, the rest widens to the budget, no answer changes."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from blobs import blobs, state
from halves import halves
from onnx import helper
from test_width_cost import residual
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.errors import RecipeError
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.executor import Executor
from edgepress_compression.graph.channels import ChannelGroup, channel_groups
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.width_cost import WidthCost
from edgepress_compression.passes.morphnet import morphnet
from edgepress_compression.passes.morphnet.expand import expanded_widths, revive, widened
from edgepress_compression.passes.morphnet.structure import StructureLearning
from edgepress_compression.passes.morphnet.unit_norms import UnitNorms
from edgepress_compression.training.constraint import Free
from edgepress_compression.training.loop import Schedule, fine_tune, top1
from edgepress_compression.training.losses import loss_for
from edgepress_devices.profile import load_profile

torch.set_num_threads(1)
DATA = blobs(3000)
QUICK = morphnet.Options(
    steps=300, batch_size=32, learning_rate=3e-3, target=0.3, budget=0.5, refit_samples=64
)


@pytest.fixture(scope="module")
def learned() -> Graph:
    graph = mlp(np.random.default_rng(0), hidden=48)
    executor = Executor(graph)
    split = DATA.split("train")
    fine_tune(
        executor, split, loss_for(graph, "classification", label_share=1.0), Free(executor),
        Schedule(steps=150, batch_size=32, learning_rate=1e-2),
        rows=np.arange(len(split)), teacher=None, seed=0,
    )  # fmt: skip
    executor.write_back(graph)
    return graph


def free(graph: Graph) -> list[ChannelGroup]:
    return [one for one in channel_groups(graph) if one.fixed is None]


def difference(before: Graph, after: Graph, x: np.ndarray) -> float:
    old, new = (run(open_session(one.serialize()), {"x": x})[0] for one in (before, after))
    return float(np.abs(old - new).max() / np.abs(old).max())


def test_the_structure_meets_the_target_and_the_budget(learned: Graph) -> None:
    work = state(learned.copy(), DATA)
    morphnet.run(work, QUICK)
    cost = WidthCost(work.graph, (), "flops").cost({}) / WidthCost(learned, (), "flops").cost({})
    assert 0.4 < cost <= 0.5
    structure, trained = work.stages
    assert structure.detail is not None
    (filters,) = structure.detail["filters"]
    assert filters["of"] == 48
    assert filters["alive"] <= 0.35 * 48
    (widths,) = structure.detail["structure"].values()
    assert widths["alive"] < widths["after"] < widths["before"]
    assert work.graph.weights["w1"].shape == (widths["after"], 16)
    split = DATA.split("test")
    found, before = (top1(Executor(one), split, np.arange(len(split)), "y") for one in (work.graph, learned))
    assert found >= before - 0.02
    assert trained.accuracy is not None


def test_a_budget_above_the_original_makes_a_wider_network(learned: Graph) -> None:
    work = state(learned.copy(), DATA)
    morphnet.run(work, msgspec.structs.replace(QUICK, target=0.7, budget=1.5, steps=60, least_kept=0.6))
    assert len(work.graph.weights["w1"]) > 48


@pytest.mark.parametrize("samples", [0, 80])
def test_without_labels_to_learn_by_it_refuses(learned: Graph, samples: int) -> None:
    work = state(learned.copy(), blobs(samples) if samples else None)
    with pytest.raises(RecipeError, match="labelled samples"):
        morphnet.run(work, QUICK)


def test_a_budget_below_the_target_is_refused(learned: Graph) -> None:
    with pytest.raises(RecipeError, match="at least the target"):
        morphnet.run(state(learned.copy(), DATA), morphnet.Options(target=0.6, budget=0.5))


def test_behind_batch_normalization_its_scale_is_the_norm() -> None:
    graph = cnn(np.random.default_rng(0))
    (group,) = free(graph)
    norms = UnitNorms(graph, group, Executor(graph))
    assert norms.by_gamma
    np.testing.assert_allclose(norms.values(), np.abs(graph.weights["scale"]), rtol=1e-6)


def test_units_tied_by_a_shortcut_are_as_loud_as_the_loudest_scale() -> None:
    rng = np.random.default_rng(0)
    graph = normalized_shortcut(rng)
    (group,) = free(graph)
    loudest = np.maximum(np.abs(graph.weights["g1"]), np.abs(graph.weights["g2"]))
    np.testing.assert_allclose(UnitNorms(graph, group, Executor(graph)).values(), loudest, rtol=1e-6)


def normalized_shortcut(rng: np.random.Generator) -> Graph:
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("BatchNormalization", ["a", "g1", "s1", "m1", "v1"], ["n"]),
        helper.make_node("Conv", ["n", "w2"], ["b"]),
        helper.make_node("BatchNormalization", ["b", "g2", "s2", "m2", "v2"], ["o"]),
        helper.make_node("Add", ["n", "o"], ["t"]),
        helper.make_node("GlobalAveragePool", ["t"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc"], ["y"], transB=1),
    ]
    weights = {"w1": normal(rng, 5, 2, 1, 1), "w2": normal(rng, 5, 5, 1, 1), "fc": normal(rng, 3, 5)}
    for number in "12":
        weights |= {f"{name}{number}": normal(rng, 5) for name in "gsm"}
        weights[f"v{number}"] = np.abs(normal(rng, 5)) + 1
    proto = model(nodes, weights, input_shape=["N", 2, 4, 4], output_shape=["N", 3])
    return load_model(proto.SerializeToString())


def test_elsewhere_all_weights_of_a_unit_form_one_group() -> None:
    graph = mlp(np.random.default_rng(0))
    (group,) = free(graph)
    squares = (graph.weights["w1"] ** 2).sum(1) + graph.weights["b1"] ** 2 + (graph.weights["w2"] ** 2).sum(0)
    expected = np.sqrt(squares / (16 + 1 + 4))
    np.testing.assert_allclose(UnitNorms(graph, group, Executor(graph)).values(), expected, rtol=1e-5)


def test_the_price_of_a_unit_is_that_of_equation_6() -> None:
    """F of a chain: 2 y z f g (A_1 + A_3) a unit of the middle layer, with A the living neighbours."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Conv", ["ar", "w2"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["br"]),
        helper.make_node("Conv", ["br", "w3"], ["y"], pads=[1, 1, 1, 1]),
    ]
    weights = {"w1": normal(rng, 6, 3, 3, 3), "w2": normal(rng, 10, 6, 3, 3), "w3": normal(rng, 4, 10, 3, 3)}
    proto = model(nodes, weights, input_shape=["N", 3, 8, 8], output_shape=["N", 4, 8, 8])
    graph = load_model(proto.SerializeToString())
    cost = WidthCost(graph, free(graph), "flops")
    relu = 64  # its own activation
    assert cost.saving("w2", 1.0, {}) == pytest.approx(2 * 64 * 9 * (6 + 4) + relu)
    assert cost.saving("w2", 1.0, {"w1": 4.0}) == pytest.approx(2 * 64 * 9 * (2 + 4) + relu)


def test_the_strength_rises_until_the_cost_falls_as_planned() -> None:
    graph = mlp(np.random.default_rng(0))
    executor = Executor(graph)
    groups = free(graph)
    structure = StructureLearning(
        graph, executor, groups, WidthCost(graph, groups, "flops"), target=0.5, threshold=0.1
    )
    optimizer = torch.optim.Adam(structure.parameters())
    for step in range(40):
        structure.begin(step / 40, optimizer)  # nothing shrinks, since nothing is trained
    assert structure.seen[-1].strength > 10 * structure.seen[0].strength
    penalty = structure.penalty()
    penalty.backward()  # type: ignore[no-untyped-call]
    assert executor.weights["w1"].grad is not None
    again = StructureLearning(
        graph, executor, groups, WidthCost(graph, groups, "flops"), target=0.5, threshold=0.1
    )
    again.resume_from(structure.resume_state())
    assert float(again.penalty().detach()) == float(penalty.detach())


def test_devices_price_the_same_layers_differently() -> None:
    """Two layers of equal work: one with few weights and large pictures, one the other way round."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["ar"]),
        helper.make_node("Conv", ["ar", "w2"], ["b"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b"], ["br"]),
        helper.make_node("GlobalAveragePool", ["br"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3"], ["c"], transB=1),
        helper.make_node("Relu", ["c"], ["cr"]),
        helper.make_node("Gemm", ["cr", "w4"], ["y"], transB=1),
    ]
    weights = {
        "w1": normal(rng, 16, 16, 3, 3), "w2": normal(rng, 64, 16, 3, 3),
        "w3": normal(rng, 2048, 64), "w4": normal(rng, 512, 2048),
    }  # fmt: skip
    proto = model(nodes, weights, input_shape=["N", 16, 32, 32], output_shape=["N", 512])
    graph = load_model(proto.SerializeToString())
    groups = free(graph)
    ratios = []
    for name in ("raspberry-pi-4", "jetson-orin-nano"):
        cost = WidthCost(graph, groups, "latency", load_profile(name))
        ratios.append(cost.saving("w3", 1.0, {}) / cost.saving("w2", 1.0, {}))
    assert ratios[1] > 2 * ratios[0]  # the GPU's arithmetic is cheap, its memory no faster for that


def test_omega_is_the_largest_within_the_budget() -> None:
    graph = residual(np.random.default_rng(0))
    groups = free(graph)
    cost = WidthCost(graph, groups, "flops")
    alive = {one.name: 2 for one in groups}
    budget = 0.9 * cost.cost({})
    omega, widths = expanded_widths(groups, alive, cost, budget)

    def price(factor: float) -> float:
        return cost.cost({one.name: one.units - int(factor * 2) for one in groups})

    assert cost.cost({one.name: one.units - widths[one.name] for one in groups}) <= budget
    tried = [factor for factor in np.arange(1, 8, 0.01) if price(factor) <= budget]
    assert omega == pytest.approx(max(tried), abs=0.02)


@pytest.mark.parametrize("make", [mlp, cnn, residual])
def test_a_widened_network_computes_what_it_did(make: object) -> None:
    rng = np.random.default_rng(0)
    graph = make(rng)  # type: ignore[operator]
    groups = free(graph)
    wide, added = widened(graph, groups, {one.name: 3 for one in groups}, seed=1)
    assert added == {one.name: 3 for one in groups}
    shape = [4, *[side for side in graph.inputs[0].shape[1:] if isinstance(side, int)]]
    assert difference(graph, wide, normal(rng, *shape)) < 1e-5
    assert wide.weight_bytes() > graph.weight_bytes()
    assert {one.name: one.units for one in free(wide)} == {one.name: one.units + 3 for one in groups}


def test_a_group_written_into_the_layout_is_not_widened() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"]),
        helper.make_node("Reshape", ["a", "shape"], ["f"]),
        helper.make_node("Gemm", ["f", "w2"], ["y"], transB=1),
    ]
    weights = {
        "w1": normal(rng, 4, 2, 1, 1), "shape": np.array([-1, 16], np.int64), "w2": normal(rng, 3, 16)
    }  # fmt: skip
    proto = model(nodes, weights, input_shape=["N", 2, 2, 2], output_shape=["N", 3])
    graph = load_model(proto.SerializeToString())
    same, added = widened(graph, free(graph), {"w1": 2}, seed=0)
    assert added == {}
    assert same.serialize() == graph.serialize()


def test_revived_units_change_no_answer_and_start_as_they_were() -> None:
    rng = np.random.default_rng(0)
    original = residual(rng)
    graph = original.copy()
    (inner,) = (one for one in free(graph) if one.units == 8)
    dead = np.arange(8) >= 5
    for name in ("w1", "b1"):
        array = graph.weights[name].copy()
        array[dead] = 0
        graph.set_weight(name, array)
    reads = graph.weights["w2"].copy()
    reads[:, dead] = 0
    graph.set_weight("w2", reads)
    before = graph.copy()
    revive(graph, original, [inner], {inner.name: dead})
    np.testing.assert_array_equal(graph.weights["w1"], original.weights["w1"])
    assert difference(before, graph, normal(rng, 4, 3, 8, 8)) < 1e-6


def test_no_half_of_a_split_loses_all_its_units() -> None:
    work = state(halves(np.random.default_rng(0), units=48), DATA)
    morphnet.run(work, msgspec.structs.replace(QUICK, steps=20))
    assert work.graph.weights["w1"].shape[0] < 48

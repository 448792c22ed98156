"""Low rank: against brute force, and on small models."""

from pathlib import Path

import numpy as np
import pytest
from onnx import helper
from small_data import labelled
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.evaluate import open_session, run
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.factorize import low_rank
from edgepress_compression.passes.factorize.layers import factorizable
from edgepress_compression.passes.factorize.low_rank import Options, Spectrum, spectrum, split_layer
from edgepress_compression.passes.factorize.rank_choice import Ladder, rank_of_energy, ranks_within
from edgepress_compression.passes.state import PassState
from edgepress_devices.profile import load_profile

RNG = np.random.default_rng(1)
ALL = frozenset({"conv", "gemm", "matmul", "table"})


def answers(graph: Graph, x: np.ndarray) -> np.ndarray:
    return run(open_session(graph.serialize()), {graph.inputs[0].name: x})[0]


def seen_by(matrix: np.ndarray, inputs: np.ndarray) -> Spectrum:
    return spectrum(matrix, inputs.T @ inputs / len(inputs), np.ones(len(matrix)))


def test_no_other_factors_of_the_rank_come_nearer_on_the_inputs() -> None:
    matrix = RNG.standard_normal((6, 9))
    inputs = RNG.standard_normal((200, 9)) * np.geomspace(5, 0.1, 9)
    first, second = seen_by(matrix, inputs).factors(matrix, 2)
    best = np.square(inputs @ (matrix - first @ second).T).mean()
    # Eckart and Young on the outputs: no matrix of rank 2 has less
    values = np.linalg.svd(inputs @ matrix.T, compute_uv=False)
    assert best == pytest.approx((values[2:] ** 2).sum() / (200 * 6), rel=1e-9)
    left, values, right = np.linalg.svd(matrix)
    plain = (left[:, :2] * values[:2]) @ right[:2]
    assert best < np.square(inputs @ (matrix - plain).T).mean()


def test_energies_are_the_errors_of_giving_directions_up() -> None:
    matrix = RNG.standard_normal((5, 4))
    inputs = RNG.standard_normal((100, 4))
    seen = seen_by(matrix, inputs)
    for rank in range(1, 5):
        first, second = seen.factors(matrix, rank)
        error = np.square(inputs @ (matrix - first @ second).T).sum(axis=1).mean()
        assert error == pytest.approx(seen.energies[rank:].sum(), abs=1e-9)


def test_outputs_that_matter_more_are_kept_more_faithfully() -> None:
    matrix = np.diag([1.0, 1.1, 1.2])
    seen = spectrum(matrix, np.eye(3), np.array([100.0, 1.0, 1.0]))
    first, second = seen.factors(matrix, 1)
    np.testing.assert_allclose(first @ second, np.diag([1.0, 0, 0]), atol=1e-9)


def test_the_choice_of_ranks_is_the_best_there_is_for_two_layers() -> None:
    ladders = {
        name: Ladder(np.sort(RNG.random(8))[::-1], np.arange(1, 9) * float(cost), 10.0 * cost)
        for name, cost in (("a", 3), ("b", 7))
    }
    budget = 60.0
    chosen = ranks_within(ladders, budget)
    error = sum(0 if r is None else ladders[n].errors[r - 1] for n, r in chosen.items())
    cost = sum(ladders[n].cost(r) for n, r in chosen.items())
    assert cost <= budget
    every = [
        sum(0 if r is None else ladders[n].errors[r - 1] for n, r in zip("ab", pair, strict=True))
        for pair in [(a, b) for a in (*range(1, 9), None) for b in (*range(1, 9), None)]
        if sum(ladders[n].cost(r) for n, r in zip("ab", pair, strict=True)) <= cost
    ]
    assert error == pytest.approx(
        min(every)
    )  # a price finds the lowest error of all choices that cost as little


def test_a_rank_keeps_the_energy_asked_for() -> None:
    energies = np.array([4.0, 3.0, 2.0, 1.0])
    assert [rank_of_energy(energies, share) for share in (0.3, 0.4, 0.41, 0.95, 0.999)] == [1, 1, 2, 4, 4]


def test_all_ranks_kept_leave_the_answers_as_they_were() -> None:
    """Gemm, MatMul, convolution and table, each split at full rank."""
    nodes = [
        helper.make_node("Conv", ["x", "k", "kb"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["h"]),
        helper.make_node("Add", ["h", "mb"], ["ha"]),
        helper.make_node("Gemm", ["ha", "g", "gb"], ["s"], transB=0, alpha=0.5),
        helper.make_node("Gather", ["t", "rows"], ["e"]),
        helper.make_node("Add", ["s", "e"], ["y"]),
    ]
    weights = {
        "k": normal(RNG, 4, 3, 3, 3),
        "kb": normal(RNG, 4),
        "m": normal(RNG, 64, 12),
        "mb": normal(RNG, 12),
        "g": normal(RNG, 12, 5),
        "gb": normal(RNG, 5),
        "t": normal(RNG, 9, 5),
        "rows": np.array([3]),
    }
    proto = model(nodes, weights, input_shape=["N", 3, 8, 8], output_shape=["N", 5])
    graph = load_model(proto.SerializeToString())
    x = normal(RNG, 2, 3, 8, 8)
    before = answers(graph, x)
    layers = factorizable(graph, ALL, least_weights=1)
    assert {name: layer.bias for name, layer in layers.items()} == {
        "k": "kb",
        "m": "mb",
        "g": "gb",
        "t": None,
    }
    for name, layer in layers.items():
        matrix = layer.matrix(graph.weights[name])
        split_layer(
            graph, layer, spectrum(matrix, np.ones(matrix.shape[1]), np.ones(len(matrix))), len(matrix)
        )
    np.testing.assert_allclose(answers(graph, x), before, atol=1e-4)
    assert {n.op_type for n in graph.proto.graph.node} == {
        "Conv",
        "Flatten",
        "MatMul",
        "Add",
        "Gemm",
        "Gather",
    }
    assert len(graph.proto.graph.node) == 11


def test_a_bias_takes_the_mean_of_the_error() -> None:
    graph = mlp(RNG)
    layer = factorizable(graph, ALL, least_weights=1)["w1"]
    inputs = RNG.standard_normal((500, 16)).astype(np.float32) + 3
    matrix = layer.matrix(graph.weights["w1"])
    mean = inputs.mean(axis=0).astype(np.float64)
    seen = spectrum(matrix, inputs.T.astype(np.float64) @ inputs / 500, np.ones(32), mean)
    before = inputs @ matrix.T + graph.weights["b1"]
    split_layer(graph, layer, seen, 4)
    after = inputs @ graph.weights["w1.down"].T @ graph.weights["w1.up"].T + graph.weights["b1"]
    np.testing.assert_allclose((after - before).mean(axis=0), 0, atol=1e-3)


@pytest.mark.parametrize("kept", [0.4, 0.7])
def test_the_pass_keeps_within_its_budget(kept: float) -> None:
    graph = mlp(RNG, inputs=64, hidden=96, classes=48)
    weights = 64 * 96 + 96 * 48
    state = PassState(graph=graph, profile=load_profile("x86-pc"), seed=0)
    low_rank.run(state, Options(kept=kept))
    left = sum(a.size for a in state.graph.weights.values() if a.ndim == 2)
    assert 0.9 * kept * weights < left <= kept * weights
    assert state.stages[-1].name.startswith("low rank, 2 of 2")


def test_real_inputs_lose_less_than_the_weights_alone() -> None:
    data = labelled(RNG, inputs=64, classes=8, rank=6)
    graph = mlp(RNG, inputs=64, hidden=96, classes=8)
    x = data.split("test").fetch(np.arange(80))["x"]
    before = answers(graph, x)
    errors = []
    for dataset in (None, data):
        state = PassState(graph=graph.copy(), profile=load_profile("x86-pc"), dataset=dataset, seed=0)
        low_rank.run(state, Options(kept=0.3, least_weights=1000))
        errors.append(float(np.square(answers(state.graph, x) - before).mean()))
    assert errors[1] < 0.1 * errors[0]


def test_a_model_without_large_layers_stays_and_says_so() -> None:
    state = PassState(graph=cnn(RNG), profile=load_profile("x86-pc"))
    low_rank.run(state, Options())
    assert "no layer large enough" in state.warnings[0]


def test_the_recipe_is_shipped() -> None:
    from edgepress_compression.recipe import check_recipe, load_recipe

    for name in ("low-rank", "tucker", "folding-attention", "squeezebert", "transformer-compression"):
        assert check_recipe(load_recipe(name))
        assert Path(__file__).parent.parent.parent.joinpath("docs", "recipes", f"{name}.md").is_file()


def test_a_budget_of_work_counts_how_often_a_weight_is_used() -> None:
    """64 positions of a convolution beside a dense layer: the work is the convolution's."""
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "g"], ["y"], transB=1),
    ]
    weights = {"k": normal(RNG, 64, 64, 1, 1), "g": normal(RNG, 64, 64)}
    proto = model(nodes, weights, input_shape=["N", 64, 8, 8], output_shape=["N", 64])
    state = PassState(graph=load_model(proto.SerializeToString()), profile=load_profile("x86-pc"), seed=0)
    before = state.graph.macs()
    low_rank.run(state, Options(kept=0.5, budget="macs"))
    after = state.graph.macs()
    assert before is not None and after is not None and 0.4 * before < after <= 0.5 * before
    assert "k" not in state.graph.weights


def test_answers_that_changed_are_said() -> None:
    data = labelled(RNG, inputs=64, classes=8, rank=48)
    state = PassState(
        graph=mlp(RNG, inputs=64, hidden=96, classes=8), profile=load_profile("x86-pc"), dataset=data, seed=0
    )
    low_rank.run(state, Options(kept=0.1, least_weights=1000))
    assert any("of the answers" in sentence and "fine-tune" in sentence for sentence in state.warnings)
    assert "% of the answers as before" in (state.stages[-1].note or "")

"""Dead units are cut, and the model computes the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from halves import halves
from onnx import helper
from tiny_models import mlp, model, normal

from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.executor import Executor
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.entropy.dead import without_dead_units

torch.set_num_threads(1)


def coded(graph: Graph, *, per_output: bool = False) -> dict[str, ScaledIntegers]:
    """Codes for all weights of the graph, which then has exactly theirs; a step for each of the outputs of
    matrices where asked for."""
    codes = {}
    for name, array in graph.float_weights().items():
        outputs = array.shape[0] if per_output and array.ndim > 1 else 1
        scales = (0.1 + 0.01 * np.arange(outputs)).astype(np.float32)
        codes[name] = ScaledIntegers(np.rint(array * 10).astype(np.int32), scales, 0)
        graph.set_weight(name, codes[name].weights())
    return codes


def edited(graph: Graph, name: str, position: object) -> None:
    array = graph.weights[name].copy()
    array[position] = 0
    graph.set_weight(name, array)


def assert_codes_are_true(graph: Graph, codes: dict[str, ScaledIntegers]) -> None:
    for name, code in codes.items():
        np.testing.assert_array_equal(code.weights(), graph.weights[name])


@pytest.mark.parametrize("per_output", [False, True])
def test_units_that_nobody_makes_or_reads_go(per_output: bool) -> None:
    graph = mlp(np.random.default_rng(0))
    edited(graph, "w1", slice(0, 5))
    edited(graph, "b1", slice(0, 5))
    edited(graph, "w1", 7)  # its bias stays: a constant, which is not nothing
    edited(graph, "w2", (slice(None), 9))
    biases = graph.weights["b1"].copy()
    biases[7] = 0.3
    graph.set_weight("b1", biases)
    codes = coded(graph, per_output=per_output)
    before = Executor(graph).run({"x": np.eye(16, dtype=np.float32)})["y"]
    smaller, fewer, gone = without_dead_units(graph, codes)
    assert gone == 6
    assert smaller.weights["w1"].shape == (26, 16)
    assert smaller.weights["w2"].shape == (4, 26)
    np.testing.assert_allclose(
        Executor(smaller).run({"x": np.eye(16, dtype=np.float32)})["y"], before, atol=1e-6
    )
    assert_codes_are_true(smaller, fewer)


def test_one_unit_stays_where_all_are_dead() -> None:
    graph = mlp(np.random.default_rng(0))
    edited(graph, "w2", slice(None))
    smaller, codes, _ = without_dead_units(graph, coded(graph))
    assert smaller.weights["w1"].shape == (1, 16)
    assert_codes_are_true(smaller, codes)


def test_a_model_without_dead_units_stays_as_it_is() -> None:
    graph = mlp(np.random.default_rng(0))
    codes = coded(graph)
    smaller, same, gone = without_dead_units(graph, codes)
    assert gone == 0
    assert smaller is graph
    assert same == codes


def test_a_dead_channel_takes_its_reader_with_it() -> None:
    """conv -> conv -> conv: without its reader's weights, a channel's maker goes, then what made that."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h"]),
        helper.make_node("Conv", ["h", "b"], ["i"]),
        helper.make_node("Conv", ["i", "c"], ["y"]),
    ]
    weights = {"a": normal(rng, 6, 2, 1, 1), "b": normal(rng, 5, 6, 1, 1), "c": normal(rng, 3, 5, 1, 1)}
    weights["c"][:, 1:] = 0  # nobody reads but the first of i
    weights["b"][0, 2:] = 0  # which reads two of h
    proto = model(nodes, weights, input_shape=["N", 2, 3, 3], output_shape=["N", 3, 3, 3])
    graph = load_model(proto.SerializeToString())
    codes = coded(graph)
    smaller, codes, gone = without_dead_units(graph, codes)
    assert gone == 4 + 4
    assert {name: w.shape[:2] for name, w in smaller.weights.items()} == {
        "a": (2, 2),
        "b": (1, 2),
        "c": (3, 1),
    }
    assert_codes_are_true(smaller, codes)


def test_one_unit_of_a_half_stays_where_all_of_it_are_dead() -> None:
    graph = halves(np.random.default_rng(0), units=8, first=3)
    edited(graph, "w2", (slice(None), slice(0, 3)))
    smaller, codes, gone = without_dead_units(graph, coded(graph))
    assert gone == 2
    assert smaller.weights["w1"].shape == (6, 16)
    assert_codes_are_true(smaller, codes)

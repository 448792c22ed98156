"""The graph: weights by name, work counted, the same bytes every time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.errors import GraphError
from edgepress_compression.executor import Executor
from edgepress_compression.graph import BATCH, from_module, load_model
from edgepress_compression.graph.edit import fresh_name, replace_node
from edgepress_compression.graph.inspect import summarize


def test_inputs_and_outputs_name_the_batch() -> None:
    graph = cnn(np.random.default_rng(0))
    assert [(v.name, v.shape, v.dtype) for v in graph.inputs] == [("x", (BATCH, 1, 8, 8), np.float32)]
    assert [(v.name, v.shape, v.dtype) for v in graph.outputs] == [("y", (BATCH, 3), np.float32)]


def test_work_and_bytes_are_those_counted_by_hand() -> None:
    graph = cnn(np.random.default_rng(0))
    assert graph.macs() == 8 * 8 * 6 * 9 + 96 * 3
    assert graph.weight_bytes() == 4 * (54 + 6 + 4 * 6 + 288 + 3)
    assert graph.prunable() == ["conv.weight", "fc.weight"]
    summary = summarize(graph)
    assert summary.operators["Conv"] == 1
    assert summary.parameters == 375 - 2 * 6  # without the statistics of batch normalization
    assert summary.nonzero == 1.0


def test_a_weight_behind_a_transpose_can_be_pruned() -> None:
    nodes = [helper.make_node("Transpose", ["w"], ["t"]), helper.make_node("MatMul", ["x", "t"], ["y"])]
    proto = model(
        nodes, {"w": normal(np.random.default_rng(0), 4, 8)}, input_shape=["N", 8], output_shape=["N", 4]
    )
    graph = load_model(proto.SerializeToString())
    assert graph.prunable() == ["w"]
    assert graph.macs() == 32


def test_set_weight_replaces_values_and_serialize_holds_them() -> None:
    graph = mlp(np.random.default_rng(0))
    graph.set_weight("w1", np.zeros((32, 16), np.float32))
    again = load_model(graph.serialize())
    assert not again.weights["w1"].any()
    with pytest.raises(ValueError, match="float32"):
        graph.set_weight("w1", np.zeros((32, 16)))
    with pytest.raises(ValueError, match="read-only"):
        graph.weights["w1"][0] = 1


def test_a_copy_is_independent_and_serializes_to_the_same_bytes() -> None:
    graph = cnn(np.random.default_rng(0))
    copy = graph.copy()
    assert copy.serialize() == graph.serialize() == load_model(graph.serialize()).serialize()
    copy.set_weight("fc.bias", np.zeros(3, np.float32))
    assert graph.weights["fc.bias"].any()


def test_contradicting_shapes_are_said_in_words() -> None:
    graph = mlp(np.random.default_rng(0))
    graph.set_weight("w1", np.zeros((32, 15), np.float32))
    with pytest.raises(GraphError, match="shapes contradict"):
        graph.macs()


def test_a_module_becomes_a_graph_with_a_free_batch() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(5, 3), torch.nn.ReLU(), torch.nn.Dropout()).train()
    graph = from_module(module, (torch.zeros(1, 5),))
    assert graph.inputs[0].shape == (BATCH, 5)
    assert module.training
    from edgepress_compression.executor import Executor

    x = normal(np.random.default_rng(0), 4, 5)
    expected = module.eval()(torch.from_numpy(x)).detach().numpy()
    (actual,) = Executor(graph).run({graph.inputs[0].name: x}).values()
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_what_only_a_replaced_node_needed_goes_with_it_and_what_others_read_stays() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Transpose", ["w"], ["t"]),
        helper.make_node("MatMul", ["x", "t"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Add", ["c", "b"], ["y"]),
    ]
    weights = {"w": normal(rng, 4, 8), "b": normal(rng, 4)}
    proto = model(nodes, weights, input_shape=["N", 8], output_shape=["N", 4])
    graph = load_model(proto.SerializeToString())
    name = fresh_name(graph, "w")
    assert name == "w_2"
    new = helper.make_node("MatMul", ["x", name], ["c"])
    replace_node(graph, graph.proto.graph.node[2], [new], {name: weights["w"].T})
    assert [node.op_type for node in graph.proto.graph.node] == ["MatMul", "Add"]
    assert set(graph.weights) == {"b", "w_2"}
    x = normal(rng, 3, 8)
    answer = Executor(graph).run({"x": x})["y"]
    np.testing.assert_allclose(answer, x @ weights["w"].T + weights["b"], rtol=1e-4, atol=1e-5)

"""Several depthwise kernels a channel and the pointwise convolution after them, computed as one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper
from tiny_models import model, normal

from edgepress_compression.executor import Executor
from edgepress_compression.executor.separable import joined
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph

torch.set_num_threads(1)
CHANNELS = 4
X = normal(np.random.default_rng(1), 2, CHANNELS, 7, 6)


def separable(
    kernels: int = 3, *, bias: bool = True, first: dict[str, Any] | None = None, between: str | None = None
) -> Graph:
    rng = np.random.default_rng(0)
    middle = CHANNELS * kernels
    weights = {
        "deep": normal(rng, middle, 1, 3, 3),
        "deep_bias": normal(rng, middle),
        "point": normal(rng, 5, middle, 1, 1),
        "point_bias": normal(rng, 5),
    }
    options = {"pads": [1, 1, 1, 1], "strides": [2, 1]} if first is None else first
    ends = ["deep_bias"], ["point_bias"]
    deep, point = ends if bias else ([], [])
    nodes = [helper.make_node("Conv", ["x", "deep", *deep], ["h"], group=CHANNELS, **options)]
    if between is not None:
        nodes.append(helper.make_node(between, ["h"], ["g"]))
    nodes.append(helper.make_node("Conv", ["g" if between else "h", "point", *point], ["y"]))
    if not bias:
        weights = {name: weights[name] for name in ("deep", "point")}
    proto = model(nodes, weights, input_shape=["N", CHANNELS, 7, 6], output_shape=["N", 5, "H", "W"])
    return load_model(proto.SerializeToString())


def steps_in_training(graph: Graph) -> int:
    executor = Executor(graph)
    shapes = {name: tuple(weight.shape) for name, weight in executor.weights.items()}
    return len(joined(executor._steps, shapes, ["y"]))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("first", [None, {}, {"pads": [2, 0, 1, 1], "dilations": [1, 2]}])
def test_it_is_what_onnxruntime_gives_and_gradients_are_those_of_the_two(
    bias: bool, first: dict[str, Any] | None
) -> None:
    graph = separable(bias=bias, first=first)
    assert steps_in_training(graph) == 1
    session = onnxruntime.InferenceSession(graph.proto.SerializeToString())
    wanted = session.run(None, {"x": X})[0]
    at_once, apart = Executor(graph), Executor(graph)
    y = at_once({"x": torch.from_numpy(X)})["y"]
    np.testing.assert_allclose(y.detach().numpy(), wanted, rtol=1e-4, atol=1e-4)
    apart_y = apart({"x": torch.from_numpy(X)}, watch=lambda *_: None)["y"]  # who watches sees every node
    for one in (y, apart_y):
        (one * torch.linspace(-1, 1, one.numel()).reshape(one.shape)).sum().backward()
    for name, weight in at_once.weights.items():
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, apart.weights[name].grad, rtol=1e-4, atol=1e-4)


def test_what_stands_between_or_has_one_kernel_a_channel_stays_apart() -> None:
    assert steps_in_training(separable(between="Relu")) == 3
    assert steps_in_training(separable(kernels=1)) == 2


def test_a_watched_run_sees_both() -> None:
    seen: list[str] = []
    Executor(separable())(
        {"x": torch.from_numpy(X)}, watch=lambda call, names, values: seen.append(call.op_type)
    )
    assert seen == ["Conv", "Conv"]

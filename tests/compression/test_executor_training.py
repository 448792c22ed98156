"""Training mode: batch statistics that move, dropout that drops; and only when asked for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.executor import Executor
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph

torch.set_num_threads(1)
X = normal(np.random.default_rng(1), 8, 3, 4, 4)


def normalization(momentum: float = 0.9) -> Graph:
    rng = np.random.default_rng(0)
    weights = {
        "scale": normal(rng, 3) + 2,
        "shift": normal(rng, 3),
        "mean": normal(rng, 3),
        "var": np.abs(normal(rng, 3)) + 1,
    }
    node = helper.make_node("BatchNormalization", ["x", *weights], ["y"], momentum=momentum, epsilon=1e-3)
    shape = ["N", 3, 4, 4]
    proto = model([node], weights, input_shape=shape, output_shape=shape, opset=15)
    return load_model(proto.SerializeToString())


def onnx_in_training(graph: Graph) -> list[np.ndarray]:
    """What ONNX's own reference gives: y, and the statistics it moved."""
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    (node,) = proto.graph.node
    node.attribute.append(helper.make_attribute("training_mode", 1))
    node.output.extend(["moved_mean", "moved_var"])
    for name in ("moved_mean", "moved_var"):
        proto.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [3]))
    outputs: list[np.ndarray] = ReferenceEvaluator(proto).run(None, {"x": X})
    return outputs


def test_batch_normalization_in_training_is_that_of_the_standard() -> None:
    graph = normalization(momentum=0.7)
    y, mean, var = onnx_in_training(graph)
    executor = Executor(graph).train()
    got = executor({"x": torch.from_numpy(X)})["y"]
    np.testing.assert_allclose(got.detach().numpy(), y, rtol=1e-4, atol=1e-5)
    executor.write_back(graph)
    np.testing.assert_allclose(graph.weights["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(graph.weights["var"], var, rtol=1e-5)


def test_its_gradient_goes_through_the_statistics() -> None:
    executor = Executor(normalization()).train()
    x = torch.from_numpy(X.astype(np.float64)).requires_grad_()
    oracle = torch.nn.BatchNorm2d(3, eps=1e-3)
    with torch.no_grad():
        oracle.weight.copy_(executor.weights["scale"])
        oracle.bias.copy_(executor.weights["shift"])
    weighting = torch.from_numpy(normal(np.random.default_rng(2), *X.shape))
    (executor({"x": x})["y"] * weighting).sum().backward()
    other = torch.from_numpy(X).requires_grad_()
    (oracle(other) * weighting).sum().backward()
    assert x.grad is not None
    assert other.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), other.grad.numpy(), rtol=1e-3, atol=1e-5)


def test_a_model_runs_as_it_is_deployed_until_training_is_asked_for() -> None:
    graph = normalization()
    before = graph.serialize()
    executor = Executor(graph)
    deployed = executor.run({"x": X})["y"]
    trained = executor.train()({"x": torch.from_numpy(X)})["y"].detach().numpy()
    assert not np.allclose(deployed, trained)
    moved = executor.run({"x": X})["y"]  # as deployed, although in training mode, with what moved
    assert not np.allclose(moved, trained)
    Executor(graph).write_back(graph)
    assert graph.serialize() == before


def dropping(ratio: float = 0.25) -> Graph:
    node = helper.make_node("Dropout", ["x", "ratio"], ["y"])
    proto = model(
        [node], {"ratio": np.array(ratio, np.float32)}, input_shape=["N", 1000], output_shape=["N", 1000]
    )
    return Graph(proto)


def test_dropout_drops_its_share_keeps_the_mean_and_repeats_itself() -> None:
    x = {"x": torch.ones(20, 1000)}
    one, two = Executor(dropping()), Executor(dropping())
    assert torch.equal(one(x)["y"], x["x"])
    first = one.train()(x)["y"]
    assert float((first == 0).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert float(first.mean()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(two.train()(x)["y"], first)
    two.seed(5)
    assert not torch.equal(two(x)["y"], first)
    state = one.resume_state()
    third = one(x)["y"]
    two.resume_from(state)
    assert torch.equal(two(x)["y"], third)


@pytest.mark.parametrize("make", [cnn, mlp])
def test_work_can_be_done_on_another_device(make: object) -> None:
    """The device `meta` has shapes and no numbers; it refuses what lies elsewhere, as a GPU does."""
    graph = make(np.random.default_rng(0))  # type: ignore[operator]
    executor = Executor(graph)
    seen: set[str] = set()

    def watch(call: object, names: object, values: object) -> None:
        seen.update(value.device.type for value in values if value is not None)  # type: ignore[attr-defined]

    inputs = {v.name: torch.zeros([2, *v.shape[1:]]) for v in graph.inputs}  # type: ignore[list-item]
    executor.compute_on(torch.device("meta"))
    with pytest.raises(NotImplementedError, match="meta"):  # numbers cannot come back from there
        executor(inputs, watch)
    assert "meta" in seen
    executor.compute_on(torch.device("cpu"))
    assert executor(inputs)["y"].shape == (2, *graph.outputs[0].shape[1:])


def test_half_width_is_close_and_only_where_gradients_are_wanted() -> None:
    graph = cnn(np.random.default_rng(0))
    x = normal(np.random.default_rng(1), 4, 1, 8, 8)
    executor = Executor(graph)
    exact = executor.run({"x": x})["y"]
    executor.compute_on(torch.device("cpu"), bfloat16=True)
    np.testing.assert_array_equal(executor.run({"x": x})["y"], exact)
    half = executor({"x": torch.from_numpy(x)})["y"]
    assert half.dtype == torch.float32
    difference = np.abs(half.detach().numpy() - exact).max()
    assert 0 < difference < 0.03 * np.abs(exact).max()
    half.sum().backward()
    assert all(
        weight.grad is not None and weight.grad.dtype == torch.float32 for weight in executor.weights.values()
    )


def test_a_constant_of_the_file_is_no_statistic_of_it() -> None:
    """Statistics that are computed, and stand nowhere in the file, stay as they are."""
    graph = normalization()
    proto = graph.proto
    mean = next(one for one in proto.graph.initializer if one.name == "mean")
    mean.name = "stored"
    proto.graph.node.insert(0, helper.make_node("Identity", ["stored"], ["mean"]))
    graph = Graph(proto)
    before = numpy_helper.to_array(mean).copy()
    executor = Executor(graph).train()
    deployed = executor.run({"x": X})["y"]
    np.testing.assert_allclose(
        executor({"x": torch.from_numpy(X)})["y"].detach().numpy(), deployed, rtol=1e-5, atol=1e-6
    )
    executor.write_back(graph)
    np.testing.assert_array_equal(graph.weights["stored"], before)

"""The executor is the model: the same answers, right gradients, weights that go back where they came from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.data.spec import data_folder
from edgepress_compression.errors import GraphError
from edgepress_compression.executor import Executor, missing_operators
from edgepress_compression.graph.learned import learned_weights
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.simplify import simplified

torch.set_num_threads(1)
DATA = data_folder(Path(__file__))
MODELS = [
    "FastestDet",
    "dscnn_fsdd",
    "efficientnet_lite0",
    "lenet5_caffe_mnist",
    "lenet_300_100_mnist",
    "minilm3_sst2",
    "mlperf_tiny_ad_autoencoder",
    "mlperf_tiny_kws_dscnn",
    "mlperf_tiny_resnet8_cifar10",
    "mlperf_tiny_vww_mobilenetv1_0.25_96",
    "resnet20_cifar10",
    "squeezenet1.0_deepcompressed",
    "squeezenet1.1",
    "vgg_small_cifar10",
]


def feed_for(graph: Graph, rng: np.random.Generator, batch: int = 2) -> dict[str, np.ndarray]:
    feed = {}
    for value in graph.inputs:
        shape = [
            batch if i == 0 and d == "N" else 17 if isinstance(d, str) else d
            for i, d in enumerate(value.shape)
        ]
        if value.dtype.kind == "f":
            feed[value.name] = rng.standard_normal(shape).astype(value.dtype)
        elif "mask" in value.name:
            feed[value.name] = (np.arange(shape[1]) < rng.integers(5, 17, (shape[0], 1))).astype(value.dtype)
        else:
            feed[value.name] = rng.integers(0, 1000, shape).astype(value.dtype)
    return feed


def onnxruntime_outputs(graph: Graph, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph.serialize(), options, providers=["CPUExecutionProvider"])
    outputs: list[np.ndarray] = session.run(None, feed)
    return outputs


def test_a_small_cnn_gives_what_onnxruntime_gives() -> None:
    graph = cnn(np.random.default_rng(0))
    feed = feed_for(graph, np.random.default_rng(1), batch=5)
    np.testing.assert_allclose(
        Executor(graph).run(feed)["y"], onnxruntime_outputs(graph, feed)[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.data
@pytest.mark.parametrize("name", MODELS)
def test_a_real_model_gives_what_onnxruntime_gives(name: str) -> None:
    path = DATA / "models" / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"there is no {path}; set EDGEPRESS_DATA to the data folder")
    graph = load_model(path)
    feed = feed_for(graph, np.random.default_rng(0))
    expected = onnxruntime_outputs(graph, feed)
    for one in (graph, simplified(graph)):  # as it is, and with its shape arithmetic folded
        for got, want in zip(Executor(one).run(feed).values(), expected, strict=True):
            assert np.abs(got - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.data
def test_every_model_of_the_data_folder_is_in_the_list() -> None:
    if not DATA.is_dir():
        pytest.skip(f"there is no {DATA}; set EDGEPRESS_DATA to the data folder")
    assert sorted(path.stem for path in (DATA / "models").glob("*.onnx")) == sorted(MODELS)


def test_gradients_agree_with_differences() -> None:
    graph = cnn(np.random.default_rng(0))
    executor = Executor(graph).double()
    executor._constants = {
        k: v.double() if v.is_floating_point() else v for k, v in executor._constants.items()
    }
    executor._inputs = {"x": torch.float64}
    x = {"x": torch.from_numpy(np.random.default_rng(1).standard_normal((3, 1, 8, 8)))}
    executor(x)["y"].square().sum().backward()
    for name, at in [
        ("conv.weight", (2, 0, 1, 1)),
        ("conv.bias", (3,)),
        ("scale", (1,)),
        ("fc.weight", (2, 50)),
    ]:
        weight = executor.weights[name]
        assert weight.grad is not None
        values = []
        for change in (1e-5, -1e-5):
            with torch.no_grad():
                weight[at] += change
                values.append(float(executor(x)["y"].square().sum()))
                weight[at] -= change
        assert float(weight.grad[at]) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4)


def test_write_back_changes_what_was_trained_and_nothing_else() -> None:
    graph = cnn(np.random.default_rng(0))
    before = graph.copy()
    executor = Executor(graph)
    executor.write_back(graph)
    assert graph.serialize() == before.serialize()
    with torch.no_grad():
        executor.weights["conv.weight"].add_(1.0)
    assert graph.serialize() == before.serialize()  # nothing happens before write_back
    executor.write_back(graph)
    np.testing.assert_array_equal(
        graph.weights["conv.weight"], before.weights["conv.weight"] + np.float32(1.0)
    )
    np.testing.assert_array_equal(graph.weights["fc.weight"], before.weights["fc.weight"])


def test_statistics_and_settings_are_no_weights() -> None:
    assert learned_weights(cnn(np.random.default_rng(0))) == {
        "conv.weight", "conv.bias", "scale", "shift", "fc.weight", "fc.bias"
    }  # fmt: skip


def test_half_precision_models_train_in_fp32_and_are_written_back_in_half() -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((3, 4)).astype(np.float16)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    infos = [
        helper.make_tensor_value_info("x", 10, ["N", 3]),
        helper.make_tensor_value_info("y", 10, ["N", 4]),
    ]
    proto = helper.make_model(
        helper.make_graph([node], "half", infos[:1], infos[1:], [numpy_helper.from_array(weight, "w")]),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    graph = load_model(proto.SerializeToString())
    executor = Executor(graph)
    assert executor.weights["w"].dtype == torch.float32
    with torch.no_grad():
        executor.weights["w"].mul_(2)
    executor.write_back(graph)
    np.testing.assert_array_equal(graph.weights["w"], weight * np.float16(2))


def test_an_operator_outside_the_table_is_named() -> None:
    node = helper.make_node("NonMaxSuppression", ["b", "s"], ["y"])
    rng = np.random.default_rng(0)
    weights = {"b": normal(rng, 1, 4, 4), "s": normal(rng, 1, 1, 4)}
    tail = helper.make_node("Cast", ["y"], ["z"], to=1)
    proto = model(
        [node, tail, helper.make_node("Add", ["x", "x"], ["u"])],
        weights,
        input_shape=["N", 2],
        output_shape=["N", 2],
    )
    proto.graph.output[0].name = "u"
    graph = load_model(proto.SerializeToString())
    assert missing_operators(graph) == ["NonMaxSuppression"]
    with pytest.raises(GraphError, match="NonMaxSuppression"):
        Executor(graph)


def test_a_missing_input_and_a_wrong_shape_are_said_in_words() -> None:
    executor = Executor(mlp(np.random.default_rng(0)))
    with pytest.raises(GraphError, match="input x is missing"):
        executor.run({"other": np.zeros((1, 16), np.float32)})
    with pytest.raises(GraphError, match="Gemm cannot run on shapes"):
        executor.run({"x": np.zeros((1, 15), np.float32)})


def test_what_depends_on_constants_only_is_computed_once() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Constant", [], ["two"], value_float=2.0),
        helper.make_node("Constant", [], ["three"], value_floats=[3.0]),
        helper.make_node("Mul", ["two", "three"], ["six"]),
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Mul", ["m", "six"], ["y"]),
    ]
    weight = normal(rng, 2, 2)
    graph = load_model(
        model(nodes, {"w": weight}, input_shape=["N", 2], output_shape=["N", 2]).SerializeToString()
    )
    executor = Executor(graph)
    assert [step.call.op_type for step in executor._steps] == ["MatMul", "Mul"]
    x = normal(rng, 3, 2)
    np.testing.assert_allclose(executor.run({"x": x})["y"], x @ weight * 6, rtol=1e-5)

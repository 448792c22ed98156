"""Static int8: the integers say what the floats said, and onnxruntime really computes in integers."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper
from tiny_models import model, normal

from edgepress_compression.data.dataset import Dataset, dataset_from_arrays
from edgepress_compression.data.fit import fit
from edgepress_compression.errors import CompressionCancelledError, RecipeError
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.int8 import int8
from edgepress_compression.passes.int8.calibrate import BINS, Observed, chosen_range
from edgepress_compression.passes.int8.integers import Integers, short_scale
from edgepress_compression.passes.int8.weights import quantize_weight
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState
from edgepress_devices.profile import DeviceProfile, load_profile

RNG = np.random.default_rng(5)
SAMPLES = RNG.standard_normal((60, 3, 16, 16)).astype(np.float32)


def network(*, relu6: bool = False) -> Graph:
    """Stem, pooling, a fire module (squeeze, two expands, concat), a residual add, average pooling,
    classifier."""
    rng = np.random.default_rng(3)
    clamp = ("Clip", ["low", "high"]) if relu6 else ("Relu", [])

    def conv(name: str, source: str, side: int) -> list[onnx.NodeProto]:
        pads = [side // 2] * 4
        return [
            helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [f"{name}.c"], pads=pads),
            helper.make_node(clamp[0], [f"{name}.c", *clamp[1]], [name]),
        ]

    nodes = [
        *conv("stem", "x", 3),
        helper.make_node("MaxPool", ["stem"], ["pool"], kernel_shape=[2, 2], strides=[2, 2]),
        *conv("wide", "pool", 3),
        *conv("squeeze", "wide", 1),
        *conv("one", "squeeze", 1),
        *conv("three", "squeeze", 3),
        helper.make_node("Concat", ["one", "three"], ["fire"], axis=1),
        helper.make_node("Add", ["fire", "wide"], ["sum"]),
        *conv("last", "sum", 3),
        helper.make_node("GlobalAveragePool", ["last"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc.w", "fc.b"], ["y"], transB=1),
    ]
    shapes = {
        "stem": (16, 3, 3, 3),
        "wide": (32, 16, 3, 3),
        "squeeze": (8, 32, 1, 1),
        "one": (16, 8, 1, 1),
        "three": (16, 8, 3, 3),
        "last": (32, 32, 3, 3),
        "fc": (10, 32),
    }
    weights = {
        f"{name}.w": normal(rng, *shape, scale=float(np.prod(shape[1:])) ** -0.5 * 1.5)
        for name, shape in shapes.items()
    }
    weights |= {f"{name}.b": normal(rng, shape[0], scale=0.3) for name, shape in shapes.items()}
    if relu6:
        weights |= {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    proto = model(nodes, weights, input_shape=["N", 3, 16, 16], output_shape=["N", 10])
    return load_model(proto.SerializeToString())


def data_for(graph: Graph) -> Dataset:
    arrays = {"x": SAMPLES, "labels": np.arange(60) % 10}
    return fit(dataset_from_arrays("noise", arrays), graph.inputs, graph.outputs)


def quantized(graph: Graph, profile: str = "x86-pc", *, dataset: bool = True, **options: object) -> PassState:
    state = PassState(
        graph=graph.copy(), profile=load_profile(profile), dataset=data_for(graph) if dataset else None
    )
    int8.run(state, msgspec.convert({"samples": 40, **options}, int8.Options))
    return state


def signal_to_noise_db(graph: Graph, changed: Graph) -> float:
    before, after = (run(open_session(one.serialize()), {"x": SAMPLES})[0] for one in (graph, changed))
    before = before - before.mean(axis=0)
    after = after - after.mean(axis=0)
    return float(10 * np.log10((before**2).sum() / ((after - before) ** 2).sum()))


@pytest.mark.parametrize("profile", ["x86-pc", "raspberry-pi-4", "jetson-orin-nano"])
@pytest.mark.parametrize("relu6", [False, True])
def test_the_integer_model_answers_as_the_float_model(profile: str, relu6: bool) -> None:
    graph = network(relu6=relu6)
    state = quantized(graph, profile)
    assert signal_to_noise_db(graph, state.graph) > 20
    assert state.graph.inputs == graph.inputs
    assert state.graph.outputs == graph.outputs


def fused_operators(graph: Graph, folder: Path) -> Counter[str]:
    """What onnxruntime makes of the model."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "fused.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(graph.serialize(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "fused.onnx").graph.node)


def test_onnxruntime_computes_every_planned_layer_in_integers(tmp_path: Path) -> None:
    found = fused_operators(quantized(network(), float_stem=False).graph, tmp_path)
    assert found["QLinearConv"] == 6
    assert found["QLinearAdd"] == 1
    assert found["QGemm"] == 1
    assert found["Conv"] == found["Relu"] == 0
    assert found["DequantizeLinear"] == 0  # the logits leave their kernel as floats


def test_the_stem_stays_in_floats_and_its_pooling_is_not_dragged_into_integers(tmp_path: Path) -> None:
    graph = network()
    found = fused_operators(quantized(graph).graph, tmp_path)
    assert found["QLinearConv"] == 5
    assert found["QuantizeLinear"] == 1
    fused = onnx.load(tmp_path / "fused.onnx")
    order = [node.op_type for node in fused.graph.node]
    assert order.index("MaxPool") < order.index("QuantizeLinear")


def test_weights_are_s8_with_a_scale_for_each_output_channel() -> None:
    graph = quantized(network(), "raspberry-pi-4").graph
    integers = {
        name: array for name, array in graph.weights.items() if array.dtype == np.int8 and array.ndim > 1
    }
    assert (
        sum(array.size for array in integers.values())
        > 0.9 * sum(array.size for array in network().float_weights().values() if array.ndim > 1) - 16 * 27
    )
    for node in graph.proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in integers:
            assert graph.weights[node.input[1]].shape == (integers[node.input[0]].shape[0],)
            assert not graph.weights[node.input[2]].any()


def zero_points(graph: Graph) -> set[tuple[str, int]]:
    return {
        (graph.weights[node.input[2]].dtype.name, int(graph.weights[node.input[2]]))
        for node in graph.proto.graph.node
        if node.op_type == "QuantizeLinear"
    }


def test_the_profile_says_what_activations_are() -> None:
    assert {kind for kind, _ in zero_points(quantized(network(), "x86-pc").graph)} == {"uint8"}
    assert ("int8", -128) in zero_points(quantized(network(), "raspberry-pi-4").graph)
    assert zero_points(quantized(network(), "jetson-orin-nano").graph) == {("int8", 0)}  # as TensorRT wants


def test_a_profile_where_integers_are_slow_is_told() -> None:
    state = quantized(network(), "iphone-browser")
    assert any("slower than fp32" in warning for warning in state.warnings)


def without_vnni() -> DeviceProfile:
    profile = load_profile("x86-pc")
    return msgspec.structs.replace(profile, cpu=msgspec.structs.replace(profile.cpu, isa="x86-64, AVX2, FMA"))


def test_weights_have_7_bits_where_products_are_added_in_16() -> None:
    graph = network()
    state = PassState(graph=graph.copy(), profile=without_vnni(), dataset=data_for(graph))
    int8.run(state, int8.Options(samples=8))
    largest = max(
        int(np.abs(array.astype(int)).max())
        for array in state.graph.weights.values()
        if array.dtype == np.int8
    )
    assert largest == 63


def test_the_same_seed_gives_the_same_bytes() -> None:
    assert quantized(network()).graph.serialize() == quantized(network()).graph.serialize()


def test_calibration_never_sees_the_test_split() -> None:
    graph = network()
    data = data_for(graph)

    def refuse() -> None:
        raise AssertionError("the test split was opened")

    watched = replace(data, openers={**data.openers, "test": refuse})  # type: ignore[dict-item]
    state = PassState(graph=graph.copy(), profile=load_profile("x86-pc"), dataset=watched)
    int8.run(state, int8.Options(samples=8))


def test_without_data_it_calibrates_on_generated_inputs_and_says_so() -> None:
    graph = network()
    state = quantized(graph, dataset=False)
    assert any("generated inputs" in warning for warning in state.warnings)
    assert signal_to_noise_db(graph, state.graph) > 15


def test_bias_correction_takes_the_mean_error_of_rounding_weights_out() -> None:
    graph = network()
    inputs = {"x": SAMPLES + 1}

    def mean_error(corrected: bool) -> float:
        state = quantized(graph, bias_correction=corrected)
        before, after = (run(open_session(one.serialize()), inputs)[0] for one in (graph, state.graph))
        return float(np.abs((after - before).mean(axis=0)).mean())

    assert mean_error(True) < mean_error(False)


def test_a_model_without_constant_weights_is_refused() -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {}, input_shape=["N", 4], output_shape=["N", 4])
    state = PassState(graph=load_model(proto.SerializeToString()), profile=load_profile("x86-pc"))
    with pytest.raises(RecipeError, match="use another recipe"):
        int8.run(state, int8.Options())


def test_it_stops_soon_after_it_is_cancelled() -> None:
    graph = network()
    asked: list[bool] = []

    def cancelled() -> bool:
        asked.append(True)
        return len(asked) > 2

    state = PassState(
        graph=graph.copy(), profile=load_profile("x86-pc"), dataset=data_for(graph), cancelled=cancelled
    )
    with pytest.raises(CompressionCancelledError):
        int8.run(state, int8.Options())
    assert len(asked) == 3


def test_simplifying_changes_no_answer() -> None:
    graph = network()
    changed = simplified(graph)
    before, after = (run(open_session(one.serialize()), {"x": SAMPLES})[0] for one in (graph, changed))
    np.testing.assert_allclose(before, after, atol=1e-5)


def test_scales_of_weights_beat_the_plain_maximum() -> None:
    weight = RNG.standard_normal((8, 40)).astype(np.float32) ** 3  # heavy tails
    integers, scales = quantize_weight(weight, 0, 8)
    error = ((integers * scales[:, None] - weight) ** 2).sum(axis=1)
    plain = np.abs(weight).max(axis=1) / 127
    plain_error = ((np.rint(weight / plain[:, None]) * plain[:, None] - weight) ** 2).sum(axis=1)
    assert error.sum() <= plain_error.sum()
    assert np.abs(integers.astype(int)).max() <= 127


def test_a_short_scale_is_near_and_its_low_bytes_are_zero() -> None:
    scales = np.exp(RNG.uniform(-10, 10, 1000)).astype(np.float32)
    short = short_scale(scales)
    assert not (short.view(np.uint32) & 0xFFFF).any()
    assert np.abs(short / scales - 1).max() <= 2**-8


RANGES = [
    ("never negative", 0.0, 10.0, 0),
    ("both signs", -5.0, 10.0, 85),
    ("never positive", -10.0, 0.0, 255),
]


@pytest.mark.parametrize(("low", "high", "zero"), [row[1:] for row in RANGES], ids=[row[0] for row in RANGES])
def test_zero_is_an_exact_integer(low: float, high: float, zero: int) -> None:
    form = Integers.covering(low, high, np.dtype(np.uint8), symmetric=False)
    assert abs(form.zero_point - zero) <= 1
    assert form.lowest <= 0 <= form.highest
    assert form.lowest == pytest.approx(low, abs=2 * float(form.scale))
    assert form.highest == pytest.approx(high, abs=2 * float(form.scale))


def observed(values: np.ndarray) -> Observed:
    low, high = float(values.min()), float(values.max())
    return Observed(low, high, np.histogram(values, BINS, (low, high))[0], None)


def test_ranges_leave_outliers_out_unless_all_is_asked_for() -> None:
    values = np.concatenate([np.abs(RNG.standard_normal(100_000)), [1000.0]])
    assert chosen_range(observed(values), "minmax", percentile=99.9) == (0.0, 1000.0)
    assert chosen_range(observed(values), "percentile", percentile=99.9)[1] < 10
    spread = RNG.laplace(size=100_000)
    low, high = chosen_range(observed(spread), "mse", percentile=99.9)
    assert spread.min() < low < 0 < high < spread.max()


def test_a_tensor_that_is_always_zero_has_a_range() -> None:
    form = Integers.covering(
        *chosen_range(observed(np.zeros(10)), "mse", percentile=99.9), np.dtype(np.uint8), False
    )
    assert form.scale > 0

"""int8's options against their papers: equalization, KL calibration, whole numbers chosen before."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from onnx import helper
from test_int8 import data_for, network, observed, signal_to_noise_db
from tiny_models import mlp, model, normal

from edgepress_compression.artifact.codes import ScaledIntegers, SharedWeights
from edgepress_compression.errors import RecipeError
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.int8 import int8
from edgepress_compression.passes.int8.calibrate import chosen_range
from edgepress_compression.passes.int8.entropy_range import cut_divergence
from edgepress_compression.passes.int8.equalize import equalize
from edgepress_compression.passes.rate_distortion import quantize
from edgepress_compression.passes.state import PassState
from edgepress_devices.profile import load_profile

RNG = np.random.default_rng(61)


def chain(between: str = "Relu", *, depthwise: bool = False) -> Graph:
    """conv - clamp - conv (- clamp - depthwise), channels of very different ranges."""
    rng = np.random.default_rng(6)
    loud = np.exp(rng.uniform(-3, 3, 12)).astype(np.float32)
    clamp = ["low", "high"] if between == "Clip" else []
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node(between, ["c1", *clamp], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2" if depthwise else "y"]),
    ]
    weights = {
        "w1": normal(rng, 12, 3, 3, 3) * loud[:, None, None, None],
        "b1": normal(rng, 12) * loud,
        "w2": normal(rng, 8, 12, 1, 1, scale=0.2),
        "b2": normal(rng, 8),
    }
    if depthwise:
        nodes += [
            helper.make_node("Relu", ["c2"], ["r2"]),
            helper.make_node("Conv", ["r2", "w3"], ["y"], group=8, pads=[1, 1, 1, 1]),
        ]
        weights["w3"] = normal(rng, 8, 1, 3, 3)
    if clamp:
        weights |= {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    proto = model(nodes, weights, input_shape=["N", 3, 10, 10], output_shape=["N", 8, 10, 10])
    return load_model(proto.SerializeToString())


X = RNG.standard_normal((6, 3, 10, 10)).astype(np.float32)


def answers(graph: Graph, x: np.ndarray = X) -> np.ndarray:
    return run(open_session(graph.serialize()), {"x": x})[0]


@pytest.mark.parametrize("depthwise", [False, True])
def test_equalizing_changes_no_answer_and_makes_ranges_alike(depthwise: bool) -> None:
    """Nagel et al. 2019, equations 9 to 11: r1_i = r2_i for each channel."""
    graph = chain(depthwise=depthwise)
    before = answers(graph)
    assert equalize(graph) == (2 if depthwise else 1)
    np.testing.assert_allclose(answers(graph), before, atol=1e-3 * np.abs(before).max())
    makes = np.abs(graph.weights["w1"]).reshape(12, -1).max(axis=1)
    reads = np.abs(graph.weights["w2"][:, :, 0, 0]).max(axis=0)
    np.testing.assert_allclose(makes, reads, rtol=1e-2)


def test_equalizing_dense_layers_changes_no_answer() -> None:
    graph = mlp(np.random.default_rng(3))
    x = RNG.standard_normal((5, 16)).astype(np.float32)
    before = answers(graph, x)
    weight = graph.weights["w1"].copy()
    assert equalize(graph) == 1
    assert not np.array_equal(graph.weights["w1"], weight)
    np.testing.assert_allclose(answers(graph, x), before, atol=1e-4)


def test_a_clamp_at_six_does_not_scale() -> None:
    assert equalize(chain("Clip")) == 0


def test_weights_that_an_earlier_pass_coded_are_not_scaled() -> None:
    graph = chain()
    before = graph.weights["w1"]
    assert equalize(graph, frozenset({"w1"})) == 0
    assert graph.weights["w1"] is before


def test_a_channel_that_is_empty_is_left_alone() -> None:
    graph = chain()
    weight = graph.weights["w1"].copy()
    weight[3] = 0
    graph.set_weight("w1", weight)
    before = answers(graph)
    equalize(graph)
    np.testing.assert_allclose(answers(graph), before, atol=1e-3 * np.abs(before).max())
    assert np.isfinite(graph.weights["w2"]).all()


def test_ranges_by_divergence_leave_outliers_out_and_keep_even_values_whole() -> None:
    tailed = np.concatenate([np.abs(RNG.standard_normal(200_000)), [60.0]])
    low, high = chosen_range(observed(tailed), "entropy", percentile=99.9)
    assert low == 0
    assert 2.5 < high < 30
    even = RNG.uniform(-1, 1, 200_000)
    low, high = chosen_range(observed(even), "entropy", percentile=99.9)
    assert high == pytest.approx(1, abs=0.02)
    assert low == pytest.approx(-1, abs=0.02)


def test_the_divergence_is_that_of_the_definition() -> None:
    """Eight bins in two levels by hand: Migacz 2017, slides 38 to 41."""
    counts = np.array([1, 3, 0, 4, 2, 2, 5, 1, 6])
    found = cut_divergence(counts, 0, 8, 2)
    p = np.array([1, 3, 0, 4, 2, 2, 5, 1 + 6], float)
    q = np.array([8 / 3, 8 / 3, 0, 8 / 3, 2.5, 2.5, 2.5, 2.5])
    p, q = p / p.sum(), q / q.sum()
    seen = p > 0
    assert found == pytest.approx(float((p[seen] * np.log(p[seen] / q[seen])).sum()))


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_every_calibration_gives_a_model_that_answers(method: str) -> None:
    graph = network()
    state = PassState(graph=graph.copy(), profile=load_profile("x86-pc"), dataset=data_for(graph))
    int8.run(state, msgspec.convert({"samples": 40, "calibration": method}, int8.Options))
    assert signal_to_noise_db(graph, state.graph) > 15


def whole_numbers(state: PassState, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(s8 array, scales) that the shipped graph has for a weight of the original."""
    graph = state.graph
    for node in graph.proto.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0].startswith(f"{name}."):
            return graph.weights[node.input[0]], graph.weights[node.input[1]]
    raise AssertionError(f"{name} is not in integers")


def coded_state(integers: np.ndarray, scales: np.ndarray, name: str = "wide.w") -> PassState:
    graph = network()
    state = PassState(graph=graph, profile=load_profile("x86-pc"), dataset=data_for(graph))
    code = ScaledIntegers(integers.astype(np.int32), scales.astype(np.float32))
    graph.set_weight(name, code.weights())
    state.codes[name] = code
    return state


@pytest.mark.parametrize("count", [1, 32])
def test_whole_numbers_that_fit_are_the_weights_as_they_are(count: int) -> None:
    """Steps far coarser than int8's own: another rounding would not find them again."""
    integers = RNG.integers(-9, 10, network().weights["wide.w"].shape)
    scales = RNG.uniform(0.01, 0.02, count)
    state = coded_state(integers, scales)
    int8.run(state, int8.Options(samples=8))
    found, theirs = whole_numbers(state, "wide.w")
    np.testing.assert_array_equal(found, integers)
    np.testing.assert_array_equal(theirs, np.broadcast_to(scales.astype(np.float32), 32))
    assert "% of their weights as an earlier pass chose them" in (state.stages[-1].note or "")
    assert state.codes == {}


def test_channels_whose_whole_numbers_do_not_fit_are_rounded_anew() -> None:
    integers = RNG.integers(-9, 10, network().weights["wide.w"].shape)
    integers[5, 0, 0, 0] = 400
    state = coded_state(integers, np.full(1, 0.01))
    weight = state.graph.weights["wide.w"]
    int8.run(state, int8.Options(samples=8))
    found, scales = whole_numbers(state, "wide.w")
    others = np.arange(32) != 5
    np.testing.assert_array_equal(found[others], integers[others])
    values = found[5].astype(np.float32) * scales[5]
    assert np.abs(values - weight[5]).max() <= scales[5]


def test_codes_of_another_kind_are_rounded_as_always() -> None:
    graph = network()
    state = PassState(graph=graph, profile=load_profile("x86-pc"), dataset=data_for(graph))
    shape = graph.weights["wide.w"].shape
    code = SharedWeights(RNG.integers(0, 3, shape).astype(np.int32), np.array([-0.1, 0, 0.13], np.float32))
    graph.set_weight("wide.w", code.weights())
    state.codes["wide.w"] = code
    int8.run(state, int8.Options(samples=8))
    found, scales = whole_numbers(state, "wide.w")
    np.testing.assert_allclose(
        found * scales[:, None, None, None], code.weights(), atol=float(scales.max()) * 0.51
    )


def test_quantize_then_int8_is_smaller_than_int8_and_answers_as_well_as_quantize() -> None:
    graph = network()
    plain = PassState(graph=graph.copy(), profile=load_profile("x86-pc"), dataset=data_for(graph))
    int8.run(plain, int8.Options(samples=30))
    both = PassState(graph=graph.copy(), profile=load_profile("x86-pc"), dataset=data_for(graph))
    quantize.run(both, quantize.Options(bits=4.0, trellis=False, samples=30))
    alone = both.graph.copy()
    int8.run(both, int8.Options(samples=30))
    assert both.artifact_bytes(both) < 0.75 * plain.artifact_bytes(plain)
    assert signal_to_noise_db(graph, both.graph) > signal_to_noise_db(graph, alone) - 1.5


def test_layers_can_be_left_in_floats_by_name() -> None:
    graph = network()
    state = PassState(graph=graph.copy(), profile=load_profile("x86-pc"), dataset=data_for(graph))
    int8.run(state, int8.Options(samples=8, float_layers=("last.w",)))
    assert state.graph.weights["last.w"].dtype == np.float32
    state = PassState(graph=graph.copy(), profile=load_profile("x86-pc"), dataset=data_for(graph))
    with pytest.raises(RecipeError, match="no layer's weight"):
        int8.run(state, int8.Options(samples=8, float_layers=("nobody",)))


def test_the_layer_that_integers_harm_most_stays_in_floats() -> None:
    """One input channel a thousand times the others leaves these nothing of an integer's 256 steps."""
    graph = network()
    makes = graph.weights["three.w"].copy()
    makes[0] *= 300
    reads = graph.weights["last.w"].copy()
    reads[:, 16] /= 300
    graph.set_weight("three.w", makes)
    graph.set_weight("last.w", reads)
    states = [
        PassState(graph=graph.copy(), profile=load_profile("x86-pc"), dataset=data_for(graph)) for _ in "ab"
    ]
    for state, count in zip(states, (0, 2), strict=True):
        int8.run(state, int8.Options(samples=30, calibration="minmax", keep_float=count))
    plain, kept = (signal_to_noise_db(graph, state.graph) for state in states)
    assert kept > plain + 3
    detail = states[1].stages[-1].detail
    assert detail is not None
    losses = {row["tensor"]: row["loss"] for row in detail["sensitivity"]}
    left = [name for name in losses if name in states[1].graph.float_weights()]
    assert sorted(left) == sorted(sorted(losses, key=lambda name: -losses[name])[:2])

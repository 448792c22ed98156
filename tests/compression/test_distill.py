"""Distillation a layer at a time: nearer to the original for the same steps, within the bytes, no labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import helper
from tiny_models import cnn, model, normal

from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.data.dataset import Dataset, Split
from edgepress_compression.errors import CompressionCancelledError, RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.layer_distillation import distill
from edgepress_compression.passes.layer_distillation.layer_correction import corrected
from edgepress_compression.passes.layer_distillation.paired_inputs import PairedMoments, paired_inputs
from edgepress_compression.passes.rate_distortion import quantize
from edgepress_compression.passes.state import PassState
from edgepress_compression.recipe import load_recipe, within
from edgepress_devices.profile import load_profile

SAMPLES = 160
WIDTH = 48
LAYERS = 5


class _NoLabels:
    """Labels that must not be looked at, but have a length."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, rows: object) -> None:
        raise AssertionError("labels were looked at")


def _deep(seed: int = 0) -> Graph:
    """Dense layers after each other, so that errors add up."""
    rng = np.random.default_rng(seed)
    nodes, weights, value = [], {}, "x"
    for i in range(LAYERS):
        outputs = 8 if i == LAYERS - 1 else WIDTH
        weights[f"w{i}"] = normal(rng, outputs, WIDTH, scale=(2 / WIDTH) ** 0.5)
        weights[f"b{i}"] = normal(rng, outputs, scale=0.1)
        made = "y" if i == LAYERS - 1 else f"h{i}"
        nodes.append(helper.make_node("Gemm", [value, f"w{i}", f"b{i}"], [made], transB=1))
        if made != "y":
            nodes.append(helper.make_node("Relu", [made], [f"r{i}"]))
        value = f"r{i}"
    proto = model(nodes, weights, input_shape=["N", WIDTH], output_shape=["N", 8])
    return load_model(proto.SerializeToString())


def _inputs(seed: int, count: int = SAMPLES) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).standard_normal((10, WIDTH))
    noise = 0.3 * rng.standard_normal((count, WIDTH))
    return (rng.standard_normal((count, 10)) @ mixing / 3 + noise).astype(np.float32)


def _dataset(x: np.ndarray) -> Dataset:
    def split(name: str) -> Split:
        labels = _NoLabels() if name == "train" else np.zeros(len(x), np.int64)
        return Split(name, labels, lambda rows: {"x": x[rows]})  # type: ignore[arg-type]

    return Dataset("made", {name: lambda name=name: split(name) for name in ("train", "test")})  # type: ignore[misc]


def _state(graph: Graph, dataset: Dataset | None) -> PassState:
    return PassState(graph=graph, profile=load_profile("x86-pc"), dataset=dataset)


def _distilled(graph: Graph, **options: object) -> PassState:
    state = _state(graph, _dataset(_inputs(1)))
    distill.run(state, distill.Options(**{"bits": 2.0, "trellis": False, **options}))  # type: ignore[arg-type]
    return state


def _quantized(graph: Graph, bits: float) -> PassState:
    """Without distillation."""
    state = _state(graph.copy(), _dataset(_inputs(1)))
    quantize.run(
        state, quantize.Options(bits=bits, trellis=False, per_channel=False, samples=200, thrift=0.0)
    )
    return state


def _distance(graph: Graph, original: Graph) -> float:
    """Mean squared distance of the answers on samples that no pass has seen."""
    x = _inputs(2, 400)
    got, wanted = (Executor(g).run({"x": x})["y"] for g in (graph, original))
    return float(np.square(got - wanted).mean())


def test_later_layers_mend_what_rounding_earlier_ones_broke() -> None:
    ratios = []
    for seed in range(3):
        original = _deep(seed)
        plain = _quantized(original, 2.0)
        ratios.append(_distance(_distilled(original).graph, original) / _distance(plain.graph, original))
    assert np.mean(ratios) < 0.7, ratios


def test_the_codes_give_the_weights_and_keep_their_steps() -> None:
    original = _deep()
    state = _distilled(original)
    assert set(state.codes) == {f"w{i}" for i in range(LAYERS)}
    for name, code in state.codes.items():
        assert isinstance(code, ScaledIntegers)
        np.testing.assert_array_equal(code.weights(), state.graph.weights[name])


def test_the_same_arguments_give_the_same_model() -> None:
    first, second = _distilled(_deep()), _distilled(_deep())
    assert first.graph.serialize() == second.graph.serialize()


@pytest.mark.parametrize("trellis", [False, True])
def test_the_artifact_keeps_within_its_bytes(trellis: bool) -> None:
    state = _distilled(_deep(), target_bytes=4200, trellis=trellis)
    size = state.artifact_bytes(state)
    assert 3900 <= size <= 4200


def test_a_target_that_cannot_be_reached_says_what_can() -> None:
    with pytest.raises(RecipeError, match="cannot be reached"):
        _distilled(_deep(), target_bytes=300)


def test_it_stops_when_asked() -> None:
    state = _state(_deep(), _dataset(_inputs(1)))
    messages: list[str] = []
    state.progress = lambda fraction, message: messages.append(message)
    state.cancelled = lambda: any("fitting layers" in message for message in messages)
    with pytest.raises(CompressionCancelledError):
        distill.run(state, distill.Options(bits=2.0))
    assert sum("fitting layers" in message for message in messages) == 1


def test_layers_may_be_looked_at_several_at_once() -> None:
    original = _deep()
    messages: list[str] = []
    state = _state(original.copy(), _dataset(_inputs(1)))
    state.progress = lambda fraction, message: messages.append(message)
    distill.run(state, distill.Options(bits=3.0, trellis=False, rounds=2))
    assert sum("fitting layers" in message for message in messages) == 2
    assert _distance(state.graph, original) < 1.2 * _distance(_quantized(original, 3.0).graph, original)


def test_convolutions_normalization_and_no_data_set() -> None:
    graph = cnn(np.random.default_rng(3))
    state = _state(graph.copy(), None)
    distill.run(state, distill.Options(bits=4.0))
    assert any("generated inputs" in warning for warning in state.warnings)
    x = normal(np.random.default_rng(4), 20, 1, 8, 8)
    got, wanted = (Executor(g).run({"x": x})["y"] for g in (state.graph, graph))
    assert np.square(got - wanted).mean() < 0.05 * wanted.var()


def test_grouped_convolutions_and_products_from_the_right() -> None:
    rng = np.random.default_rng(6)
    nodes = [
        helper.make_node("Conv", ["x", "depthwise"], ["d"], pads=[1, 1, 1, 1], group=12),
        helper.make_node("Relu", ["d"], ["r"]),
        helper.make_node("Conv", ["r", "grouped", "shift"], ["g"], group=3),
        helper.make_node("GlobalAveragePool", ["g"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "product"], ["y"]),
    ]
    weights = {
        "depthwise": normal(rng, 12, 1, 3, 3, scale=0.5),
        "grouped": normal(rng, 24, 4, 1, 1, scale=0.5),
        "shift": normal(rng, 24),
        "product": normal(rng, 24, 8, scale=0.3),
    }
    proto = model(nodes, weights, input_shape=["N", 12, 10, 10], output_shape=["N", 8])
    graph = load_model(proto.SerializeToString())
    state = _state(graph.copy(), None)
    distill.run(state, distill.Options(bits=5.0))
    assert set(state.codes) == {"depthwise", "grouped", "product"}
    x = normal(rng, 20, 12, 10, 10)
    got, wanted = (Executor(g).run({"x": x})["y"] for g in (state.graph, graph))
    assert np.square(got - wanted).mean() < 0.05 * wanted.var()


def test_the_recipe_takes_a_target() -> None:
    recipe = within(load_recipe("layer-distillation"), 5000)
    assert recipe.passes[-1].options["target_bytes"] == 5000


def _paired(x: np.ndarray, t: np.ndarray) -> PairedMoments:

    own, original = torch.from_numpy(x.T[None].copy()), torch.from_numpy(t.T[None].copy())
    return PairedMoments(
        own @ own.transpose(1, 2),
        original @ own.transpose(1, 2),
        own.sum(2),
        original.sum(2),
        len(x),
        True,
        "b",
    )


@pytest.mark.parametrize("has_bias", [False, True])
def test_inputs_that_are_wrong_in_a_linear_way_are_made_up_for(has_bias: bool) -> None:
    rng = np.random.default_rng(5)
    t = rng.standard_normal((500, 12)) + 1.0
    x = t * rng.uniform(0.8, 1.2, 12) + (0.3 if has_bias else 0.0)
    weight = rng.standard_normal((6, 12)).astype(np.float32)
    weight[0, 3] = 0.0
    found = corrected(weight, _paired(x, t), has_bias=has_bias)
    shift = found.bias_gain if found.bias_gain is not None else 0.0
    wanted = t @ weight.T
    before = np.square(x @ weight.T - wanted).mean()
    assert np.square(x @ found.weight.T + shift - wanted).mean() < 0.1 * before
    assert found.weight[0, 3] == 0.0
    if has_bias:  # mean outputs are right, whatever the damping
        np.testing.assert_allclose((x @ found.weight.T + shift).mean(0), wanted.mean(0), atol=1e-4)


def test_both_models_are_looked_at_in_the_same_places() -> None:
    graph = cnn(np.random.default_rng(3))
    x = normal(np.random.default_rng(4), 30, 1, 8, 8)
    seen = paired_inputs(
        Executor(graph), Executor(graph), lambda rows: {"x": x[rows]}, np.arange(30),
        ["conv.weight", "fc.weight"], batch_size=7, seed=0,
    )  # fmt: skip
    assert set(seen) == {"conv.weight", "fc.weight"}
    for one in seen.values():
        np.testing.assert_array_equal(one.own, one.cross)
        found = corrected(
            graph.weights["fc.weight"] if one.own.shape[1] == 96 else graph.weights["conv.weight"],
            one,
            has_bias=True,
        )
        assert found.bias_gain is not None
        np.testing.assert_allclose(found.bias_gain, 0.0, atol=1e-4)

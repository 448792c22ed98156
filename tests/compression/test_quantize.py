"""Choosing integers: what a price buys, that budgets are kept, and that nobody asks for labels."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from tiny_models import cnn, mlp

from edgepress_compression.artifact.codes import ScaledIntegers, SharedWeights
from edgepress_compression.artifact.read import decode
from edgepress_compression.artifact.write import write_artifact
from edgepress_compression.codec.trellis import tangle
from edgepress_compression.data.dataset import Dataset, Split
from edgepress_compression.errors import CompressionCancelledError, RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.expect import make_probe
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.curvature import Curvature, measure_curvature, plain_curvature
from edgepress_compression.passes.rate_distortion import quantize
from edgepress_compression.passes.rate_distortion.choose_integers import choose_integers
from edgepress_compression.passes.rate_distortion.codebook_rounding import choose_codebooks
from edgepress_compression.passes.rate_distortion.rate_model import fit_rate
from edgepress_compression.passes.rate_distortion.size_budget import SLACK, BudgetSearch
from edgepress_compression.passes.state import PassState
from edgepress_compression.recipe import BUDGETED, PASSES, Recipe, Step, list_recipes, within
from edgepress_compression.training.losses import loss_for
from edgepress_devices.profile import load_profile

SAMPLES = 64


class _NoLabels:
    """Labels that must not be looked at, but have a length."""

    def __len__(self) -> int:
        return SAMPLES

    def __getitem__(self, rows: object) -> None:
        raise AssertionError("labels were looked at")


def _dense(seed: int = 0) -> Graph:
    return mlp(np.random.default_rng(seed), inputs=96, hidden=64, classes=8)


def _inputs(seed: int = 1, width: int = 96) -> np.ndarray:
    """Correlated, as the inputs of real layers are."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((12, width))
    return (rng.standard_normal((SAMPLES, 12)) @ mixing + 0.3 * rng.standard_normal((SAMPLES, width))).astype(
        np.float32
    )


def _dataset(x: np.ndarray, names: tuple[str, ...] = ("train", "test")) -> Dataset:
    def split(name: str) -> Split:
        labels = _NoLabels() if name == "train" else np.zeros(len(x), np.int64)
        return Split(name, labels, lambda rows: {"x": x[rows]})  # type: ignore[arg-type]

    return Dataset("made", {name: lambda name=name: split(name) for name in names})  # type: ignore[misc]


def _state(graph: Graph, dataset: Dataset | None = None) -> PassState:
    return PassState(graph=graph, profile=load_profile("x86-pc"), dataset=dataset)


def _curved(graph: Graph, x: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Curvature]]:
    names = ["w1", "w2"]
    curvature = measure_curvature(
        Executor(graph),
        lambda rows: {"x": x[rows]},
        np.arange(len(x)),
        names,
        loss_for(graph, "classification", label_share=0.0),
        seed=0,
    )
    return {name: graph.weights[name] for name in names}, curvature


def _divergence(graph: Graph, weights: dict[str, np.ndarray], x: np.ndarray) -> float:
    """Mean Kullback-Leibler divergence of the answers, in nats."""
    changed = graph.copy()
    for name, array in weights.items():
        changed.set_weight(name, array)
    before, after = (Executor(g).run({"x": x})["y"].astype(np.float64) for g in (graph, changed))
    p, q = (z - np.log(np.exp(z).sum(axis=1, keepdims=True)) for z in (before, after))
    return float((np.exp(p) * (p - q)).sum(axis=1).mean())


def test_a_higher_price_takes_fewer_bits_and_does_more_harm() -> None:
    graph, x = _dense(), _inputs()
    weights, curvature = _curved(graph, x)
    bits, harm = [], []
    for price in (1e-6, 1e-5, 1e-4, 1e-3):
        chosen = choose_integers(weights, curvature, price)
        bits.append(sum(one.bits for one in chosen.values()))
        harm.append(_divergence(graph, {name: one.values() for name, one in chosen.items()}, x))
    assert bits == sorted(bits, reverse=True)
    assert harm == sorted(harm)


def test_feedback_harms_less_than_rounding_each_weight_by_itself() -> None:
    graph, x = _dense(), _inputs()
    weights, curvature = _curved(graph, x)
    chosen = choose_integers(weights, curvature, 1e-5, thrift=0.0)
    ours = {name: one.values() for name, one in chosen.items()}
    nearest = {
        name: (np.rint(array / chosen[name].scales[0]) * chosen[name].scales[0]).astype(np.float32)
        for name, array in weights.items()
    }
    assert _divergence(graph, ours, x) < 0.5 * _divergence(graph, nearest, x)


def test_the_trellis_takes_fewer_bits_at_the_same_harm() -> None:
    """On layers with inputs that say nothing of each other, where theory has it: about 0.1 bit a weight."""
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((64, 512)).astype(np.float32)
    curvature = plain_curvature({"w": weight})
    plain, tangled = [], []
    for price in np.geomspace(1e-3, 4e-2, 7):
        for found, trellis in ((plain, False), (tangled, True)):
            one = choose_integers({"w": weight}, curvature, float(price), trellis=trellis, thrift=0.0)["w"]
            error = float(np.square(one.values() - weight, dtype=np.float64).mean())
            symbols = tangle(one.integers, one.axis) if trellis else one.integers
            counts = np.unique(symbols, return_counts=True)[1] / weight.size
            found.append((math.log(error), -float((counts * np.log2(counts)).sum())))
    errors, bits = zip(*sorted(tangled), strict=True)
    saved = [b - float(np.interp(e, errors, bits)) for e, b in plain[1:-1]]
    assert min(saved) > 0.05


def test_integers_of_a_trellis_follow_it_and_scales_give_the_weights_exactly() -> None:
    weights, curvature = _curved(_dense(), _inputs())
    for name, one in choose_integers(weights, curvature, 1e-5, trellis=True).items():
        assert one.trellis
        tangle(one.integers, one.axis)  # raises for integers that do not
        assert np.array_equal(one.values(), one.integers.astype(np.float32) * one.scales[0])
        assert np.abs(one.values() - weights[name]).max() < 1.0


def test_given_scales_are_kept() -> None:
    weights, curvature = _curved(_dense(), _inputs())
    first = choose_integers(weights, curvature, 1e-5)
    scales = {name: one.scales for name, one in first.items()}
    again = choose_integers(weights, curvature, 1e-2, scales=scales, thrift=0.0)
    assert all(np.array_equal(again[name].scales, scales[name]) for name in weights)


def test_outputs_that_matter_differently_get_scales_of_their_own() -> None:
    rng = np.random.default_rng(0)
    weights, curvature = _curved(_dense(), _inputs())
    loud = curvature["w1"].outputs * 10.0 ** rng.uniform(-2, 2, 64)
    uneven = {**curvature, "w1": Curvature(curvature["w1"].moments, loud)}
    one = choose_integers(weights, uneven, 1e-5, per_channel=True)["w1"]
    assert one.scales.shape == (64,)
    assert np.corrcoef(np.log(one.scales), np.log(loud))[0, 1] < -0.9
    assert choose_integers(weights, curvature, 1e-5, per_channel=True)["w2"].scales.shape == (1,)


def test_thrift_takes_smaller_integers() -> None:
    weights, curvature = _curved(_dense(), _inputs())
    free, thrifty = (choose_integers(weights, curvature, 1e-4, thrift=thrift)["w1"] for thrift in (0.0, 1.0))
    assert thrifty.bits < free.bits
    assert np.abs(thrifty.integers).sum() < np.abs(free.integers).sum()


def test_codebooks_hold_only_values_that_are_used_and_keep_zero() -> None:
    weights, curvature = _curved(_dense(), _inputs())
    for name, one in choose_codebooks(weights, curvature, 1e-7).items():
        shared = one.code()
        assert np.array_equal(np.unique(shared.indices), np.arange(len(shared.codebook)))
        assert np.array_equal(shared.codebook, np.unique(shared.codebook))
        assert (shared.codebook == 0).any()
        assert np.abs(shared.weights() - weights[name]).mean() < 0.2 * np.abs(weights[name]).mean()


@pytest.mark.parametrize("grid", ["uniform", "trellis", "codebook"])
def test_pruned_weights_stay_pruned(grid: str) -> None:
    graph = _dense()
    kept = np.random.default_rng(7).random((64, 96)) < 0.3
    graph.set_weight("w1", np.where(kept, graph.weights["w1"], np.float32(0)))
    weights, curvature = _curved(graph, _inputs())
    found = (
        choose_codebooks(weights, curvature, 1e-6)["w1"].code().weights()
        if grid == "codebook"
        else choose_integers(weights, curvature, 1e-6, trellis=grid == "trellis")["w1"].values()
    )
    assert not found[~kept].any()
    assert np.count_nonzero(found) > 0.3 * np.count_nonzero(kept)


def test_the_rate_model_is_near_the_entropy_of_rows_with_different_densities() -> None:
    rng = np.random.default_rng(5)
    density = np.repeat([0.02, 0.3, 0.9], 40)[:, None]
    sizes = rng.integers(1, 4, (120, 400)) * rng.choice([-1, 1], (120, 400))
    integers = (sizes * (rng.random((120, 400)) < density)).astype(np.int32)
    ideal = 400 * 40 * sum(-d * math.log2(d / 6) - (1 - d) * math.log2(1 - d) for d in (0.02, 0.3, 0.9))
    assert fit_rate(integers).bits(integers) == pytest.approx(ideal, rel=0.03)


def _falling(price: float) -> int:
    return int(100_000 - 9_000 * math.log2(price) - 200 * math.log2(price) ** 2)


@pytest.mark.parametrize("target", [60_000, 99_999, 130_000])
def test_the_budget_search_ends_just_under_the_target_after_few_questions(target: int) -> None:
    search = BudgetSearch(_falling, target, 2.0**-12, 2.0**10)
    price = search.run(2.0**-6, 5_000)
    assert (1 - SLACK) * target <= _falling(price) <= target
    assert len(search.asked) <= 8


def test_more_than_anything_needs_takes_the_lowest_price() -> None:
    search = BudgetSearch(_falling, 10**9, 2.0**-12, 2.0**10)
    assert search.run(1.0, 5_000) == 2.0**-12


def test_a_target_that_nothing_reaches_says_what_is_the_smallest() -> None:
    search = BudgetSearch(_falling, 500, 2.0**-12, 2.0**3)
    with pytest.raises(RecipeError, match=f"still takes {_falling(8.0):,} bytes"):
        search.run(1.0, 5_000)


def test_an_artifact_has_just_the_bytes_that_were_asked_for() -> None:
    state = _state(_dense(), _dataset(_inputs()))
    quantize.run(state, quantize.Options(target_bytes=4_000))
    assert 0.97 * 4_000 <= state.artifact_bytes(state) <= 4_000
    assert {type(code) for code in state.codes.values()} == {ScaledIntegers}


@pytest.mark.parametrize("options", [{}, {"grid": "codebook"}, {"trellis": False}, {"bits": 6.0}])
def test_what_is_decoded_is_what_was_quantized(options: dict[str, object]) -> None:
    graph, x = _dense(), _inputs()
    state = _state(graph.copy(), _dataset(x))
    quantize.run(state, msgspec.convert(options, quantize.Options))
    model = state.graph.serialize()
    artifact = write_artifact(
        model, name="m", profile="x86-pc", recipe={}, provenance={}, metadata={},
        probe=make_probe(state.graph, sample=None, seed=0), codes=state.codes,
    )  # fmt: skip
    assert decode(artifact, max_bytes=len(model)) == model
    kind = SharedWeights if options.get("grid") == "codebook" else ScaledIntegers
    assert {type(code) for code in state.codes.values()} == {kind}
    changed = {name: state.graph.weights[name] for name in ("w1", "w2", "b1", "b2")}
    assert _divergence(graph, changed, x) < 0.1


def test_the_same_seed_gives_the_same_weights() -> None:
    made = []
    for _ in range(2):
        state = _state(_dense(), _dataset(_inputs()))
        quantize.run(state, quantize.Options(bits=3.0))
        made.append(state.graph.serialize())
    assert made[0] == made[1]


def test_batch_normalization_is_folded_and_biases_make_up_for_the_mean() -> None:
    graph = cnn(np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((SAMPLES, 1, 8, 8)).astype(np.float32)
    state = _state(graph.copy(), _dataset(x))
    quantize.run(state, quantize.Options(bits=4.0))
    assert "BatchNormalization" not in {node.op_type for node in state.graph.proto.graph.node}
    before, after = Executor(graph).run({"x": x})["y"], Executor(state.graph).run({"x": x})["y"]
    assert np.square(after - before).mean() < 0.05 * before.var()


def test_without_data_inputs_are_generated_and_the_report_says_so() -> None:
    state = _state(_dense())
    quantize.run(state, quantize.Options(bits=3.0))
    assert any("generated inputs" in warning for warning in state.warnings)
    assert state.codes


def test_only_a_test_split_is_named_in_the_warnings() -> None:
    state = _state(_dense(), _dataset(_inputs(), ("test",)))
    quantize.run(state, quantize.Options())
    assert any("only a test split" in warning for warning in state.warnings)


def test_a_cancelled_job_stops() -> None:
    state = _state(_dense(), _dataset(_inputs()))
    state.cancelled = lambda: True
    with pytest.raises(CompressionCancelledError):
        quantize.run(state, quantize.Options())


def test_a_model_without_weights_to_quantize_is_refused() -> None:
    state = _state(mlp(np.random.default_rng(0), inputs=2, hidden=3, classes=2))
    with pytest.raises(RecipeError, match="finds no weight tensor"):
        quantize.run(state, quantize.Options())


def test_a_target_goes_to_the_last_pass_that_takes_one() -> None:
    recipe = Recipe("r", "d", passes=(Step("prune"), Step("quantize", {"bits": 3.0})))
    assert within(recipe, 1000).passes == (
        Step("prune"),
        Step("quantize", {"bits": 3.0, "target_bytes": 1000}),
    )
    assert recipe.passes[1].options == {"bits": 3.0}


def test_a_recipe_that_takes_no_target_says_which_do() -> None:
    with pytest.raises(RecipeError, match=r"no pass that can aim at a number of bytes.*rate-distortion"):
        within(Recipe("r", "d", passes=(Step("int8"),)), 1000)


def test_the_passes_named_as_taking_a_target_are_those_with_the_option() -> None:
    modules = {name: __import__(module, fromlist=["Options"]) for name, module in PASSES.items()}
    assert {
        name for name, module in modules.items() if "target_bytes" in module.Options.__struct_fields__
    } == BUDGETED
    assert any(step.name in BUDGETED for recipe in list_recipes() for step in recipe.passes)

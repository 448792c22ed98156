"""prune-weights: patterns, budgets, schedules and regrowth, each against its numbers."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from blobs import blobs, state
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.artifact.codes import SharedWeights
from edgepress_compression.compress import compress
from edgepress_compression.data.digits import digits_dataset, make_digits_model
from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.pruning import weights as prune_weights
from edgepress_compression.passes.pruning.distribution import erdos_renyi, global_threshold
from edgepress_compression.passes.pruning.granularity import Units, units
from edgepress_compression.passes.pruning.masks import Moving
from edgepress_compression.passes.pruning.regrowth import divide, drop_and_grow
from edgepress_compression.passes.pruning.schedule import cosine, cubic, geometric
from edgepress_compression.passes.pruning.sensitivity import equal_slope, lower_hull
from edgepress_compression.passes.state import PassState
from edgepress_compression.recipe import Recipe, Step, load_recipe
from edgepress_compression.training.constraint import Free
from edgepress_compression.training.loop import Schedule, fine_tune, top1
from edgepress_compression.training.losses import loss_for
from edgepress_devices.profile import load_profile

torch.set_num_threads(1)
DATA = blobs(3000)


@pytest.fixture(scope="module")
def learned() -> Graph:
    graph = mlp(np.random.default_rng(0), hidden=64)
    executor = Executor(graph)
    split = DATA.split("train")
    fine_tune(
        executor,
        split,
        loss_for(graph, "classification", label_share=1.0),
        Free(executor),
        Schedule(steps=150, batch_size=32, learning_rate=1e-2),
        rows=np.arange(len(split)),
        teacher=None,
        seed=0,
    )
    executor.write_back(graph)
    return graph


def zeros(graph: Graph) -> float:
    return 1 - np.mean(np.concatenate([(graph.weights[name] != 0).ravel() for name in graph.prunable()]))


def accuracy(graph: Graph) -> float:
    split = DATA.split("test")
    return top1(Executor(graph), split, np.arange(len(split)), "y")


def pruned(graph: Graph, seed: int = 0, **options: Any) -> PassState:
    work = state(graph.copy(), DATA, seed=seed)
    prune_weights.run(work, prune_weights.Options(**{"batch_size": 32, "learning_rate": 3e-3, **options}))
    return work


# What is pruned together


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([(1, 2), (2, 4), (1, 4), (4, 8), (3, 5)]),
    st.integers(1, 9),
    st.integers(1, 30),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_n_of_every_m_inputs_of_an_output_stay(
    n_m: tuple[int, int], outputs: int, inputs: int, rows_first: bool, seed: int
) -> None:
    n, m = n_m
    shape = (outputs, inputs) if rows_first else (inputs, outputs)
    scores = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) + 0.01
    mask = Units(shape, rows_first, f"{n}:{m}").mask(scores, 1 - n / m)
    matrix, worth = (mask, scores) if rows_first else (mask.T, scores.T)
    for row, start in product(range(outputs), range(0, inputs, m)):
        group, value = matrix[row, start : start + m], worth[row, start : start + m]
        assert int(group.sum()) == -(-n * len(group) // m)
        assert not (~group).any() or value[group].min() >= value[~group].max()


def test_the_pattern_of_a_convolution_lies_along_its_channels() -> None:
    scores = torch.rand(3, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    mask = Units((3, 8, 3, 3), True, "2:4").mask(scores, 0.5)
    assert bool((mask.reshape(3, 2, 4, 3, 3).sum(dim=2) == 2).all())


def test_a_pattern_is_reached_by_degrees() -> None:
    layout = Units((5, 16), True, "2:4")
    scores = torch.rand(5, 16, generator=torch.Generator().manual_seed(0))
    kept = [float(layout.mask(scores, level).double().mean()) for level in (0.0, 0.2, 0.25, 0.4, 0.5)]
    assert kept == [1.0, 1.0, 0.75, 0.75, 0.5]


@pytest.mark.parametrize(("granularity", "height", "width"), [("4x4", 4, 4), ("1x4", 1, 4), ("rows", 1, 12)])
def test_blocks_and_rows_go_as_a_whole(granularity: str, height: int, width: int) -> None:
    scores = torch.rand(8, 12, generator=torch.Generator().manual_seed(1))
    mask = Units((8, 12), True, granularity).mask(scores, 0.5)
    blocks = mask.reshape(8 // height, height, 12 // width, width).double().mean(dim=(1, 3))
    assert set(blocks.unique().tolist()) == {0.0, 1.0}
    assert float(mask.double().mean()) == pytest.approx(0.5, abs=height * width / 96)
    means = scores.reshape(8 // height, height, 12 // width, width).mean(dim=(1, 3))
    assert means[blocks == 0].max() <= means[blocks == 1].min()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["weights", "rows", "2x3", "4x4"]),
    st.lists(st.integers(1, 7), min_size=2, max_size=4).filter(lambda s: len(s) != 3),
    st.floats(0, 0.99),
)
def test_no_more_goes_than_asked_and_something_stays(
    granularity: str, shape: list[int], sparsity: float
) -> None:
    scores = torch.rand(*shape, generator=torch.Generator().manual_seed(2))
    layout = Units(tuple(shape), True, granularity)
    mask = layout.mask(scores, sparsity)
    assert mask.shape == scores.shape
    assert bool(mask.any())
    gone = int((~mask).sum())
    sizes = layout.means(scores)[1]
    assert gone <= sparsity * scores.numel() + 1e-6
    assert gone > sparsity * scores.numel() - int(sizes.max()) - 1 or len(sizes) == 1
    torch.testing.assert_close(layout.tensor(layout.matrix(scores)), scores)


def test_matrices_are_read_as_their_layer_multiplies() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["x", "a"], ["h"], transB=1),
        helper.make_node("MatMul", ["h", "b"], ["i"]),
        helper.make_node("Transpose", ["c"], ["d"], perm=[1, 0]),
        helper.make_node("MatMul", ["i", "d"], ["y"]),
    ]
    weights = {"a": normal(rng, 6, 16), "b": normal(rng, 6, 5), "c": normal(rng, 4, 5)}
    graph = load_model(
        model(nodes, weights, input_shape=["N", 16], output_shape=["N", 4]).SerializeToString()
    )
    layouts = units(graph, ["a", "b", "c"], "rows")
    assert [layouts[name].rows_first for name in "abc"] == [True, False, True]


# How much of each tensor


def test_one_threshold_takes_the_least_wherever_they_are() -> None:
    scores = {"low": torch.linspace(0.1, 1, 90), "high": torch.linspace(2, 3, 10)}
    layouts = {name: Units((len(score),), True, "weights") for name, score in scores.items()}
    scores = {name: score[:, None] for name, score in scores.items()}
    layouts = {name: Units((len(score), 1), True, "weights") for name, score in scores.items()}
    assert global_threshold(scores, layouts, 0.9) == {"low": pytest.approx(0.998), "high": 0.0}
    assert global_threshold(scores, layouts, 0.45) == {"low": pytest.approx(0.5), "high": 0.0}


def test_erdos_renyi_keeps_small_tensors_denser_and_the_total() -> None:
    shapes = {"first": (16, 3, 3, 3), "wide": (512, 512), "last": (10, 64)}
    found = erdos_renyi(shapes, 0.9)
    count = {name: int(np.prod(shape)) for name, shape in shapes.items()}
    kept = sum((1 - found[name]) * count[name] for name in shapes)
    assert kept == pytest.approx(0.1 * sum(count.values()), rel=1e-6)
    assert found["first"] == 0.0 == found["last"]  # would keep more than all
    shares = erdos_renyi({"a": (100, 100), "b": (200, 50)}, 0.9)
    assert (1 - shares["b"]) / (1 - shares["a"]) == pytest.approx(250 / 200)


CURVES = {
    "easy": [(0.0, 1.0), (0.5, 1.01), (0.9, 1.1), (0.998, 2.0)],
    "hard": [(0.0, 1.0), (0.5, 1.5), (0.9, 3.0), (0.998, 9.0)],
    "bumpy": [(0.0, 1.0), (0.5, 1.4), (0.9, 1.3), (0.998, 4.0)],
}


def test_equal_slopes_cost_least_by_brute_force() -> None:
    sizes = {"easy": 100, "hard": 200, "bumpy": 100}
    found = equal_slope(CURVES, sizes, 0.5)
    assert sum(found[name] * sizes[name] for name in sizes) == pytest.approx(200)

    def cost(levels: dict[str, float]) -> float:
        return sum(np.interp(levels[n], *zip(*lower_hull(CURVES[n]), strict=True)) for n in levels)

    grid = np.linspace(0, 0.998, 60)
    rivals = [
        cost({"easy": a, "hard": (200 - 100 * a - 100 * b) / 200, "bumpy": b})
        for a, b in product(grid, grid)
        if 0 <= 200 - 100 * a - 100 * b <= 0.998 * 200
    ]
    assert cost(found) <= min(rivals) + 1e-9


def test_a_hull_is_convex_and_below_its_curve() -> None:
    hull = lower_hull(CURVES["bumpy"])
    assert hull == [(0.0, 1.0), (0.9, 1.3), (0.998, 4.0)]


# When


def test_schedules_have_the_papers_numbers() -> None:
    assert [cubic(0.8, done) for done in (0, 0.5, 1)] == pytest.approx([0.0, 0.7, 0.8])
    assert cubic(0.8, 0.5, start=0.4) == pytest.approx(0.8 - 0.4 / 8)
    assert [geometric(0.75, done) for done in (0, 0.5, 1)] == pytest.approx([0.0, 0.5, 0.75])
    assert [cosine(0.3, done) for done in (0, 0.5, 1)] == pytest.approx([0.3, 0.15, 0.0])


# Regrowth


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0, 1)), min_size=1, max_size=4),
    st.floats(0, 0.9),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_as_many_weights_after_they_moved(
    tensors: list[tuple[int, float]], fraction: float, redistribute: bool, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    weights = {str(i): torch.randn(size, generator=draw) for i, (size, _) in enumerate(tensors)}
    masks = {str(i): torch.rand(size, generator=draw) < density for i, (size, density) in enumerate(tensors)}
    wanted = {name: torch.rand(weight.shape, generator=draw) for name, weight in weights.items()}
    moved = drop_and_grow(weights, masks, wanted, fraction, redistribute=redistribute)
    assert sum(int(m.sum()) for m in moved.values()) == sum(int(m.sum()) for m in masks.values())
    if not redistribute:
        for name, mask in masks.items():
            assert int(moved[name].sum()) == int(mask.sum())


def test_the_smallest_go_and_the_most_wanted_grow() -> None:
    weights = {"w": torch.tensor([3.0, 0.1, -2.0, 0.0, 0.0, 0.0])}
    masks = {"w": torch.tensor([True, True, True, False, False, False])}
    wanted = {"w": torch.tensor([9.0, 0.2, 9.0, 0.1, 0.5, 0.3])}
    moved = drop_and_grow(weights, masks, wanted, 0.34, redistribute=False)["w"]
    assert moved.tolist() == [True, False, True, False, True, False]


def test_tensors_get_new_weights_by_their_momentum() -> None:
    masks = {name: torch.arange(100) < 50 for name in "ab"}
    weights = {name: torch.linspace(1, 2, 100) * masks[name] for name in "ab"}
    wanted = {"a": torch.full((100,), 3.0), "b": torch.full((100,), 1.0)}
    moved = drop_and_grow(weights, masks, wanted, 0.4, redistribute=True)
    assert {name: int(mask.sum()) for name, mask in moved.items()} == {"a": 60, "b": 40}


@given(
    st.integers(0, 200),
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 60)), min_size=1, max_size=6),
)
def test_a_division_adds_up_and_fits(total: int, parts: list[tuple[float, int]]) -> None:
    rooms = [room for _, room in parts]
    given_out = divide(total, [share for share, _ in parts], rooms)
    assert sum(given_out) == min(total, sum(rooms))
    assert all(0 <= number <= room for number, room in zip(given_out, rooms, strict=True))


def test_moving_weights_settle_before_the_end(learned: Graph) -> None:
    executor = Executor(learned)
    masks = {"w1": executor.weights["w1"].detach().abs() > 0.1}
    moving = Moving(executor, masks, "gradient", drop=0.3, updates=5, until=0.75)
    changed = []
    optimizer = torch.optim.Adam(executor.weights.values())
    for step in range(100):
        before = moving.masks["w1"]
        executor.weights["w1"].grad = torch.randn(64, 16, generator=torch.Generator().manual_seed(step))
        moving.begin(step / 100, optimizer)
        if not torch.equal(before, moving.masks["w1"]):
            changed.append(step)
        assert int(moving.masks["w1"].sum()) == int(masks["w1"].sum())
    assert len(changed) == 5
    assert max(changed) < 75


# The pass


WAYS = [
    ("one-shot by magnitude", {"sparsity": 0.7}),
    ("iterative, by sensitivity", {"schedule": "iterative", "rounds": 3, "distribution": "sensitivity"}),
    ("gradual by Taylor", {"schedule": "gradual", "saliency": "taylor", "rounds": 6}),
    ("gradual by Fisher", {"schedule": "gradual", "saliency": "fisher", "rounds": 3, "samples": 64}),
    ("OBD", {"saliency": "obd", "samples": 64, "distribution": "uniform"}),
    ("exact OBS, untrained", {"saliency": "obs", "steps": 0, "samples": 100}),
    ("layer-wise OBS, untrained", {"saliency": "layer-obs", "steps": 0}),
    ("layer-wise OBS in rounds", {"saliency": "layer-obs", "schedule": "iterative", "rounds": 2}),
    ("RigL", {"regrowth": "gradient", "distribution": "erdos-renyi"}),
    ("sparse momentum", {"regrowth": "momentum", "distribution": "uniform"}),
]


@pytest.mark.parametrize("options", [way[1] for way in WAYS], ids=[way[0] for way in WAYS])
def test_every_way_reaches_its_sparsity_and_keeps_accuracy(learned: Graph, options: dict[str, Any]) -> None:
    work = pruned(learned, **{"sparsity": 0.7, "steps": 120, **options})
    assert zeros(work.graph) == pytest.approx(0.7, abs=0.02)
    assert accuracy(work.graph) >= accuracy(learned) - 0.02
    assert work.warnings == []
    (stage,) = work.stages
    assert stage.nonzero is not None
    assert stage.accuracy is not None


def test_measured_sensitivities_are_in_the_report(learned: Graph) -> None:
    work = pruned(learned, distribution="sensitivity", steps=0, sparsity=0.5)
    detail = work.stages[-1].detail
    assert detail is not None
    points = detail["sensitivity"]
    assert {point["tensor"] for point in points} == {"w1", "w2"}
    losses = [point["loss"] for point in points if point["tensor"] == "w2"]
    assert losses[-1] > losses[0]


@pytest.mark.parametrize("saliency", ["magnitude", "layer-obs"])
def test_two_of_four_stay_after_training(learned: Graph, saliency: str) -> None:
    work = pruned(learned, granularity="2:4", saliency=saliency, steps=60)
    for name in ("w1", "w2"):
        groups = (work.graph.weights[name] != 0).reshape(-1, work.graph.weights[name].shape[1] // 4, 4)
        assert int(groups.sum(axis=2).max()) == 2


def test_dense_sparse_dense_ends_dense(learned: Graph) -> None:
    work = pruned(learned, schedule="dense-sparse-dense", sparsity=0.5, steps=100)
    assert zeros(work.graph) < 0.02
    assert accuracy(work.graph) >= accuracy(learned) - 0.01


def test_the_exact_obs_beats_the_layer_wise_and_that_magnitude(learned: Graph) -> None:
    split = DATA.split("train")
    rows = np.arange(500)
    loss = loss_for(learned, "classification", label_share=1.0)

    def lost(saliency: str) -> float:
        work = pruned(
            learned, saliency=saliency, sparsity=0.9, steps=0, distribution="uniform", most_lost_points=100.0,
            samples=100,
        )  # fmt: skip
        outputs = {"y": torch.from_numpy(Executor(work.graph).run(split.fetch(rows))["y"])}
        return float(loss(outputs, torch.from_numpy(split.labels[rows]), {}))

    assert lost("obs") < lost("layer-obs") < lost("magnitude")


def test_rows_of_the_answer_stay(learned: Graph) -> None:
    work = pruned(learned, granularity="rows", sparsity=0.5, steps=100)
    weights = work.graph.weights
    assert int((weights["w1"] != 0).any(axis=1).sum()) == 32
    assert bool((weights["w2"] != 0).any(axis=1).all())


def test_named_weights_stay_dense(learned: Graph) -> None:
    work = pruned(learned, sparsity=0.5, dense=("w2",), steps=30)
    assert bool((work.graph.weights["w2"] != 0).all())
    assert int((work.graph.weights["w1"] == 0).sum()) == 512


def test_the_same_seed_prunes_the_same_weights(learned: Graph) -> None:
    def made(seed: int) -> bytes:
        options = {"saliency": "obd", "regrowth": "momentum", "steps": 40, "samples": 32, "sparsity": 0.5}
        return pruned(learned, seed, **options).graph.serialize()

    assert made(3) == made(3) != made(4)


def test_a_round_that_loses_too_much_is_taken_back(learned: Graph) -> None:
    work = pruned(learned, schedule="iterative", rounds=8, sparsity=0.997, steps=240)
    assert 0.5 < zeros(work.graph) < 0.99
    assert any("Pruning stopped" in warning for warning in work.warnings)
    assert accuracy(work.graph) >= accuracy(learned) - 0.05


def test_what_loses_too_much_is_not_kept(learned: Graph) -> None:
    work = pruned(learned, sparsity=0.99, steps=0)
    assert work.graph.serialize() == learned.serialize()
    assert any("nothing was pruned" in warning for warning in work.warnings)


def test_codes_of_weights_that_changed_are_forgotten(learned: Graph) -> None:
    work = state(learned.copy(), DATA)
    shared = SharedWeights(np.zeros((64, 16), np.int32), np.ones(1, np.float32))
    work.codes["w1"] = shared
    prune_weights.run(work, prune_weights.Options(sparsity=0.5, steps=0, most_lost_points=100.0))
    assert work.codes == {}


def test_without_data_the_smallest_go(learned: Graph) -> None:
    for saliency in ("magnitude", "lamp"):
        work = state(learned.copy(), None)
        prune_weights.run(work, prune_weights.Options(saliency=saliency, sparsity=0.3))  # type: ignore[arg-type]
        assert zeros(work.graph) == pytest.approx(0.3, abs=0.01)
        weights = work.graph.weights["w1"]
        gone = np.abs(learned.weights["w1"][weights == 0])
        assert gone.max() <= np.abs(weights[weights != 0]).min()


WRONG = [
    ("no data for OBS", {"saliency": "layer-obs"}, "looks at samples, and there are none"),
    ("no data for sensitivity", {"distribution": "sensitivity"}, "distribution sensitivity looks at samples"),
    ("no data to train on", {"regrowth": "gradient"}, "no data to train on"),
    ("4 of 2", {"granularity": "4:2"}, "the first number must be the smaller one"),
    ("sparsity of a pattern", {"granularity": "2:4", "sparsity": 0.5}, "leave sparsity and distribution out"),
    ("regrowth of blocks", {"regrowth": "momentum", "granularity": "4x4"}, 'use granularity = "weights"'),
    ("exact OBS of rows", {"saliency": "obs", "granularity": "rows"}, 'or saliency = "layer-obs"'),
    ("gradual without steps", {"schedule": "gradual", "steps": 0}, "give steps"),
    ("unknown dense weight", {"dense": ("w9",)}, "dense names 'w9'.*there are: w1, w2"),
]


@pytest.mark.parametrize(("options", "says"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_cannot_be_done_says_what_to_change(learned: Graph, options: dict[str, Any], says: str) -> None:
    work = state(learned.copy(), None)
    with pytest.raises(RecipeError, match=says):
        prune_weights.run(work, prune_weights.Options(**options))
    assert work.graph.serialize() == learned.serialize()


def test_a_model_without_matrices_passes_unchanged() -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {}, input_shape=["N", 16], output_shape=["N", 16])
    work = state(load_model(proto.SerializeToString()), None)
    before = work.graph.serialize()
    prune_weights.run(work, prune_weights.Options())
    assert work.graph.serialize() == before
    assert any("no weights" in warning for warning in work.warnings)


def test_convolutions_with_normalization_are_pruned_without_data() -> None:
    work = state(cnn(np.random.default_rng(0)), None)
    prune_weights.run(work, prune_weights.Options(granularity="1x4", sparsity=0.5))
    assert 0.4 < zeros(work.graph) <= 0.5


# The recipes, end to end


RECIPES = {
    "iterative-pruning": 0.92,
    "gradual-pruning": 0.9,
    "dense-sparse-dense": 0.0,
    "optimal-brain-damage": 0.9,
    "optimal-brain-surgeon": 0.8,
    "n-m-sparsity": 0.5,
    "block-pruning": 0.8,
    "sparse-momentum": 0.9,
    "rigl": 0.9,
}


@pytest.fixture(scope="module")
def digits_model() -> bytes:
    return make_digits_model()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_on_digits(digits_model: bytes, name: str) -> None:
    """With few steps, and with what accuracy such a training may lose."""
    shipped = load_recipe(name)
    (step,) = shipped.passes
    small: dict[str, float] = {
        "samples": 100,
        "rounds": 3,
        "updates": 5,
        "learning_rate": 3e-3,
        "most_lost_points": 60.0,
    }
    if step.options["steps"]:
        small["steps"] = 100
    recipe = Recipe(name, "small", passes=(Step(step.name, {**step.options, **small}),))
    result = compress(
        digits_model,
        recipe=recipe,
        profile=load_profile("raspberry-pi-4"),
        dataset=digits_dataset(),
        latency_seconds=0.05,
        model_name="digits",
    )
    report = result.report
    stage = report["stages"][-1]
    assert stage["name"].startswith("prune-weights")
    assert 1 - stage["nonzero"] == pytest.approx(
        RECIPES[name], abs=0.45 if name == "dense-sparse-dense" else 0.03
    )
    assert report["accuracy"]["after"] > 0.6
    assert not [warning for warning in report["warnings"] if "nothing was pruned" in warning]

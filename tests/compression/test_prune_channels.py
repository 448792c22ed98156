"""Channel pruning: what goes is what matters least, what stays takes over its part, and targets are met."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from blobs import blobs, state
from halves import halves
from onnx import helper
from test_width_cost import residual
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.data.spec import data_folder
from edgepress_compression.errors import RecipeError
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.executor import Executor
from edgepress_compression.graph.channels import channel_groups, cut
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.width_cost import WidthCost
from edgepress_compression.passes.pruning import channels
from edgepress_compression.passes.pruning.channels_choose import choose_units, least_units, reachable
from edgepress_compression.passes.pruning.channels_refit import refit
from edgepress_compression.passes.pruning.channels_score import gate_scores, magnitude_scores
from edgepress_compression.training.constraint import Free
from edgepress_compression.training.loop import Schedule, fine_tune, top1
from edgepress_compression.training.losses import loss_for

torch.set_num_threads(1)
DATA = blobs(3000)
QUICK = channels.Options(
    steps=200, batch_size=32, rounds=2, learning_rate=3e-3, samples=128, refit_samples=128, target=0.4
)


@pytest.fixture(scope="module")
def learned() -> Graph:
    """Larger than its task: a lot can go."""
    graph = mlp(np.random.default_rng(0), hidden=64)
    executor = Executor(graph)
    split = DATA.split("train")
    fine_tune(
        executor, split, loss_for(graph, "classification", label_share=1.0), Free(executor),
        Schedule(steps=150, batch_size=32, learning_rate=1e-2),
        rows=np.arange(len(split)), teacher=None, seed=0,
    )  # fmt: skip
    executor.write_back(graph)
    return graph


def accuracy(graph: Graph) -> float:
    split = DATA.split("test")
    return top1(Executor(graph), split, np.arange(len(split)), "y")


def flops(graph: Graph) -> float:
    return WidthCost(graph, (), "flops").cost({})


def test_labels_let_most_of_the_work_go(learned: Graph) -> None:
    work = state(learned.copy(), DATA)
    channels.run(work, QUICK)
    assert 0.35 < flops(work.graph) / flops(learned) <= 0.4
    assert accuracy(work.graph) >= accuracy(learned) - 0.01
    assert work.warnings == []
    first, *_, last = work.stages
    assert first.detail is not None
    (group,) = first.detail["filters"]
    assert group["of"] == 64
    assert last.accuracy is not None
    assert last.accuracy > 0.9


def test_a_few_samples_still_fit_what_is_left(learned: Graph) -> None:
    work = state(learned.copy(), blobs(80))
    channels.run(work, QUICK)
    assert flops(work.graph) <= QUICK.light_target * flops(learned)
    assert accuracy(work.graph) >= accuracy(learned) - 0.01


def test_training_by_answers_that_only_harms_is_not_kept(learned: Graph) -> None:
    def cut_by(rate: float) -> tuple[bytes, str]:
        work = state(learned.copy(), blobs(300))
        channels.run(
            work, changed(QUICK, light_rate=rate, light_steps=100, light_target=0.1, least_kept=0.05)
        )
        return work.graph.serialize(), work.stages[-1].note or ""

    (fitted, said), (trained, told) = cut_by(30.0), cut_by(1e-3)
    assert said.startswith("not kept")
    assert told.startswith("distance")
    work = state(learned.copy(), blobs(45))  # too few to teach anything
    channels.run(work, QUICK)
    assert [stage.name for stage in work.stages] == ["prune channels"]
    assert fitted != trained


def test_without_data_the_smallest_units_go_and_the_rest_stay_as_they_are(learned: Graph) -> None:
    work = state(learned.copy(), None)
    channels.run(work, channels.Options(blind_target=0.8))
    assert 0.75 < flops(work.graph) / flops(learned) <= 0.8
    squares = (
        (learned.weights["w1"] ** 2).sum(1) + learned.weights["b1"] ** 2 + (learned.weights["w2"] ** 2).sum(0)
    )
    rows = {row.tobytes() for row in work.graph.weights["w1"]}
    gone = np.array([row.tobytes() not in rows for row in learned.weights["w1"]])
    assert squares[gone].max() <= squares[~gone].min()


def test_a_round_that_loses_too_much_is_taken_back(learned: Graph) -> None:
    work = state(learned.copy(), DATA)
    options = channels.Options(
        steps=20, batch_size=8, rounds=2, learning_rate=1e-5, samples=64, target=0.05, least_kept=0.01,
        refit_samples=16, most_lost_points=1.0,
    )  # fmt: skip
    channels.run(work, options)
    assert flops(work.graph) > 0.05 * flops(learned)
    assert accuracy(work.graph) >= accuracy(learned) - 0.05
    assert any("stopped after" in warning for warning in work.warnings)


def test_a_target_out_of_reach_is_said_and_the_nearest_taken(learned: Graph) -> None:
    work = state(learned.copy(), DATA)
    channels.run(work, changed(QUICK, target=0.05, least_kept=0.5))
    assert any("cannot be reached" in warning for warning in work.warnings)
    assert 0.5 < flops(work.graph) / flops(learned) < 0.6


def changed(options: channels.Options, **changes: object) -> channels.Options:
    return msgspec.structs.replace(options, **changes)


def test_weights_that_are_coded_are_not_cut(learned: Graph) -> None:
    work = state(learned.copy(), DATA)
    work.codes["w1"] = ScaledIntegers(np.zeros((64, 16), np.int32), np.ones(1, np.float32))
    with pytest.raises(RecipeError, match="put prune-channels before"):
        channels.run(work, QUICK)


def test_a_model_without_channels_to_cut_stays() -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {}, input_shape=["N", 16], output_shape=["N", 16])
    work = state(load_model(proto.SerializeToString()), DATA)
    before = work.graph.serialize()
    channels.run(work, QUICK)
    assert work.graph.serialize() == before
    assert any("can be cut" in warning for warning in work.warnings)


def test_the_same_seed_cuts_the_same_units(learned: Graph) -> None:
    def pruned(seed: int) -> bytes:
        work = state(learned.copy(), DATA, seed=seed)
        channels.run(work, changed(QUICK, steps=20))
        return work.graph.serialize()

    assert pruned(3) == pruned(3) != pruned(4)


def test_a_gate_s_gradient_is_that_of_a_factor_on_the_unit() -> None:
    """Fisher scores against gates put into the graph by hand."""
    rng = np.random.default_rng(0)
    graph = residual(rng)
    x = normal(rng, 12, 3, 8, 8)
    groups = [one for one in channel_groups(graph) if one.fixed is None]
    loss = loss_for(graph, "classification", label_share=0.0)
    found = gate_scores(
        Executor(graph), groups, lambda rows: {"x": x[rows]}, np.arange(12), loss, batch_size=3, seed=5
    )
    (inner,) = (one for one in groups if one.units == 8)
    executor = Executor(graph)
    generator = torch.Generator().manual_seed(5)
    expected = np.zeros(8)
    for start in range(0, 12, 3):
        gate = torch.ones(8, requires_grad=True)
        reads = executor.weights["w2"].detach()
        fed = torch.from_numpy(x[start : start + 3])
        hidden: dict[str, torch.Tensor] = {}
        executor({"x": fed}, watch=partial(remember, hidden))
        gated = torch.nn.functional.conv2d(
            hidden["d"].detach() * gate[:, None, None], reads, executor.weights["b2"].detach()
        )
        mean = (gated + hidden["ar"].detach()).mean((2, 3))
        logits = mean @ executor.weights["fc"].detach().T + executor.weights["fb"].detach()
        labels = torch.multinomial(logits.detach().softmax(1), 1, generator=generator)[:, 0]
        torch.nn.functional.cross_entropy(logits, labels).backward()
        assert gate.grad is not None
        expected += 0.5 * 3 * gate.grad.double().numpy() ** 2 / 4
    np.testing.assert_allclose(found[inner.name], expected, rtol=1e-4, atol=1e-9)


def test_a_unit_that_another_repeats_is_made_up_for() -> None:
    """The oracle of the refit: nothing is lost where the layer that reads can tell from what stays."""
    rng = np.random.default_rng(0)
    graph = residual(rng)
    w1, b1, dw = (graph.weights[name].copy() for name in ("w1", "b1", "dw"))
    w1[5], b1[5], dw[5] = w1[2] * 2, b1[2] * 2, dw[2]
    for name, array in (("w1", w1), ("b1", b1), ("dw", dw)):
        graph.set_weight(name, array)
    x = normal(rng, 64, 3, 8, 8)
    groups = [one for one in channel_groups(graph) if one.fixed is None]
    (inner,) = (one for one in groups if one.units == 8)
    kept = {inner.name: np.arange(8) != 5}
    after = cut(graph, kept)
    bare = difference(graph, after, x)
    fitted = refit(
        graph, after, groups, kept, lambda rows: {"x": x[rows]}, np.arange(64), batch_size=16, seed=0
    )
    assert fitted >= 1
    assert difference(graph, after, x) < 0.1 * bare  # damped a little


def remember(
    into: dict[str, torch.Tensor], call: object, names: list[str], values: list[torch.Tensor]
) -> None:
    into.update(zip(names, values, strict=True))


def difference(before: Graph, after: Graph, x: np.ndarray) -> float:
    old, new = (run(open_session(one.serialize()), {"x": x})[0] for one in (before, after))
    return float(np.abs(old - new).max())


def test_a_refit_never_moves_a_model_that_lost_nothing() -> None:
    rng = np.random.default_rng(0)
    graph = cnn(rng)
    groups = [one for one in channel_groups(graph) if one.fixed is None]
    w = graph.weights["fc.weight"].reshape(3, 6, 16).copy()
    w[:, 4] = 0  # nobody reads channel 4
    graph.set_weight("fc.weight", w.reshape(3, 96))
    kept = {groups[0].name: np.arange(6) != 4}
    after = cut(graph, kept)
    x = normal(rng, 32, 1, 8, 8)
    refit(graph, after, groups, kept, lambda rows: {"x": x[rows]}, np.arange(32), batch_size=8, seed=0)
    assert difference(graph, after, x) < 1e-4


def test_the_least_important_for_the_most_saved_go_first() -> None:
    graph = mlp(np.random.default_rng(0), hidden=16)
    groups = [one for one in channel_groups(graph) if one.fixed is None]
    scores = {groups[0].name: np.arange(16)[::-1].astype(float)}
    cost = WidthCost(graph, groups, "flops")
    least = least_units(groups, 0.1)
    kept = choose_units(groups, scores, cost, 0.5 * cost.cost({}), least=least)
    np.testing.assert_array_equal(kept[groups[0].name], np.arange(16) < 8)


def test_widths_become_multiples() -> None:
    graph = mlp(np.random.default_rng(0), hidden=30)
    groups = [one for one in channel_groups(graph) if one.fixed is None]
    scores = magnitude_scores(graph, groups)
    cost = WidthCost(graph, groups, "flops")
    least = least_units(groups, 0.1)
    for share in (0.9, 0.6, 0.3):
        kept = choose_units(groups, scores, cost, share * cost.cost({}), least=least, multiple=8)
        assert kept[groups[0].name].sum() % 8 == 0
        assert cost.cost({groups[0].name: float((~kept[groups[0].name]).sum())}) <= share * cost.cost({})


def test_a_target_below_the_floor_becomes_part_of_what_can_go() -> None:
    graph = mlp(np.random.default_rng(0), hidden=32)
    groups = [one for one in channel_groups(graph) if one.fixed is None]
    cost = WidthCost(graph, groups, "flops")
    whole, least = cost.cost({}), {groups[0].name: 16}
    target, floor = reachable(groups, cost, 0.1, least=least)
    assert floor == cost.cost({groups[0].name: 16.0})
    assert target == pytest.approx(floor + 0.1 * (whole - floor))
    assert reachable(groups, cost, 0.8, least=least)[0] == pytest.approx(0.8 * whole)


@pytest.mark.data
def test_attention_heads_of_a_real_transformer_go_as_a_whole() -> None:
    folder = data_folder(Path(__file__))
    if not folder.is_dir():
        pytest.skip("there is no data folder; set EDGEPRESS_DATA")
    work = state(load_model(folder / "models" / "minilm3_sst2.onnx"), None)
    channels.run(work, channels.Options(blind_target=0.7))
    filters = (work.stages[0].detail or {})["filters"]
    heads = [one for one in filters if one["of"] == 12]
    assert len(heads) == 3
    assert any(one["alive"] < 12 for one in heads)
    run(
        open_session(work.graph.serialize()),
        {one.name: np.ones((1, 16), np.int64) for one in work.graph.inputs},
    )


@pytest.mark.parametrize("multiple", [1, 8])
def test_no_half_of_a_split_loses_all_its_units(multiple: int) -> None:
    graph = halves(np.random.default_rng(0))
    work = state(graph, None)
    channels.run(work, channels.Options(blind_target=0.5, multiple=multiple))
    sizes = work.graph.weights["w1"].shape[0]
    assert 1 < sizes <= 33 + multiple
    assert sizes % multiple == 0
    x = np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32)
    assert run(open_session(work.graph.serialize()), {"x": x})[0].shape == (3, 4)


def test_the_unit_that_is_put_back_is_the_best_of_those_that_went() -> None:
    groups = channel_groups(halves(np.random.default_rng(0), units=8, first=3))
    kept = {"w1": np.arange(8) >= 3}
    scores = {"w1": np.array([0.0, 2.0, 1.0, 3.0, 3.0, 3.0, 3.0, 3.0])}
    assert np.flatnonzero(groups.refilled(kept)["w1"]).tolist() == [0, 3, 4, 5, 6, 7]
    assert np.flatnonzero(groups.refilled(kept, scores)["w1"]).tolist() == [1, 3, 4, 5, 6, 7]
    assert np.flatnonzero(groups.refilled(kept, scores, multiple=7)["w1"]).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert groups.emptied(groups.refilled(kept)) == []
    assert not kept["w1"][:3].any()  # what was given stays as it was

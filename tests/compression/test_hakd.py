"""HAKD: students of one latency in several shapes, and the best of them taught."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from blobs import blobs, state
from halves import halves
from test_width_cost import residual
from tiny_models import mlp

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.channels import channel_groups
from edgepress_compression.graph.cost import model_cost
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.width_cost import WidthCost
from edgepress_compression.passes.hakd import hakd
from edgepress_compression.passes.hakd.shapes import Shape, student_shape
from edgepress_compression.passes.pruning.channels_choose import least_units
from edgepress_compression.training.constraint import Free
from edgepress_compression.training.loop import Schedule, fine_tune, top1
from edgepress_compression.training.losses import loss_for
from edgepress_devices.profile import load_profile

torch.set_num_threads(1)
DATA = blobs(3000)
PI = load_profile("raspberry-pi-4")
QUICK = hakd.Options(
    steps=100, trial_steps=20, batch_size=32, learning_rate=3e-3, target=0.8, samples=64, refit_samples=64
)


@pytest.fixture(scope="module")
def learned() -> Graph:
    graph = mlp(np.random.default_rng(0), hidden=512)
    executor = Executor(graph)
    split = DATA.split("train")
    fine_tune(
        executor, split, loss_for(graph, "classification", label_share=1.0), Free(executor),
        Schedule(steps=100, batch_size=32, learning_rate=3e-3),
        rows=np.arange(len(split)), teacher=None, seed=0,
    )  # fmt: skip
    executor.write_back(graph)
    return graph


@pytest.mark.parametrize("shape", ["even", "latency", "flops"])
def test_every_shape_has_the_latency_asked_for(shape: Shape) -> None:
    graph = residual(np.random.default_rng(0))
    groups = [one for one in channel_groups(graph) if one.fixed is None]
    scores = {one.name: np.arange(one.units, dtype=float) for one in groups}
    cost = WidthCost(graph, groups, "latency", PI)
    bare = cost.cost({one.name: one.units - 1 for one in groups})
    target_us = (cost.cost({}) + bare) / 2
    kept = student_shape(
        shape, graph, groups, scores, PI, target_us, least=least_units(groups, 0.1), multiple=1
    )
    reached_us = cost.cost({name: float((~mask).sum()) for name, mask in kept.items()})
    assert 0.6 * target_us < reached_us <= target_us


def test_the_even_shape_keeps_the_same_part_of_every_group() -> None:
    graph = residual(np.random.default_rng(0))
    groups = [one for one in channel_groups(graph) if one.fixed is None]
    scores = {one.name: np.arange(one.units, dtype=float) for one in groups}
    cost = WidthCost(graph, groups, "latency", PI)
    kept = student_shape(
        "even", graph, groups, scores, PI, 0.8 * cost.cost({}), least=least_units(groups, 0.1), multiple=1
    )
    shares = [mask.mean() for mask in kept.values()]
    assert max(shares) - min(shares) < 0.15
    assert all(mask[-1] for mask in kept.values())  # the most important stays


def test_the_best_student_takes_the_place_of_the_original(learned: Graph) -> None:
    work = state(learned.copy(), DATA)
    hakd.run(work, QUICK)
    before_us, after_us = (model_cost(one, PI).latency_us or 0 for one in (learned, work.graph))
    assert after_us <= 0.8 * before_us
    (stage,) = work.stages
    assert stage.detail is not None
    assert [one["shape"] for one in stage.detail["students"]] == ["even", "latency", "flops"]
    split = DATA.split("test")
    found, before = (top1(Executor(one), split, np.arange(len(split)), "y") for one in (work.graph, learned))
    assert found >= before - 0.02


@pytest.mark.parametrize("samples", [0, 80])
def test_without_labels_to_teach_with_it_refuses(learned: Graph, samples: int) -> None:
    with pytest.raises(RecipeError, match="labelled samples"):
        hakd.run(state(learned.copy(), blobs(samples) if samples else None), QUICK)


def test_no_shapes_is_no_way_to_choose(learned: Graph) -> None:
    with pytest.raises(RecipeError, match="shapes to try"):
        hakd.run(state(learned.copy(), DATA), msgspec.structs.replace(QUICK, shapes=()))


def test_a_latency_out_of_reach_is_said(learned: Graph) -> None:
    work = state(learned.copy(), DATA)
    hakd.run(work, msgspec.structs.replace(QUICK, target=0.01, steps=20, trial_steps=5))
    assert any("no student reaches" in warning for warning in work.warnings)


def test_no_half_of_a_split_loses_all_its_units() -> None:
    work = state(halves(np.random.default_rng(0), units=512), DATA)
    hakd.run(work, msgspec.structs.replace(QUICK, target=0.8, steps=10, trial_steps=2))
    assert work.graph.weights["w1"].shape[0] < 512

"""Pruning zeroes what matters least, keeps it at zero, and goes no further than accuracy allows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from blobs import blobs, state
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.executor import Executor
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.estimate import nonzero_fraction
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.pruning import prune
from edgepress_compression.passes.pruning.masks import Gradual
from edgepress_compression.passes.pruning.prune import keep_masks
from edgepress_compression.passes.pruning.saliency.magnitude import lamp
from edgepress_compression.passes.sharing import share
from edgepress_compression.training.constraint import Masks
from edgepress_compression.training.loop import Schedule, fine_tune, top1
from edgepress_compression.training.losses import loss_for

torch.set_num_threads(1)
DATA = blobs(3000)
QUICK = prune.Options(steps=200, batch_size=32, rounds=8, learning_rate=3e-3, sparsity=0.8)


def learned_mlp() -> Graph:
    """Larger than its task: a lot can go."""
    graph = mlp(np.random.default_rng(0), hidden=64)
    executor = Executor(graph)
    split = DATA.split("train")
    everything = prune.Pruning(executor, [], sparsity=0.0, rounds=1, ramp=0.5)
    fine_tune(
        executor,
        split,
        loss_for(graph, "classification", label_share=1.0),
        everything,
        Schedule(steps=150, batch_size=32, learning_rate=1e-2),
        rows=np.arange(len(split)),
        teacher=None,
        seed=0,
    )
    executor.write_back(graph)
    return graph


@pytest.fixture(scope="module")
def learned() -> Graph:
    return learned_mlp()


def zeros(graph: Graph) -> float:
    return 1 - nonzero_fraction({name: graph.weights[name] for name in graph.prunable()})


def accuracy(graph: Graph) -> float:
    split = DATA.split("test")
    return top1(Executor(graph), split, np.arange(len(split)), "y")


def test_four_of_five_weights_go_and_accuracy_stays(learned: Graph) -> None:
    work = state(learned.copy(), DATA)
    prune.run(work, QUICK)
    assert zeros(work.graph) == pytest.approx(0.8, abs=0.01)
    assert accuracy(work.graph) >= accuracy(learned) - 0.01
    assert work.warnings == []
    (stage,) = work.stages
    assert stage.nonzero is not None
    assert stage.accuracy is not None
    assert stage.accuracy > 0.9
    assert stage.bytes_estimate is not None
    assert stage.bytes_estimate < learned.weight_bytes() / 2


def test_a_round_that_loses_too_much_is_taken_back(learned: Graph) -> None:
    work = state(learned.copy(), DATA)
    prune.run(work, prune.Options(steps=200, batch_size=32, rounds=8, sparsity=0.998, learning_rate=1e-3))
    assert 0.3 < zeros(work.graph) < 0.99
    assert accuracy(work.graph) >= accuracy(learned) - 0.05
    assert any("Pruning stopped" in warning for warning in work.warnings)


def test_without_data_the_smallest_weights_go_and_the_rest_keep_their_values(learned: Graph) -> None:
    work = state(learned.copy(), None)
    prune.run(work, prune.Options(blind_sparsity=0.3))
    assert zeros(work.graph) == pytest.approx(0.3, abs=0.01)
    for name in work.graph.prunable():
        kept = work.graph.weights[name] != 0
        np.testing.assert_array_equal(work.graph.weights[name][kept], learned.weights[name][kept])
        assert np.abs(learned.weights[name][~kept]).max() <= np.abs(learned.weights[name][kept]).min()
    assert any("Without a data set" in warning for warning in work.warnings)


def test_with_few_samples_nothing_is_pruned_here(learned: Graph) -> None:
    work = state(learned.copy(), blobs(60))
    prune.run(work, QUICK)
    assert work.graph.serialize() == learned.serialize()
    assert any("too few" in warning for warning in work.warnings)


def test_a_model_without_matrices_passes_unchanged() -> None:
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {}, input_shape=["N", 16], output_shape=["N", 16])
    for data in (None, DATA):
        work = state(load_model(proto.SerializeToString()), data)
        before = work.graph.serialize()
        prune.run(work, QUICK)
        share.run(work, share.Options())
        assert work.graph.serialize() == before


def test_a_model_that_cannot_be_trained_is_pruned_as_without_data() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"], transB=1),
        helper.make_node("Hardmax", ["h"], ["m"]),
        helper.make_node("Add", ["m", "h"], ["y"]),
    ]
    proto = model(nodes, {"w": normal(rng, 4, 16)}, input_shape=["N", 16], output_shape=["N", 4])
    work = state(load_model(proto.SerializeToString()), DATA)
    prune.run(work, QUICK)
    assert zeros(work.graph) == pytest.approx(0.1, abs=0.02)
    assert any("Hardmax" in warning for warning in work.warnings)


def test_the_same_seed_prunes_the_same_weights(learned: Graph) -> None:
    def pruned(seed: int) -> bytes:
        work = state(learned.copy(), DATA, seed=seed)
        prune.run(work, prune.Options(steps=40, rounds=4, sparsity=0.5, batch_size=16))
        return work.graph.serialize()

    assert pruned(3) == pruned(3) != pruned(4)


def test_lamp_compares_layers_whatever_their_scale() -> None:
    rng = np.random.default_rng(0)
    weight = torch.from_numpy(normal(rng, 20, 30))
    torch.testing.assert_close(lamp(weight), lamp(100 * weight), rtol=1e-4, atol=0)
    by_hand = lamp(torch.tensor([3.0, -1.0, 2.0]))
    torch.testing.assert_close(by_hand, torch.tensor([9 / 9, 1 / 14, 4 / 13]))


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 0.99), st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_masks_zero_the_asked_fraction_and_leave_every_tensor_something(
    sparsity: float, sizes: list[int], seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    scores = {str(i): torch.rand(size, generator=generator) + 0.01 for i, size in enumerate(sizes)}
    masks = prune.keep_masks(scores, sparsity)
    assert all(mask.any() for mask in masks.values())
    kept = sum(int(mask.sum()) for mask in masks.values())
    wanted = sum(sizes) - int(sparsity * sum(sizes))
    assert wanted <= kept <= wanted + len(sizes)


def test_training_that_only_harms_is_not_kept(learned: Graph) -> None:
    work = state(learned.copy(), DATA)
    prune.run(work, prune.Options(steps=40, rounds=4, sparsity=0.5, learning_rate=30.0))
    assert work.graph.serialize() == learned.serialize()
    assert any("nothing was pruned" in warning for warning in work.warnings)


def test_a_round_that_is_taken_back_takes_the_statistics_back() -> None:
    rng = np.random.default_rng(0)
    graph = cnn(rng)
    executor = Executor(graph).train()
    pictures = {"x": torch.from_numpy(normal(rng, 8, 1, 8, 8))}

    class Refusing(HeldOut):
        def __init__(self) -> None:
            """Needs no data to refuse."""

        def accuracy(self, executor: Executor) -> float:
            return 0.0

        def accepts(self, accuracy: float) -> bool:
            return False

    def smallest(masks: Masks, sparsity: float, optimizer: torch.optim.Optimizer) -> Masks:
        return keep_masks({name: executor.weights[name].detach().abs() for name in masks}, sparsity)

    masks = Gradual(
        executor, graph.prunable(), smallest, sparsity=0.9, rounds=2, ramp=1.0, held_out=Refusing()
    )
    optimizer = torch.optim.Adam(masks.parameters())
    before = executor.statistics()
    assert before
    masks.begin(0.4, optimizer)
    executor(pictures)
    assert any(not torch.equal(now, before[name]) for name, now in executor.statistics().items())
    masks.begin(0.8, optimizer)
    assert masks.taken_back
    for name, now in executor.statistics().items():
        torch.testing.assert_close(now, before[name], rtol=0, atol=0)

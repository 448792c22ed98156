"""Training: it learns, it repeats itself exactly, it stops when told, and it can do without labels."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from blobs import blobs
from onnx import helper
from tiny_models import mlp, model, normal
from torch import Tensor

from edgepress_compression.errors import CompressionCancelledError, TrainingError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.training import judge
from edgepress_compression.training.judge import mean_loss
from edgepress_compression.training.loop import Schedule, Teacher, fine_tune, top1
from edgepress_compression.training.losses import Loss, loss_for

torch.set_num_threads(1)
SPLIT = blobs(1000).split("train")
ROWS = np.arange(len(SPLIT))


class Free:
    """No constraint: every weight is trained."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor

    def parameters(self) -> list[Tensor]:
        return list(self.executor.weights.values())

    def begin(self, fraction: float, optimizer: torch.optim.Adam) -> None:
        pass

    def collect(self) -> None:
        pass

    def apply(self) -> None:
        pass


def trained(
    graph: Graph, loss: Loss, *, steps: int = 80, teacher: Teacher | None = None, seed: int = 0
) -> Executor:
    executor = Executor(graph)
    schedule = Schedule(steps=steps, batch_size=32, learning_rate=1e-2)
    fine_tune(executor, SPLIT, loss, Free(executor), schedule, rows=ROWS, teacher=teacher, seed=seed)
    return executor


def labels_only(graph: Graph) -> Loss:
    return loss_for(graph, "classification", label_share=1.0)


def test_labels_are_learned() -> None:
    graph = mlp(np.random.default_rng(0))
    before = top1(Executor(graph), SPLIT, ROWS, "y")
    after = top1(trained(graph, labels_only(graph)), SPLIT, ROWS, "y")
    assert before < 0.6
    assert after > 0.95


def test_answers_of_the_original_are_learned_without_labels() -> None:
    teacher_graph = mlp(np.random.default_rng(0))
    good = trained(teacher_graph, labels_only(teacher_graph))
    good.write_back(teacher_graph)
    student = mlp(np.random.default_rng(5))
    loss = loss_for(student, "classification", label_share=0.0)
    blind = blobs(1000).split("train")
    teacher = Teacher(Executor(teacher_graph), blind)
    learned = trained(student, loss, teacher=teacher)
    assert top1(learned, SPLIT, ROWS, "y") > 0.95


def test_the_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    graph = mlp(np.random.default_rng(0))
    one, two, other = (trained(graph, labels_only(graph), steps=10, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.weights["w1"], two.weights["w1"])
    assert not torch.equal(one.weights["w1"], other.weights["w1"])


def test_other_tasks_approach_the_answers_of_every_output() -> None:
    graph = mlp(np.random.default_rng(0))
    loss = loss_for(graph, "detection", label_share=0.5)
    assert loss.label_share == 0.0
    student = mlp(np.random.default_rng(5))
    teacher = Teacher(Executor(graph), SPLIT)
    x = {"x": SPLIT.fetch(ROWS)["x"]}
    target = Executor(graph).run(x)["y"]

    def distance(executor: Executor) -> float:
        return float(((executor.run(x)["y"] - target) ** 2).mean() / target.var())

    assert distance(trained(student, loss, teacher=teacher)) < 0.2 * distance(Executor(student))


def test_a_model_that_ends_in_softmax_is_trained_through_its_logarithm() -> None:
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Gemm", ["x", "w"], ["h"], transB=1), helper.make_node("Softmax", ["h"], ["y"])]
    proto = model(nodes, {"w": normal(rng, 4, 16)}, input_shape=["N", 16], output_shape=["N", 4])
    graph = load_model(proto.SerializeToString())
    loss = labels_only(graph)
    assert loss.probabilities
    logits = torch.from_numpy(normal(rng, 5, 4))
    labels = torch.tensor([0, 1, 2, 3, 0])
    expected = torch.nn.functional.cross_entropy(logits, labels)
    assert float(loss({"y": torch.softmax(logits, 1)}, labels, {})) == pytest.approx(
        float(expected), rel=1e-5
    )


def test_divergence_from_oneself_is_zero_and_positive_from_others() -> None:
    loss = loss_for(mlp(np.random.default_rng(0)), "classification", label_share=0.0)
    logits = torch.from_numpy(normal(np.random.default_rng(1), 6, 4))
    labels = torch.zeros(6, dtype=torch.int64)
    assert float(loss({"y": logits}, labels, {"y": logits})) == pytest.approx(0.0, abs=1e-6)
    assert float(loss({"y": logits.flip(0)}, labels, {"y": logits})) > 0.1


def test_cancelling_stops_at_the_next_step() -> None:
    graph = mlp(np.random.default_rng(0))
    executor = Executor(graph)
    calls = 0

    def cancel_at_third() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise CompressionCancelledError()

    with pytest.raises(CompressionCancelledError):
        fine_tune(
            executor,
            SPLIT,
            labels_only(graph),
            Free(executor),
            Schedule(steps=100, batch_size=8, learning_rate=1e-3),
            rows=ROWS,
            teacher=None,
            seed=0,
            check_cancelled=cancel_at_third,
        )
    assert calls == 3


def test_the_rate_holds_and_then_falls() -> None:
    schedule = Schedule(steps=100, batch_size=1, learning_rate=1.0, hold=0.5)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[:51] == [1.0] * 51
    assert all(earlier > later for earlier, later in pairwise(rates[50:]))
    assert rates[-1] < 0.02


def test_answers_are_computed_once_for_a_row() -> None:
    graph = mlp(np.random.default_rng(0))

    class Counting(Executor):
        rows = 0

        def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:  # type: ignore[override]
            self.rows += len(inputs["x"])
            return super().run(inputs)

    executor = Counting(graph)
    teacher = Teacher(executor, SPLIT)
    teacher(np.array([3, 1, 2]))
    answers = teacher(np.array([2, 7]))
    assert executor.rows == 4
    expected = Executor(graph).run(SPLIT.fetch(np.array([2, 7])))["y"]
    np.testing.assert_allclose(answers["y"].numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("steps", "last"), [(1, 1), (12, 1), (19, 1), (20, 2), (35, 3)])
def test_the_loss_it_gives_is_the_mean_of_the_last_tenth(steps: int, last: int) -> None:
    graph = mlp(np.random.default_rng(0))
    said: list[float] = []

    class Telling(Loss):
        def __call__(self, *arguments: Any) -> Tensor:
            value = super().__call__(*arguments)
            said.append(float(value.detach()))
            return value

    loss = labels_only(graph)
    telling = Telling(**{one.name: getattr(loss, one.name) for one in fields(loss)})
    executor = Executor(graph)
    schedule = Schedule(steps=steps, batch_size=32, learning_rate=1e-2)
    found = fine_tune(executor, SPLIT, telling, Free(executor), schedule, rows=ROWS, teacher=None, seed=0)
    assert len(said) == steps
    assert found == pytest.approx(np.mean(said[-last:]), rel=1e-6)


def normalized() -> Graph:
    """Batch normalization of the inputs, whose statistics are far off, then a dense layer."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("BatchNormalization", ["x", "scale", "shift", "mean", "var"], ["n"], momentum=0.5),
        helper.make_node("Gemm", ["n", "w"], ["y"], transB=1),
    ]
    weights = {
        "scale": np.ones(16, np.float32), "shift": np.zeros(16, np.float32),
        "mean": np.full(16, 5, np.float32), "var": np.full(16, 9, np.float32), "w": normal(rng, 4, 16),
    }  # fmt: skip
    return load_model(model(nodes, weights, input_shape=["N", 16], output_shape=["N", 4]).SerializeToString())


def test_the_best_weights_come_back_with_their_statistics(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def told(*arguments: Any) -> float:
        asked.append(mean_loss(*arguments))
        return asked[-1]

    monkeypatch.setattr(judge, "mean_loss", told)
    graph = normalized()
    executor = Executor(graph).train()
    held_out, rows, loss = ROWS[:200], ROWS[200:240], labels_only(graph)
    wild = Schedule(steps=400, batch_size=4, learning_rate=0.3, patience=3, hold=0.9)
    fine_tune(
        executor,
        SPLIT,
        loss,
        Free(executor),
        wild,
        rows=rows,
        teacher=None,
        seed=0,
        held_out=held_out,
    )
    assert asked[-1] > min(asked)
    assert mean_loss(executor, SPLIT, loss, None, held_out) == min(asked)


@pytest.mark.parametrize("good", [0, 30])
def test_statistics_that_went_to_pieces_are_put_back(good: int) -> None:
    graph = normalized()
    fetched = 0

    def fetch(rows: np.ndarray) -> dict[str, np.ndarray]:
        nonlocal fetched
        fetched += 1
        inputs = SPLIT.fetch(rows)
        return {"x": np.full_like(inputs["x"], np.nan)} if fetched > good else inputs

    executor = Executor(graph).train()
    schedule = Schedule(steps=100, batch_size=32, learning_rate=1e-2)
    broken = replace(SPLIT, fetch=fetch)
    loss = labels_only(graph)
    with pytest.raises(TrainingError, match=f"step {good + 1} of 100"):
        fine_tune(executor, broken, loss, Free(executor), schedule, rows=ROWS, teacher=None, seed=0)
    after = load_model(graph.serialize())
    executor.write_back(after)
    assert np.isfinite(after.weights["mean"]).all()
    assert np.isfinite(executor.run(SPLIT.fetch(ROWS))["y"]).all()
    if not good:
        assert after.serialize() == graph.serialize()

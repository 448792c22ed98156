"""What a training is told: optimizer, precision, variations, when to stop; and what cannot be done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from blobs import blobs
from onnx import helper
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.errors import TrainingError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import TrainingData, training_data
from edgepress_compression.passes.tune import Training, tune
from edgepress_compression.training.augment import Augment
from edgepress_compression.training.constraint import Free, Masked
from edgepress_compression.training.loop import Schedule, Teacher, fine_tune, top1
from edgepress_compression.training.losses import loss_for
from edgepress_compression.training.precision import half_width, has_bfloat16
from edgepress_devices.profile import load_profile

torch.set_num_threads(1)
CPU = torch.device("cpu")
SPLIT = blobs(1000).split("train")
ROWS = np.arange(len(SPLIT))
QUICK = Schedule(steps=80, batch_size=32, learning_rate=1e-2)


def trained(
    graph: Graph, schedule: Schedule, *, split: Any = SPLIT, rows: np.ndarray = ROWS, **more: Any
) -> Executor:
    executor = Executor(graph)
    loss = loss_for(graph, "classification", label_share=1.0)
    constraint = more.pop("constraint", Free)(executor)
    fine_tune(executor, split, loss, constraint, schedule, rows=rows, teacher=None, seed=0, **more)
    return executor


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "sgd", "learning_rate": 0.1},
        {"weight_decay": 0.01},
        {"optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 1e-3},
        {"warm_up": 0.2},
        {"augment": Augment(noise=0.05)},
    ],
    ids=str,
)
def test_each_way_of_training_learns(changes: dict[str, Any]) -> None:
    executor = trained(mlp(np.random.default_rng(0)), replace(QUICK, **changes))
    assert top1(executor, SPLIT, ROWS, "y") > 0.95


def test_decay_shrinks_matrices_and_leaves_biases() -> None:
    graph = mlp(np.random.default_rng(0))
    slow = replace(QUICK, learning_rate=1e-2, weight_decay=20.0)

    class Still(Free):
        """No gradient: what moves, moves by decay."""

        def collect(self) -> None:
            for parameter in self.parameters():
                assert parameter.grad is not None
                parameter.grad.zero_()

    executor = trained(graph, slow, constraint=Still)
    assert float(executor.weights["w1"].detach().abs().max()) < 0.01 * np.abs(graph.weights["w1"]).max()
    np.testing.assert_array_equal(executor.weights["b1"].detach().numpy(), graph.weights["b1"])


def test_the_rate_rises_in_the_warm_up_and_falls_after_it() -> None:
    schedule = Schedule(steps=100, batch_size=1, learning_rate=1.0, warm_up=0.1)
    rates = [schedule.rate(step) for step in range(100)]
    assert rates[0] < 0.1
    assert rates[:11] == sorted(rates[:11])
    assert max(rates) == rates[10] == 1.0
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_held_out_samples_end_a_training_that_gains_nothing_and_get_the_best_weights() -> None:
    graph = mlp(np.random.default_rng(0))
    held_out, rows = ROWS[:200], ROWS[200:240]
    wild = Schedule(steps=4000, batch_size=8, learning_rate=0.05, patience=3, hold=0.9)
    said: list[float] = []
    executor = trained(
        graph, wild, rows=rows, held_out=held_out, progress=lambda fraction, message: said.append(fraction)
    )
    assert all(fraction < 1.0 for fraction in said)
    to_the_end = trained(graph, replace(wild, patience=0), rows=rows)
    loss = loss_for(graph, "classification", label_share=1.0)

    def judged(one: Executor) -> float:
        outputs = {name: torch.from_numpy(a) for name, a in one.run(SPLIT.fetch(held_out)).items()}
        return float(loss(outputs, torch.from_numpy(np.asarray(SPLIT.labels[held_out])), {}))

    assert judged(executor) <= judged(to_the_end)


def test_a_loss_that_is_no_number_stops_in_words_and_the_last_good_weights_are_kept() -> None:
    graph = mlp(np.random.default_rng(0))
    executor = Executor(graph)
    loss = loss_for(graph, "classification", label_share=1.0)
    fetched = 0

    def fetch(rows: np.ndarray) -> dict[str, np.ndarray]:
        nonlocal fetched
        fetched += 1
        inputs = SPLIT.fetch(rows)
        return {"x": np.full_like(inputs["x"], np.nan)} if fetched > 50 else inputs

    broken = replace(SPLIT, fetch=fetch)
    with pytest.raises(TrainingError, match=r"step 51 of 100.*Lower learning_rate"):
        fine_tune(
            executor, broken, loss, Free(executor), replace(QUICK, steps=100), rows=ROWS, teacher=None, seed=0
        )
    expected = trained(graph, replace(QUICK, steps=100)).weights  # all finite, further on
    assert all(bool(torch.isfinite(weight).all()) for weight in executor.weights.values())
    assert not np.array_equal(executor.weights["w1"].detach().numpy(), graph.weights["w1"])
    assert set(expected) == set(executor.weights)


def test_a_label_that_is_no_class_is_named() -> None:
    labels = SPLIT.labels.copy()
    labels[7] = 9
    with pytest.raises(TrainingError, match="Sample 7 has the label 9, and the model has the classes 0 to 3"):
        trained(mlp(np.random.default_rng(0)), QUICK, split=replace(SPLIT, labels=labels))


def test_three_samples_are_trained_on_and_none_are_refused() -> None:
    graph = mlp(np.random.default_rng(0))
    executor = trained(graph, QUICK, rows=ROWS[:3])
    assert top1(executor, SPLIT, ROWS[:3], "y") == 1.0
    with pytest.raises(TrainingError, match="no sample to train on"):
        trained(graph, QUICK, rows=ROWS[:0])


def test_masked_weights_stay_zero_and_fixed_ones_stay() -> None:
    graph = mlp(np.random.default_rng(0))

    def masked(executor: Executor) -> Masked:
        mask = torch.ones(32, 16, dtype=torch.bool)
        mask[:, 3] = False
        return Masked(executor, {"w1": mask}, fixed={"w2"})

    executor = trained(graph, QUICK, constraint=masked)
    assert not executor.weights["w1"][:, 3].any()
    np.testing.assert_array_equal(executor.weights["w2"].detach().numpy(), graph.weights["w2"])


def test_a_price_of_the_constraint_is_paid() -> None:
    class Priced(Free):
        def penalty(self) -> torch.Tensor:
            return 10 * torch.stack([weight.abs().sum() for weight in self.parameters()]).sum()

    free = trained(mlp(np.random.default_rng(0)), QUICK)
    priced = trained(mlp(np.random.default_rng(0)), QUICK, constraint=Priced)
    assert float(priced.weights["w1"].detach().abs().sum()) < 0.5 * float(
        free.weights["w1"].detach().abs().sum()
    )


def test_mixed_samples_ask_the_teacher_for_the_mixture() -> None:
    rng = np.random.default_rng(0)
    graph = cnn(rng)
    pictures = {"x": normal(rng, 30, 1, 8, 8)}
    split = replace(SPLIT, labels=rng.integers(0, 3, 30), fetch=lambda rows: {"x": pictures["x"][rows]})
    asked: list[np.ndarray] = []

    class Listening(Executor):
        def forward(self, inputs: Any, watch: Any = None) -> Any:
            asked.append(inputs["x"].numpy().copy())
            return super().forward(inputs, watch)

    executor = Executor(graph)
    fine_tune(
        executor, split, loss_for(graph, "classification", label_share=0.5), Free(executor),
        Schedule(steps=1, batch_size=10, learning_rate=1e-3, augment=Augment(mixup=1.0)),
        rows=np.arange(30), teacher=Teacher(Listening(graph), split), seed=0,
    )  # fmt: skip
    (batch,) = asked
    known = sum(bool((np.abs(pictures["x"] - one).max(axis=(1, 2, 3)) < 1e-6).any()) for one in batch)
    assert known <= 3  # those that were mixed with themselves


@pytest.mark.parametrize("consistent", [False, True])
def test_a_consistent_teacher_answers_what_the_student_sees(consistent: bool) -> None:
    rng = np.random.default_rng(0)
    graph = cnn(rng)
    pictures = {"x": normal(rng, 30, 1, 8, 8)}
    split = replace(SPLIT, labels=rng.integers(0, 3, 30), fetch=lambda rows: {"x": pictures["x"][rows]})
    seen: dict[str, list[np.ndarray]] = {"student": [], "teacher": []}

    class Listening(Executor):
        who = "student"

        def forward(self, inputs: Any, watch: Any = None) -> Any:
            seen[self.who].append(inputs["x"].numpy().copy())
            return super().forward(inputs, watch)

    student, teacher = Listening(graph), Listening(graph)
    teacher.who = "teacher"
    fine_tune(
        student, split, loss_for(graph, "classification", label_share=0.5), Free(student),
        Schedule(steps=3, batch_size=10, learning_rate=1e-3, shift=0.3, consistent=consistent),
        rows=np.arange(30), teacher=Teacher(teacher, split), seed=0,
    )  # fmt: skip
    same = [np.array_equal(a, b) for a, b in zip(seen["student"], seen["teacher"], strict=True)]
    assert same == [consistent] * 3


def test_what_the_teacher_sees_inside_pulls_the_student() -> None:
    graph, other = mlp(np.random.default_rng(0)), mlp(np.random.default_rng(5))
    x = {"x": SPLIT.fetch(ROWS[:50])["x"]}

    def hidden(one: Executor) -> np.ndarray:
        weight, bias = one.weights["w1"].detach().numpy(), one.weights["b1"].detach().numpy()
        return np.maximum(x["x"] @ weight.T + bias, 0)

    target = hidden(Executor(graph))
    distances = []
    for weight in (0.0, 10.0):
        student = Executor(other)
        fine_tune(
            student, SPLIT, loss_for(other, "classification", label_share=0.0), Free(student),
            replace(QUICK, feature_match=weight), rows=ROWS, teacher=Teacher(Executor(graph), SPLIT), seed=0,
            matched=["r"],
        )  # fmt: skip
        distances.append(float(((hidden(student) - target) ** 2).mean()))
    assert distances[1] < 0.5 * distances[0]


def tuned(training: Training, graph: Graph | None = None) -> tuple[Executor, PassState]:
    graph = graph or mlp(np.random.default_rng(0))
    state = PassState(graph=graph, profile=load_profile("x86-pc"), dataset=blobs(1000))
    data = training_data(state)
    assert isinstance(data, TrainingData)
    executor = Executor(graph)
    tune(state, executor, data, Free(executor), training, label="training")
    return executor, state


def test_a_recipe_can_say_all_of_it() -> None:
    training = Training(
        steps=60, batch_size=32, learning_rate=0.05, label_share=1.0, optimizer="sgd", weight_decay=1e-4,
        warm_up=0.1, precision="auto", early_stop=5, flip=True, augment=Augment(noise=0.01), train_mode=True,
        feature_match=0.1, scale_batch=True,
    )  # fmt: skip
    executor, _ = tuned(training)
    assert top1(executor, SPLIT, ROWS, "y") > 0.9
    assert not executor.training


def test_batch_statistics_are_trained_where_a_recipe_wants_it() -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["p"]),
        helper.make_node("BatchNormalization", ["p", "scale", "shift", "mean", "var"], ["n"]),
        helper.make_node("Flatten", ["n"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["y"], transB=1),
    ]
    weights = {
        "shape": np.array([-1, 16, 1, 1], np.int64),
        "scale": np.ones(16, np.float32), "shift": np.zeros(16, np.float32),
        "mean": np.full(16, 5, np.float32), "var": np.full(16, 9, np.float32), "w": normal(rng, 4, 16),
    }  # fmt: skip
    graph = load_model(
        model(nodes, weights, input_shape=["N", 16], output_shape=["N", 4]).SerializeToString()
    )
    training = Training(steps=100, batch_size=64, label_share=1.0, train_mode=True, learning_rate=1e-2)
    executor, state = tuned(training, graph)
    executor.write_back(state.graph)
    inputs = SPLIT.fetch(ROWS)["x"]
    np.testing.assert_allclose(state.graph.weights["mean"], inputs.mean(axis=0), atol=0.2)
    fixed, state = tuned(Training(steps=10, label_share=1.0), load_model(graph.serialize()))
    fixed.write_back(state.graph)
    np.testing.assert_array_equal(state.graph.weights["mean"], graph.weights["mean"])


@pytest.mark.parametrize(
    ("precision", "op_types", "macs", "expected"),
    [
        ("fp32", {"Conv"}, 10**9, False),
        ("bf16", {"Gemm"}, 10, True),
        ("bf16", {"Conv", "FakeQuantize"}, 10**9, False),
        ("auto", {"Gemm"}, 10**9, False),
        ("auto", {"Conv"}, 2_300_000, False),
        ("auto", {"Conv"}, None, False),
        ("auto", {"Conv"}, 10**9, has_bfloat16(CPU)),
    ],
)
def test_half_width_is_for_large_convolutions_without_integers(
    precision: Any, op_types: set[str], macs: int | None, expected: bool
) -> None:
    assert half_width(precision, frozenset(op_types), macs, CPU) is expected

"""What a pass may train on, said by the data set's size and the model's work."""

from __future__ import annotations

import numpy as np
import pytest
from blobs import blobs, state
from onnx import helper
from tiny_models import mlp, model, normal

from edgepress_compression.data.dataset import dataset_from_arrays
from edgepress_compression.graph.load import load_model
from edgepress_compression.passes.calibration_rows import calibration_rows
from edgepress_compression.passes.training_data import batch_limit, step_budget, training_data

RNG = np.random.default_rng(0)


def test_enough_samples_teach_labels_and_a_tenth_is_held_out() -> None:
    data = training_data(state(mlp(RNG), blobs(1000)))
    assert data is not None
    assert data.kind == "labels"
    assert len(data.rows) + len(data.held_out) == len(data.split) == 800
    assert len(data.held_out) == 80
    assert not set(data.rows.tolist()) & set(data.held_out.tolist())


@pytest.mark.parametrize(("samples", "kind"), [(624, "answers"), (625, "labels")])
def test_fewer_than_500_training_samples_teach_answers_only(samples: int, kind: str) -> None:
    data = training_data(state(mlp(RNG), blobs(samples)))
    assert data is not None
    assert data.kind == kind


def test_fewer_than_20_samples_a_class_teach_answers_only() -> None:
    work = state(mlp(RNG, classes=41), blobs(1000))
    data = training_data(work)
    assert data is not None
    assert data.kind == "answers"
    assert any("too few" in warning for warning in work.warnings)


def test_where_labels_are_all_there_is_few_are_enough_and_none_is_held_out() -> None:
    data = training_data(state(mlp(RNG), blobs(60)), labels_only=True)
    assert data is not None
    assert (data.kind, len(data.rows), len(data.held_out)) == ("labels", len(data.split), 0)
    more = training_data(state(mlp(RNG), blobs(1000)), labels_only=True)
    assert more is not None and len(more.held_out) == 80


def test_a_data_set_that_only_tests_is_not_trained_on() -> None:
    arrays = {"x": normal(RNG, 900, 16), "labels": RNG.integers(0, 4, 900), "split": np.array(["test"] * 900)}
    work = state(mlp(RNG), dataset_from_arrays("only test", arrays))
    assert training_data(work) is None
    assert any("no split named train" in warning for warning in work.warnings)


def test_a_model_too_large_for_the_budget_is_not_trained_on_labels() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    proto = model(
        nodes, {"w": normal(RNG, 4, 300, 1, 1)}, input_shape=["N", 300, 300, 300], output_shape=["N", 4]
    )
    work = state(load_model(proto.SerializeToString()), blobs(1000))
    assert work.graph.macs() == 4 * 300 * 300 * 300
    data = training_data(work)
    assert data is not None
    assert data.kind == "answers"
    assert any("too large" in warning for warning in work.warnings)


def test_steps_end_with_the_first_limit() -> None:
    graph = mlp(RNG)
    assert graph.macs() == 16 * 32 + 32 * 4
    assert step_budget(graph, 1000, steps=50, batch_size=10) == 50
    assert step_budget(graph, 1000, steps=5000, batch_size=10, most_epochs=3) == 300
    assert step_budget(graph, 1000, steps=5000, batch_size=10, most_gmacs=3 * 640 * 10 * 7 / 1e9 + 1e-12) == 7
    assert step_budget(graph, 1, steps=10, most_epochs=0.1) == 1


def test_a_fixed_batch_is_kept() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    proto = model(nodes, {"w": normal(RNG, 4, 4)}, input_shape=[2, 4], output_shape=[2, 4])
    assert batch_limit(load_model(proto.SerializeToString()), 100) == 2
    assert batch_limit(mlp(RNG), 100) == 100


def test_what_calibrates_is_not_what_judges() -> None:
    work = state(mlp(RNG), blobs(1000))
    data, looked_at = training_data(work), calibration_rows(work, 700)
    assert data is not None and looked_at is not None
    assert not set(data.held_out.tolist()) & set(looked_at.rows.tolist())

"""Metrics against counting by hand, and running models in onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import cnn, mlp

from edgepress_compression.artifact.probe import check_outputs, probe_inputs
from edgepress_compression.data.dataset import Dataset, dataset_from_arrays
from edgepress_compression.detection import Boxes, average_precision, decode_fastestdet, iou
from edgepress_compression.errors import CompressionCancelledError, DatasetError, GraphError
from edgepress_compression.evaluate import evaluate, open_session, paired_latency, run
from edgepress_compression.expect import make_probe
from edgepress_compression.footprint import resident_bytes
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.metric import MeanAveragePrecision, Top1, wilson_interval

# Brown, Cai and DasGupta 2001 discuss the interval; the figures are its formula worked by hand.
WILSON = [
    (0, 10, 0.0, 0.2775),
    (5, 10, 0.2366, 0.7634),
    (10, 10, 0.7225, 1.0),
    (9173, 10_000, 0.9117, 0.9225),
]


@pytest.mark.parametrize(("successes", "n", "low", "high"), WILSON)
def test_the_wilson_interval(successes: int, n: int, low: float, high: float) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-4)


def test_top_1_counts_right_answers() -> None:
    metric = Top1()
    metric.add(np.array([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]]), np.array([1, 1, 1]))
    metric.add(np.array([[5.0, 2.0]]), np.array([0]))
    assert (metric.result().value, metric.result().n) == (0.75, 4)
    with pytest.raises(DatasetError, match="one score for each class"):
        metric.add(np.zeros((2, 3, 4)), np.array([1, 1]))


def digits_like(graph: Graph, count: int = 23) -> tuple[Dataset, int]:
    """Noise labelled with the model's own answers, but for every third sample; and how many are right."""
    rng = np.random.default_rng(0)
    shape = [side if isinstance(side, int) else count for side in graph.inputs[0].shape]
    shape[0] = count
    x = rng.standard_normal(shape).astype(np.float32)
    answers = np.concatenate([run(open_session(graph.serialize()), {"x": row[None]})[0] for row in x]).argmax(
        axis=1
    )
    wrong = np.arange(count) % 3 == 0
    labels = np.where(wrong, (answers + 1) % 3, answers)
    arrays = {"x": x, "labels": labels, "split": np.full(count, "test")}
    return dataset_from_arrays("noise", arrays), int((~wrong).sum())


def test_accuracy_is_that_of_the_model_in_onnxruntime() -> None:
    graph = cnn(np.random.default_rng(0))
    data, right = digits_like(graph)
    fractions: list[float] = []
    found = evaluate(graph.serialize(), data.split("test"), progress=fractions.append)
    assert (found.value, found.n, found.metric) == (right / 23, 23, "top-1")
    assert fractions[-1] == 1.0


def test_a_model_with_a_fixed_batch_is_fed_whole_batches_and_counts_each_sample_once() -> None:
    graph = cnn(np.random.default_rng(0))
    data, right = digits_like(graph)
    for value in (*graph.proto.graph.input, *graph.proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 4
    fixed = load_model(graph.serialize())
    assert evaluate(fixed.serialize(), data.split("test")).value == right / 23


def test_what_progress_raises_ends_the_evaluation() -> None:
    graph = cnn(np.random.default_rng(0))
    data, _ = digits_like(graph)

    def stop(fraction: float) -> None:
        raise CompressionCancelledError

    with pytest.raises(CompressionCancelledError):
        evaluate(graph.serialize(), data.split("test"), progress=stop)


def test_a_model_that_onnxruntime_cannot_run_is_a_graph_error() -> None:
    with pytest.raises(GraphError, match="onnxruntime cannot run this model"):
        open_session(b"no model")
    session = open_session(mlp(np.random.default_rng(0)).serialize())
    with pytest.raises(GraphError, match="fails on its input"):
        run(session, {"x": np.zeros((1, 3), np.float32)})


def test_latencies_are_taken_in_turns_and_larger_models_take_longer() -> None:
    rng = np.random.default_rng(0)
    small, large = (mlp(rng, inputs=512, hidden=hidden).serialize() for hidden in (8, 4096))
    feed = {"x": np.zeros((1, 512), np.float32)}
    rounds: list[int] = []
    found = paired_latency([small, large], feed, seconds=0.0, min_runs=30, check=lambda: rounds.append(1))
    assert [one.runs for one in found] == [30, 30]
    assert len(rounds) == 30
    assert found[0].p50 < found[1].p50
    assert all(0 < one.p50 <= one.p95 for one in found)


def test_memory_is_measured_in_a_process_of_its_own() -> None:
    model = mlp(np.random.default_rng(0), inputs=1000, hidden=5000).serialize()  # 20 MB of weights
    feed = {"x": np.zeros((1, 1000), np.float32)}
    assert 20e6 < resident_bytes(model, feed) < 200e6
    with pytest.raises(GraphError, match="process of its own"):
        resident_bytes(b"no model", feed)


def test_a_probe_accepts_its_own_model_and_refuses_another() -> None:
    graph, other = cnn(np.random.default_rng(0)), cnn(np.random.default_rng(1))
    probe = make_probe(graph, seed=3)
    assert make_probe(graph, seed=3) == probe

    def answers(one: Graph) -> dict[str, np.ndarray]:
        return {"y": run(open_session(one.serialize()), probe_inputs(probe))[0]}

    assert check_outputs(probe, answers(graph)) is None
    assert check_outputs(probe, answers(other)) is not None


def test_overlap_of_boxes() -> None:
    first = np.array([[0.0, 0.0, 2.0, 2.0]])
    second = np.array([[1.0, 1.0, 3.0, 3.0], [5.0, 5.0, 6.0, 6.0], [0.0, 0.0, 2.0, 2.0]])
    np.testing.assert_allclose(iou(first, second), [[1 / 7, 0, 1]])


def boxes(*rows: tuple[float, ...]) -> Boxes:
    """(class, score, x1, y1, x2, y2)"""
    table = np.array(sorted(rows, key=lambda row: -row[1]))
    return Boxes(table[:, 0].astype(int), table[:, 1], table[:, 2:])


def test_average_precision_by_hand() -> None:
    truth = [np.array([[0, 0.0, 0.0, 0.2, 0.2], [0, 0.5, 0.5, 0.9, 0.9]], np.float32)]
    right, also_right = (0, 0.9, 0.0, 0.0, 0.2, 0.2), (0, 0.3, 0.5, 0.5, 0.9, 0.9)
    wrong, twice = (0, 0.8, 0.3, 0.0, 0.4, 0.1), (0, 0.7, 0.0, 0.0, 0.2, 0.2)
    assert average_precision([boxes(right, also_right)], truth, 0) == pytest.approx(1.0)
    # one of two found: precision 1 up to recall 0.5 (51 of 101 points), 0 beyond
    assert average_precision([boxes(right, wrong)], truth, 0) == pytest.approx(51 / 101)
    # a second hit of the same object is wrong: precision 2/3 for the object of the other picture
    apart = [truth[0][:1], truth[0][1:]]
    found = average_precision([boxes(right, twice), boxes(also_right)], apart, 0)
    assert found == pytest.approx((51 + 50 * 2 / 3) / 101)
    # the second hit comes fourth: precision 2/4 for the other 50 points
    assert average_precision([boxes(right, wrong, twice, also_right)], truth, 0) == pytest.approx(
        (51 + 25) / 101
    )


def test_a_fastestdet_cell_becomes_the_box_it_stands_for() -> None:
    output = np.zeros((7, 4, 4), np.float32)
    output[0, 2, 1] = output[0, 2, 2] = 0.9  # two neighbours see the same object
    output[6, 2, 1], output[6, 2, 2] = 0.8, 0.5  # class 1
    output[1, 2, 1], output[1, 2, 2] = (
        np.arctanh(0.5),
        np.arctanh(-0.5),
    )  # both place its centre at x = 1.5 cells
    found = decode_fastestdet(output)
    assert found.classes.tolist() == [1]
    assert found.scores[0] == pytest.approx(0.9**0.6 * 0.8**0.4)
    np.testing.assert_allclose(
        found.corners[0], [1.5 / 4 - 0.25, 0.5 - 0.25, 1.5 / 4 + 0.25, 0.5 + 0.25], atol=1e-6
    )


def test_map_ignores_padding_and_averages_the_classes_that_occur() -> None:
    metric = MeanAveragePrecision("fastestdet")
    output = np.zeros((1, 7, 4, 4), np.float32)
    output[0, 0, 2, 1], output[0, 6, 2, 1] = 0.9, 0.8
    centre = [1.0 / 4, 2.0 / 4]
    truth = [1, centre[0] - 0.25, centre[1] - 0.25, centre[0] + 0.25, centre[1] + 0.25]
    missed = [0, 0.7, 0.7, 0.9, 0.9]
    metric.add(output, np.array([[truth, missed, [-1] * 5]], np.float32))
    assert metric.result().value == pytest.approx(0.5)
    with pytest.raises(DatasetError, match="no decoder"):
        MeanAveragePrecision("yolo")

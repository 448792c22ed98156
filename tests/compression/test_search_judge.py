"""How much accuracy is lost, on few rows: by margins where a count of answers sees nothing."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.data.dataset import dataset_from_arrays
from edgepress_compression.search.judge import Judge

ROWS, CLASSES = 120, 4


def linear(weight: np.ndarray) -> bytes:
    """x (N, inputs) @ weight (inputs, classes)"""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["scores"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", weight.shape[0]])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", weight.shape[1]])],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def weight() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((16, CLASSES))


@pytest.fixture(scope="module")
def judge(weight: np.ndarray) -> Judge:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((ROWS, 16)).astype(np.float32)
    labels = (x @ weight + 1.5 * rng.standard_normal((ROWS, CLASSES))).argmax(axis=1)
    data = dataset_from_arrays("rows", {"x": x, "labels": labels, "split": np.full(ROWS, "test")})
    return Judge(linear(weight), data.split("test"), threads=1, check=lambda: None)


def test_the_same_model_loses_nothing(judge: Judge, weight: np.ndarray) -> None:
    found = judge.look(linear(weight))
    assert (found.drop, found.expected_drop, found.samples) == (0.0, 0.0, ROWS)
    assert found.drop_error is not None and found.drop_error > 0, "no row differed, which proves little"


def test_a_model_that_is_only_surer_of_everything_is_no_better(judge: Judge, weight: np.ndarray) -> None:
    found = judge.look(linear(3 * weight))
    assert found.expected_drop == pytest.approx(0.0, abs=1e-6)


def test_margins_see_harm_before_answers_tip_over(judge: Judge, weight: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    noise = rng.standard_normal(weight.shape)
    drops = [judge.look(linear(weight + scale * noise)).expected_drop or 0.0 for scale in (0.15, 0.5, 1.5)]
    assert 0 < drops[0] < drops[1] < drops[2]


def test_the_first_rows_alone_are_judged_against_the_same_rows(judge: Judge, weight: np.ndarray) -> None:
    found = judge.look(linear(weight), 30)
    assert (found.samples, found.drop) == (30, 0.0)


def test_answers_that_are_no_numbers_are_wrong_and_no_crash(judge: Judge, weight: np.ndarray) -> None:
    broken = weight.copy()
    broken[0, 0] = np.nan
    found = judge.look(linear(broken))
    assert found.drop is not None and np.isfinite(found.drop)
    assert found.expected_drop is not None and np.isfinite(found.expected_drop)

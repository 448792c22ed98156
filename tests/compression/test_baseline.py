"""Baselines: what is looked at in a sample, into which bins it falls, and that artifacts carry it."""

import json
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_artifacts import MODEL, write

from edgepress_compression.artifact import looks
from edgepress_compression.artifact.baseline import (
    BASELINE_MAX_BYTES,
    Answer,
    Baseline,
    Feature,
    Look,
    baseline_json,
    read_baseline,
    size_bytes,
)
from edgepress_compression.artifact.read import decode, read_header
from edgepress_compression.artifact.rebase import write_delta
from edgepress_compression.compress import compress
from edgepress_compression.data.dataset import Split, dataset_from_arrays
from edgepress_compression.data.digits import make_digits_model, write_digits_npz
from edgepress_compression.errors import ArtifactError
from edgepress_compression.measure_baseline import bin_counts, bin_edges, measure_baseline

SMALL = Baseline(
    rows=3,
    looks=(Look("x", "planes", "first"),),
    features=(Feature("x.mean", (0.25, 0.5), (1, 1, 1)),),
    answer=Answer("y", "logits", (2, 1), (*[0] * 19, 3)),
)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """(model, data set file)"""
    folder = tmp_path_factory.mktemp("digits")
    write_digits_npz(folder / "digits.npz")
    return make_digits_model(seed=0), folder / "digits.npz"


# --- in the artifact --------------------------------------------------------------------------------------


def test_an_artifact_carries_it_and_one_without_has_none() -> None:
    header = read_header(write(MODEL, baseline=SMALL))
    assert read_baseline(header.baseline) == SMALL
    assert decode(write(MODEL, baseline=SMALL)) == MODEL
    plain = read_header(write(MODEL))
    assert plain.baseline is None and read_baseline(plain.baseline) is None


def test_without_one_the_bytes_are_those_of_before() -> None:
    assert b"baseline" not in msgspec.json.encode(read_header(write(MODEL)))


def test_a_delta_has_the_whole_artifacts() -> None:
    other = MODEL.replace(b"tiny", b"tinY", 1)
    delta = write_delta(write(MODEL, baseline=SMALL), write(other))
    assert read_baseline(read_header(delta).baseline) == SMALL


def test_the_bytes_are_deterministic() -> None:
    assert write(MODEL, baseline=SMALL) == write(MODEL, baseline=SMALL)


@pytest.mark.parametrize(
    ("what", "changes"),
    [
        ("rows", {"rows": 0}),
        ("rows", {"rows": 1.5}),
        ("at least one count more than edges", {"features": [["m", [0.1], [1]]]}),
        ("ascend", {"features": [["m", [0.2, 0.1], [1, 1, 1]]]}),
        ("ascend", {"features": [["m", [0.1, 0.1], [1, 1, 1]]]}),
        ("twice", {"features": [["m", [], [1]], ["m", [], [1]]]}),
        ("too many features", {"features": [[f"m{i}", [], [1]] for i in range(33)]}),
        ("negative", {"features": [["m", [], [-1]]]}),
        ("kind", {"looks": [["x", "smells", "", None]]}),
        ("bins", {"answer": ["y", "logits", [1], [1, 2]]}),
        ("a field nobody knows", {"more": 1}),
    ],
)
@pytest.mark.attack("malformed baseline", "is refused in words, and the model decodes all the same")
def test_a_malformed_one_is_refused(what, changes) -> None:
    said = {**baseline_json(SMALL), **changes}
    with pytest.raises(ArtifactError, match="baseline"):
        read_baseline(said)


def test_a_later_version_is_no_baseline_here_and_no_error() -> None:
    assert read_baseline({"v": 2, "anything": ["goes"]}) is None


# --- what is looked at ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "kind", "channels"),
    [
        ((5, 1, 8, 8), "planes", "first"),
        ((5, 3, 32, 32), "planes", "first"),
        ((5, 96, 96, 3), "planes", "last"),
        ((5, 16, 9, 9), "planes", ""),
        ((5, 640), "planes", ""),
        ((5, 32), "columns", ""),
        ((5,), "columns", ""),
    ],
)
def test_how_an_input_is_looked_at(shape, kind, channels) -> None:
    rows = {"x": np.zeros(shape, np.float32)}
    (look,) = looks.choose_looks(rows)
    assert (look.kind, look.channels) == (kind, channels)
    assert len(looks.feature_names([look], rows)) == len(looks.input_features([look], rows, 0))


def test_token_ids_and_their_mask() -> None:
    ids = np.array([[101, 7, 100, 7, 102, 0, 0, 0]] * 2 + [[999] * 8] * 2, np.int64)
    found = looks.choose_looks({"ids": ids, "mask": np.int64(ids > 0)}, unknown=100)
    assert [look.kind for look in found] == ["tokens", "columns"]
    names = looks.feature_names(found[:1], {"ids": ids})
    assert names == ["ids.length", "ids.distinct", "ids.mean", "ids.unknown"]
    assert looks.input_features(found[:1], {"ids": ids}, 0) == [5, 0.8, 317 / 5, 0.2]


@given(st.integers(1, 3), st.integers(1, 40), st.integers(2, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_features_of_pictures_are_plain_numpys(channels, height, width, seed) -> None:
    picture = np.random.default_rng(seed).normal(3, 2, (channels, height, width)).astype(np.float32)
    found = np.array(looks.plane_features(picture)).reshape(channels, 5)
    down = -(-height // 32) if height > 1 else 1
    right = -(-width // (32 if height > 1 else 1024))
    seen = picture[:, ::down, ::right].astype(np.float64)
    assert np.allclose(found[:, 0], seen.mean(axis=(1, 2)))
    assert np.allclose(found[:, 1], seen.std(axis=(1, 2)), atol=1e-6)
    assert (found[:, 2] == seen.min(axis=(1, 2))).all() and (found[:, 3] == seen.max(axis=(1, 2))).all()
    squares = []
    for y in range(0, max(height - 1, 1), down):
        for x in range(0, width - 1, right):
            here = picture[:, y, x].astype(np.float64)
            square = (picture[:, y, x + 1] - here) ** 2
            squares.append(square + (picture[:, y + 1, x] - here) ** 2 if height > 1 else square)
    assert np.allclose(found[:, 4], np.mean(squares, axis=0))


def test_channels_first_and_last_are_the_same_picture() -> None:
    first = np.random.default_rng(0).random((1, 3, 50, 60)).astype(np.float32)
    last = np.ascontiguousarray(np.moveaxis(first, 1, -1))
    look_first, look_last = looks.choose_looks({"x": first}), looks.choose_looks({"x": last})
    found = looks.input_features(look_first, {"x": first}, 0)
    assert looks.input_features(look_last, {"x": last}, 0) == pytest.approx(found)


@pytest.mark.parametrize(
    ("outputs", "form"),
    [
        (np.array([[2.0, -1.0, 0.0]]), "logits"),
        (np.array([[0.2, 0.3, 0.5], [1, 0, 0]]), "probabilities"),
        (np.array([[200, 50, 5]], np.uint8), "counts"),
        (np.array([[0.3]]), "values"),
        (np.zeros((1, 85, 22, 22)), "values"),
    ],
)
def test_what_an_output_is(outputs, form) -> None:
    assert looks.answer_form(outputs) == form
    if form != "values":
        shares = looks.class_shares(form, outputs[0])
        assert shares.sum() == pytest.approx(1.0) and shares.argmax() == outputs[0].argmax()


# --- bins -------------------------------------------------------------------------------------------------

numbers = st.one_of(
    st.floats(-1e6, 1e6, allow_nan=False),
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, 1.0, float("nan"), float("inf")]),
)


@given(st.lists(numbers, min_size=1, max_size=300))
def test_edges_ascend_are_few_and_every_value_is_in_a_bin(values) -> None:
    edges = bin_edges(np.array(values))
    assert len(edges) <= 22
    assert all(a < b for a, b in pairwise(edges))
    assert int(bin_counts(edges, np.array(values)).sum()) == len(values)


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e4))
@settings(max_examples=30)
def test_bins_of_continuous_values_are_tenths(seed, scale) -> None:
    values = np.random.default_rng(seed).normal(scale, scale, 1000)
    counts = bin_counts(bin_edges(values), values)
    assert len(counts) == 10
    assert counts.min() > 90 and counts.max() < 110


def test_a_value_that_is_frequent_has_a_bin_of_its_own() -> None:
    values = np.array([0.0] * 60 + list(np.linspace(0.5, 1.0, 40)))
    counts = bin_counts(bin_edges(values), values)
    assert counts[0] == 0 and counts[1] == 60  # what is less than the least was not seen


def test_a_value_that_never_changes_shows_every_change() -> None:
    edges = bin_edges(np.full(50, 5.0))
    assert len(edges) == 2 and edges[0] < 5.0 < edges[1]


# --- measured ---------------------------------------------------------------------------------------------


def test_compressing_digits_leaves_a_small_baseline_of_the_test_split(digits) -> None:
    model, data = digits
    made = [
        compress(
            model, recipe="none", profile="x86-pc", dataset=data, model_name="digits",
            latency_seconds=0.05, stage_seconds=0.05,
        )
        for _ in range(2)
    ]  # fmt: skip
    assert made[0].artifact == made[1].artifact
    baseline = read_baseline(read_header(made[0].artifact).baseline)
    assert baseline is not None and size_bytes(baseline) < 1000
    assert baseline.rows == 360
    assert [feature.name for feature in baseline.features] == [
        f"input.{stat}" for stat in looks.PLANE_FEATURES
    ]
    assert all(sum(feature.counts) == 360 for feature in baseline.features)
    assert baseline.answer is not None and baseline.answer.form == "logits"
    assert sum(baseline.answer.classes) == sum(baseline.answer.confidence) == 360
    assert min(baseline.answer.classes) > 20  # the ten digits are about equally frequent


def test_no_data_set_is_no_baseline_and_the_report_says_so(digits) -> None:
    made = compress(
        digits[0], recipe="none", profile="x86-pc", model_name="digits",
        latency_seconds=0.05, stage_seconds=0.05,
    )  # fmt: skip
    assert read_header(made.artifact).baseline is None
    assert any("devices cannot tell drift" in warning for warning in made.report["warnings"])


def test_it_is_never_larger_than_a_header_takes() -> None:
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "table",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 900])],
        [numpy_helper.from_array(rng.normal(size=(32, 900)).astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    rows = rng.normal(1e5, 1e3, (1500, 32)).astype(np.float32)
    data = dataset_from_arrays("table", {"x": rows, "labels": np.zeros(1500, np.int64)})
    baseline = measure_baseline(model.SerializeToString(), data.split("train"))
    assert baseline is not None and size_bytes(baseline) <= BASELINE_MAX_BYTES
    assert baseline.answer is not None and len(baseline.answer.classes) == 900
    assert len(baseline.features) >= 10
    assert read_baseline(json.loads(msgspec.json.encode(baseline))) == baseline


def test_an_answer_that_is_no_classifiers_has_features_of_its_own() -> None:
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=1)],
        "mean",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    rows = np.random.default_rng(0).random((100, 4)).astype(np.float32)
    split = Split("test", np.zeros(100, np.int64), lambda chosen: {"x": rows[chosen]})
    baseline = measure_baseline(model.SerializeToString(), split)
    assert baseline is not None
    assert [feature.name for feature in baseline.features] == [
        *(f"x.{column}" for column in range(4)), "answer.mean", "answer.std",
    ]  # fmt: skip
    assert baseline.answer == Answer("y", "values")
    assert baseline.is_of_answer("answer.mean") and not baseline.is_of_answer("x.0")

"""The Open Inference Protocol's bytes, both ways."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgepress_agent.errors import InferenceError
from edgepress_agent.oip import decode_request, decode_response, encode_request, encode_response

DTYPES = [
    "float32",
    "float64",
    "float16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint64",
    "uint32",
    "uint8",
    "bool",
]


def body(**tensor: Any) -> bytes:
    fields = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [1, 2, 3, 4], **tensor}
    return json.dumps({"inputs": [{k: v for k, v in fields.items() if v is not None}]}).encode()


@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]], [1.0, 2.0, 3.0, 4.0]])
def test_json_numbers_may_be_flat_or_nested(data: Any) -> None:
    x = decode_request(body(data=data), None).feeds["x"]
    assert x.dtype == np.float32
    assert x.tolist() == [[1, 2], [3, 4]]


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("too few values", {"data": [1]}, "has 1 values, shape"),
    ("ragged", {"data": [[1], [2, 3]]}, "no array of numbers"),
    ("text", {"data": ["a", "b", "c", "d"]}, "is not FP32"),
    ("a fraction as an integer", {"datatype": "INT64", "data": [1, 2, 3, 4.5]}, "is not INT64"),
    (
        "a fraction as a large integer",
        {"datatype": "UINT64", "data": [1, 2, 3, 1.5]},
        "fractions are no UINT64",
    ),
    ("too large for any type", {"datatype": "UINT64", "data": [1, 2, 3, 2**64]}, "is not UINT64"),
    ("too large for its type", {"datatype": "INT8", "data": [1, 2, 3, 400]}, "is not INT8"),
    ("a truth as a number", {"data": [True, False, True, True]}, "is not FP32"),
    ("an unknown datatype", {"datatype": "BYTES"}, "known: FP32"),
    ("a negative side", {"shape": [-1, 4]}, "no inference request"),
    ("no data", {"data": None}, "neither data nor"),
    (
        "binary that is not there",
        {"data": None, "parameters": {"binary_data_size": 16}},
        "the body ends inside",
    ),
    (
        "binary of another size",
        {"data": None, "parameters": {"binary_data_size": 15}},
        "binary_data_size says 15",
    ),
    (
        "binary of a truth",
        {"data": None, "parameters": {"binary_data_size": True}},
        "binary_data_size says True",
    ),
    (
        "a huge shape",
        {"shape": [2**31, 2**31], "parameters": {"binary_data_size": 4}},
        "binary_data_size says 4",
    ),
]


@pytest.mark.parametrize(("change", "words"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_bad_tensor_is_refused_in_words(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InferenceError, match=words) as caught:
        decode_request(body(**change), None)
    assert caught.value.status == 400


@pytest.mark.parametrize("head", [0, 10**9])
def test_a_head_longer_than_the_body_is_refused(head: int) -> None:
    with pytest.raises(InferenceError, match="the body has"):
        decode_request(body(), head)


def test_bytes_after_the_last_tensor_are_refused() -> None:
    with pytest.raises(InferenceError, match="3 bytes follow"):
        decode_request(body() + b"abc", len(body()))


def test_an_input_twice_is_refused() -> None:
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    with pytest.raises(InferenceError, match="comes twice"):
        decode_request(json.dumps({"inputs": [tensor, tensor]}).encode(), None)


@given(st.binary(max_size=200), st.one_of(st.none(), st.integers(0, 300)))
def test_noise_is_refused(noise: bytes, head: int | None) -> None:
    with pytest.raises(InferenceError):
        decode_request(noise, head)


arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=4, min_side=0, max_side=4))
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), arrays, min_size=1, max_size=3))
def test_binary_tensors_survive_the_way_there_and_back(feeds: dict[str, Any]) -> None:
    request = decode_request(*encode_request(feeds, None))
    _same(request.feeds, feeds)
    assert request.binary_all
    _same(decode_response(*encode_response(request, feeds, model="m", version="1")), feeds)


@given(arrays.filter(lambda a: a.dtype.kind != "f" or bool(np.isfinite(a).all())))
def test_json_tensors_survive_the_way_back(array: Any) -> None:
    request = decode_request(body(), None)
    answer, head = encode_response(request, {"y": array}, model="m", version="1")
    assert head is None
    _same(decode_response(answer, None), {"y": array})


def test_one_output_binary_and_one_as_json() -> None:
    outputs = [{"name": "a", "parameters": {"binary_data": True}}, {"name": "b"}]
    request = decode_request(json.dumps({"id": "7", "inputs": [], "outputs": outputs}).encode(), None)
    assert request.outputs == ["a", "b"]
    both = {"a": np.arange(3, dtype=np.float32), "b": np.arange(2, dtype=np.int64)}
    answer, head = encode_response(request, both, model="m", version="1")
    assert head is not None
    assert len(answer) == head + 12
    assert json.loads(answer[:head])["id"] == "7"
    _same(decode_response(answer, head), both)


def _same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        assert got[name].shape == array.shape
        assert got[name].tobytes() == array.tobytes() or np.array_equal(got[name], array)

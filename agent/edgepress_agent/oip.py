"""The Open Inference Protocol, version 2: requests and responses as bytes, with the binary tensor extension.

Specification: kserve/open-inference-protocol, "inference_rest"; the extension is Triton's "binary tensor
data": the body is a JSON head followed by raw little-endian tensors, in order, and the HTTP header
``Inference-Header-Content-Length`` says how long the head is. An input's ``parameters.binary_data_size``
names its bytes; a request asks for binary outputs with ``parameters.binary_data`` on an output or
``binary_data_output`` on the whole.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgepress_agent.errors import InferenceError
from edgepress_agent.runtime import DTYPES, Arrays

JSON_MAX_BYTES: Final = 16 << 20  # numbers as text become objects of 32 bytes; large tensors travel binary
HEAD_LENGTH: Final = "Inference-Header-Content-Length"
_NUMPY: Final = {datatype: dtype for dtype, datatype in DTYPES.values()}
_DATATYPE: Final = dict(DTYPES.values())

_Name = Annotated[str, msgspec.Meta(max_length=1024)]
_Side = Annotated[int, msgspec.Meta(ge=0, le=2**31)]


class _Input(msgspec.Struct):
    name: _Name
    shape: Annotated[list[_Side], msgspec.Meta(max_length=16)]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()  # empty = absent
    parameters: dict[str, Any] = {}


class _Output(msgspec.Struct):
    name: _Name
    parameters: dict[str, Any] = {}


class _Request(msgspec.Struct):
    inputs: Annotated[list[_Input], msgspec.Meta(max_length=256)]
    id: _Name | None = None
    outputs: Annotated[list[_Output], msgspec.Meta(max_length=256)] = []
    parameters: dict[str, Any] = {}


@dataclass(frozen=True)
class InferRequest:
    id: str | None
    feeds: Arrays
    outputs: list[str]  # empty = all
    binary: frozenset[str]  # outputs to send binary
    binary_all: bool


def decode_request(body: bytes, head_bytes: int | None) -> InferRequest:
    """``head_bytes``: the extension's header, None without it. Raises InferenceError (400)."""
    if head_bytes is not None and not 0 < head_bytes <= len(body):
        raise InferenceError(400, f"{HEAD_LENGTH} is {head_bytes}, the body has {len(body)} bytes")
    head = body if head_bytes is None else body[:head_bytes]
    if len(head) > JSON_MAX_BYTES:
        raise InferenceError(
            413, f"{len(head)} bytes of JSON, at most {JSON_MAX_BYTES} are read: send large tensors binary"
        )
    try:
        request = msgspec.json.decode(head, type=_Request)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InferenceError(400, f"this is no inference request: {error}") from error
    feeds: Arrays = {}
    at = len(head)
    for tensor in request.inputs:
        if tensor.name in feeds:
            raise InferenceError(400, f"input {tensor.name!r} comes twice")
        if tensor.datatype not in _NUMPY:
            raise InferenceError(
                400,
                f"input {tensor.name!r} has datatype {tensor.datatype[:20]!r}; known: {', '.join(_NUMPY)}",
            )
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            feeds[tensor.name] = _from_json(tensor)
        else:
            feeds[tensor.name] = _from_bytes(tensor, memoryview(body)[at:], size)
            at += size
    if at != len(body):
        raise InferenceError(400, f"{len(body) - at} bytes follow the last tensor")
    binary = frozenset(o.name for o in request.outputs if o.parameters.get("binary_data") is True)
    return InferRequest(
        request.id,
        feeds,
        [o.name for o in request.outputs],
        binary,
        request.parameters.get("binary_data_output") is True,
    )


def encode_response(
    request: InferRequest, outputs: Arrays, *, model: str, version: str
) -> tuple[bytes, int | None]:
    """(body, length of its JSON head or None when it is all JSON)."""
    tensors: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name, array in outputs.items():
        tensor: dict[str, Any] = {
            "name": name,
            "shape": list(array.shape),
            "datatype": _DATATYPE[array.dtype.name],
        }
        if request.binary_all or name in request.binary:
            raw.append(_little(array).tobytes())
            tensor["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            tensor["data"] = array.ravel().tolist()
        tensors.append(tensor)
    response: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": tensors}
    if request.id is not None:
        response["id"] = request.id
    head = msgspec.json.encode(response)
    return (b"".join([head, *raw]), len(head)) if raw else (head, None)


# --- the other direction, for the client ------------------------------------------------------------------


def encode_request(feeds: Arrays, outputs: Sequence[str] | None) -> tuple[bytes, int]:
    """A binary request for binary outputs: (body, length of its JSON head). Raises InferenceError (400)."""
    tensors: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name, array in feeds.items():
        if array.dtype.name not in _DATATYPE:
            raise InferenceError(400, f"input {name!r} has type {array.dtype}; known: {', '.join(_DATATYPE)}")
        raw.append(_little(array).tobytes())
        tensors.append(
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": _DATATYPE[array.dtype.name],
                "parameters": {"binary_data_size": len(raw[-1])},
            }
        )
    request: dict[str, Any] = {"inputs": tensors, "parameters": {"binary_data_output": True}}
    if outputs:
        request["outputs"] = [{"name": name} for name in outputs]
    head = msgspec.json.encode(request)
    return b"".join([head, *raw]), len(head)


class _Response(msgspec.Struct):
    outputs: list[_Input]


def decode_response(body: bytes, head_bytes: int | None) -> Arrays:
    """Raises InferenceError (502) for what no agent sends."""
    try:
        response = msgspec.json.decode(body[:head_bytes], type=_Response)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InferenceError(502, f"this is no inference response: {error}") from error
    arrays: Arrays = {}
    at = len(body) if head_bytes is None else head_bytes
    for tensor in response.outputs:
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            arrays[tensor.name] = _from_json(tensor)
        else:
            arrays[tensor.name] = _from_bytes(tensor, memoryview(body)[at:], size)
            at += size
    return arrays


# --- tensors ----------------------------------------------------------------------------------------------


def _from_bytes(tensor: _Input, rest: memoryview, size: Any) -> NDArray[Any]:
    dtype = np.dtype(_NUMPY[tensor.datatype])
    expected = math.prod(tensor.shape) * dtype.itemsize
    if size != expected or isinstance(size, bool):
        raise InferenceError(
            400,
            f"{tensor.name!r} of shape {tensor.shape} has {expected} bytes, binary_data_size says {size!r}",
        )
    if len(rest) < expected:
        raise InferenceError(400, f"the body ends inside {tensor.name!r}: {len(rest)} of {expected} bytes")
    flat = np.frombuffer(rest[:expected], dtype.newbyteorder("<"))
    return flat.astype(dtype, copy=False).reshape(tensor.shape)


def _from_json(tensor: _Input) -> NDArray[Any]:
    if not bytes(tensor.data):
        raise InferenceError(400, f"{tensor.name!r} has neither data nor binary_data_size")
    dtype = np.dtype(_NUMPY[tensor.datatype])
    try:
        values = msgspec.json.decode(tensor.data)
        given = np.asarray(values)
        if dtype == np.uint64 and given.dtype.kind == "f":  # numpy takes 2**63 and more for floats
            given = _exact_uint64(values)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise InferenceError(400, f"the data of {tensor.name!r} is no array of numbers: {error}") from error
    if given.size != math.prod(tensor.shape):
        raise InferenceError(
            400,
            f"{tensor.name!r} has {given.size} values, shape {tensor.shape} takes {math.prod(tensor.shape)}",
        )
    if given.size and not _holds(dtype, given):
        raise InferenceError(400, f"the data of {tensor.name!r} is not {tensor.datatype}")
    return given.astype(dtype).reshape(tensor.shape)


def _exact_uint64(values: Any) -> NDArray[Any]:
    """JSON integers as uint64. Raises ValueError, OverflowError for other numbers."""
    numbers = np.asarray(values, dtype=object)
    if not all(type(number) is int for number in numbers.flat):
        raise ValueError("fractions are no UINT64")
    return numbers.astype(np.uint64)


def _holds(dtype: np.dtype[Any], given: NDArray[Any]) -> bool:
    """Whether JSON values may become this type without changing what they mean."""
    if dtype.kind == "b" or given.dtype.kind == "b":
        return dtype.kind == given.dtype.kind
    if dtype.kind == "f":
        return given.dtype.kind in "fiu"
    if given.dtype.kind not in "iu":
        return False
    limits = np.iinfo(dtype)
    return bool(int(given.min()) >= limits.min and int(given.max()) <= limits.max)


def _little(array: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<"))

"""The operators that onnxruntime really runs for a model: fused, in its own layouts, with shapes.

A graph on paper is not what runs: batch normalization is folded, activations and sums ride on convolutions,
fp32 convolutions move to blocks of channels (NCHWc), quantized ones to integer kernels in NHWC with
transposes around. So onnxruntime is asked: it optimizes the model, writes down what it made of it, and runs
it once, which tells the shape of every value.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
import onnxruntime

from edgepress_compression.errors import GraphError
from edgepress_compression.evaluate import ORT_ERRORS, run
from edgepress_compression.graph.executed_operator import TYPE_NAMES, Tensor, operator_of
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.run_shapes import FREE_LENGTH
from edgepress_devices.operator import Operator

_KERNEL = "_kernel_time"  # how onnxruntime's profile ends the name of a node's event
_PEOPLES_LEVEL: Final = 4  # of the log: errors are raised, and said once
_NUMPY: Final = {
    "tensor(float)": "f4", "tensor(double)": "f8", "tensor(float16)": "f2", "tensor(int64)": "i8",
    "tensor(int32)": "i4", "tensor(int16)": "i2", "tensor(int8)": "i1", "tensor(uint64)": "u8",
    "tensor(uint32)": "u4", "tensor(uint16)": "u2", "tensor(uint8)": "u1", "tensor(bool)": "?",
}  # fmt: skip


@dataclass(frozen=True)
class Executed:
    """A model as it runs, batch 1, free lengths 64."""

    operators: tuple[Operator, ...]  # in the order of execution
    weight_bytes: int  # of all constants, as the runtime holds them
    peak_activation_bytes: int  # inputs, outputs and values between, when most are needed at once


def executed_operators(model: bytes | Graph, *, layout: str = "nchwc") -> list[Operator]:
    """What runs, in its order. `layout`: "nchwc" where the device's runtime moves fp32 convolutions to blocks
    of channels (x86), "nchw" where it does not (`Layout.preferred` of a profile).

    Raises GraphError where onnxruntime cannot run the model.
    """
    return list(executed(model, layout=layout).operators)


def executed(model: bytes | Graph, *, layout: str = "nchwc") -> Executed:
    """The same with the memory that it needs. Raises GraphError."""
    named = named_nodes(model)
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        session = _session(named, Path(folder), layout)
        feed = _feed(session)
        run(session, feed)
        events = json.loads(Path(session.end_profiling()).read_bytes())
        optimized = onnx.load_model(Path(folder) / "optimized.onnx", load_external_data=False)
    return _read(optimized.graph, events, feed)


def named_nodes(model: bytes | Graph) -> bytes:
    """With a name of its own for every node: onnxruntime's profile tells nodes apart by their names."""
    proto = onnx.ModelProto()
    if isinstance(model, Graph):
        proto.CopyFrom(model.proto)
    else:
        proto.ParseFromString(model)
    seen: set[str] = set()
    for number, node in enumerate(proto.graph.node):
        if not node.name or node.name in seen:
            node.name = next((name for name in node.output if name and name not in seen), f"node {number}")
        seen.add(node.name)
    named: bytes = proto.SerializeToString()
    return named


def _session(model: bytes, folder: Path, layout: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _PEOPLES_LEVEL
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    without = ["NchwcTransformer"] if layout == "nchw" else []
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], disabled_optimizers=without
        )
    except ORT_ERRORS as error:
        first = str(error).strip().split("\n")[0].rstrip(".")
        raise GraphError(f"onnxruntime cannot run this model: {first}.") from error


def _feed(session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    feed = {}
    for value in session.get_inputs():
        shape = [
            side if isinstance(side, int) else (1 if position == 0 else FREE_LENGTH)
            for position, side in enumerate(value.shape)
        ]
        if value.type not in _NUMPY:
            raise GraphError(f"The input {value.name!r} is a {value.type}, which nobody can make up.")
        feed[value.name] = np.ones(shape, _NUMPY[value.type])  # a token of every vocabulary, and a true mask
    return feed


def _read(graph: onnx.GraphProto, events: list[dict[str, Any]], feed: Mapping[str, np.ndarray]) -> Executed:
    seen = {
        event["name"].removesuffix(_KERNEL): event["args"]
        for event in events
        if event.get("cat") == "Node" and event["name"].endswith(_KERNEL)
    }
    constants = {one.name: Tensor(tuple(one.dims), TYPE_NAMES[one.data_type]) for one in graph.initializer}
    values = {name: Tensor(array.shape, array.dtype.name) for name, array in feed.items()}
    operators: list[Operator] = []
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        told = seen.get(node.name)
        if told is None:  # the runtime skipped it
            continue
        for name, typed in zip((one for one in node.output if one), told["output_type_shape"], strict=False):
            ((kind, dims),) = typed.items()
            values[name] = Tensor(tuple(dims), kind)
        operators.append(operator_of(node, values, constants))
        nodes.append(node)
    outputs = {info.name for info in graph.output}
    peak = _peak_bytes(nodes, values, set(feed), outputs)
    return Executed(tuple(operators), sum(one.size_bytes for one in constants.values()), peak)


# Executed in place where nobody else reads their input: onnxruntime's allocation planner reuses its memory.
_IN_PLACE: Final = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Relu", "Clip", "Sigmoid", "Tanh", "Erf",
     "Gelu", "HardSwish", "HardSigmoid", "LeakyRelu", "Add", "Mul", "Sub", "Div", "Sqrt", "Softmax"}
)  # fmt: skip


def _peak_bytes(
    nodes: list[onnx.NodeProto], values: Mapping[str, Tensor], inputs: set[str], outputs: set[str]
) -> int:
    """Liveness: a value lives from the node that makes it to the last that reads it."""
    place: dict[str, str] = {}

    def placed(name: str) -> str:
        while name in place:
            name = place[name]
        return name

    last = {name: number for number, node in enumerate(nodes) for name in node.input}
    for number, node in enumerate(nodes):
        source = node.input[0] if node.input else ""
        if node.op_type not in _IN_PLACE or source not in values or source in inputs | outputs:
            continue
        alike = values[source].size_bytes == values[node.output[0]].size_bytes
        if alike and last.get(source) == number:
            place[node.output[0]] = source
    end: dict[str, int] = {}
    for number, node in enumerate(nodes):
        for name in (*node.input, *node.output):
            if name in values:
                end[placed(name)] = number
    for name in outputs:
        end[placed(name)] = len(nodes)
    held = set(inputs)  # the caller holds them
    peak = sum(values[name].size_bytes for name in held)
    for number, node in enumerate(nodes):
        held |= {placed(name) for name in node.output if name in values}
        peak = max(peak, sum(values[name].size_bytes for name in held))
        held = {name for name in held if name in inputs or end.get(name, -1) > number}
    return math.ceil(peak)

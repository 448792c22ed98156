"""Half precision: weights stored in 16 bits, or the whole model computing in them.

`weights`: each weight is stored as fp16 and cast to fp32 when the model is loaded: half the file, the same
speed everywhere, an error of at most 2^-11 of a weight. `graph`: all of the model between its inputs and
outputs computes in fp16, for devices whose runtime gains from it (the profile says so); inputs and outputs
stay fp32. Micikevicius et al. 2018, "Mixed Precision Training", section 3, on what fp16 holds.
"""

from __future__ import annotations

import time
from typing import Literal

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.errors import GraphError, RecipeError
from edgepress_compression.evaluate import open_session
from edgepress_compression.evaluate import run as run_session
from edgepress_compression.graph.learned import learned_weights
from edgepress_compression.graph.model import Graph, attributes
from edgepress_compression.passes.int8.prepare import calibration_batches
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState, Stage

LARGEST = float(np.finfo(np.float16).max)  # 65,504
_LEAST_ELEMENTS = 16  # smaller weights gain less than their Cast node takes
_CHECKED_SAMPLES = 8
# float inputs that stay fp32: the operator takes no other type
_FP32_INPUTS = {"Resize": (2,), "Upsample": (1,), "Range": (0, 1, 2)}
_INTEGER_OPS = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"}


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    compute: Literal["profile", "weights", "graph"] = "profile"  # profile: graph where it gains from fp16


def run(state: PassState, options: Options) -> None:
    """Raises RecipeError for a model that fp16 cannot hold."""
    started = time.monotonic()
    whole = options.compute == "graph" or (options.compute == "profile" and state.profile.fp16.supported)
    state.progress(0.0, "writing half precision")
    if any(node.op_type in _INTEGER_OPS for node in state.graph.proto.graph.node):
        raise RecipeError("fp16 is for models that compute in floats; this one has integers. Leave fp16 out.")
    if whole:
        if not state.profile.fp16.supported:
            state.warn(
                f"{state.profile.name} gains nothing from computing in fp16 ({state.profile.fp16.reason})."
            )
        floats = simplified(state.graph)
        graph = half_graph(floats)
        _check(state, floats, graph)
        count = sum(array.dtype == np.float16 for array in graph.weights.values())
    else:
        graph = state.graph.copy()
        count = half_weights(graph, frozenset(state.codes))
    if count == 0:
        raise RecipeError("fp16 finds no fp32 weights that half precision can hold; use another recipe.")
    state.graph = graph
    state.codes = {
        name: code
        for name, code in state.codes.items()
        if name in graph.weights and graph.weights[name].dtype == np.float32
    }
    state.stages.append(
        Stage(
            name="fp16",
            seconds=time.monotonic() - started,
            bytes_estimate=sum(array.nbytes for array in graph.weights.values()),
            bits=16.0,
            note=f"{count} tensors in half precision; it computes in {'fp16' if whole else 'fp32'}",
        )
    )
    state.progress(1.0, "fp16 done")


def half_weights(graph: Graph, kept: frozenset[str]) -> int:
    """Stores the weights of `graph` in fp16, those in `kept` excepted; says how many."""
    proto = graph.proto.graph
    chosen = [
        name
        for name in sorted(learned_weights(graph) - kept)
        if graph.weights[name].dtype == np.float32
        and graph.weights[name].size >= _LEAST_ELEMENTS
        and float(np.abs(graph.weights[name]).max()) <= LARGEST
    ]
    renamed = {name: f"{name}_fp32" for name in chosen}
    for node in proto.node:
        for position, name in enumerate(node.input):
            if name in renamed:
                node.input[position] = renamed[name]
    casts = [helper.make_node("Cast", [name], [renamed[name]], to=TensorProto.FLOAT) for name in chosen]
    for tensor in proto.initializer:
        if tensor.name in renamed:
            tensor.CopyFrom(
                numpy_helper.from_array(graph.weights[tensor.name].astype(np.float16), tensor.name)
            )
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*casts, *proto.node)]
    del proto.node[:]
    proto.node.extend(copies)
    graph.refresh()
    return len(chosen)


def half_graph(graph: Graph) -> Graph:
    """A graph whose floats are fp16 between the casts of its inputs and outputs. Constants beyond fp16's
    largest, such as a mask's -1e38, become half of it, so that sums with them fit."""
    result = graph.copy()
    proto = result.proto.graph
    fp32 = {
        node.input[position]
        for node in proto.node
        for position in _FP32_INPUTS.get(node.op_type, ())
        if position < len(node.input)
    }
    outputs = {one.name for one in proto.output if _is_fp32(one)}
    renamed = {one.name: f"{one.name}_fp16" for one in proto.input if _is_fp32(one)}
    renamed |= {name: f"{name}_fp16" for name in outputs}
    for tensor in proto.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name not in fp32:
            tensor.CopyFrom(numpy_helper.from_array(_half(graph.weights[tensor.name]), tensor.name))
    for node in proto.node:
        _half_attributes(node, fp32)
        for names in (node.input, node.output):
            for position, name in enumerate(names):
                names[position] = renamed.get(name, name)
    before = [
        helper.make_node("Cast", [one.name], [renamed[one.name]], to=TensorProto.FLOAT16)
        for one in proto.input
        if one.name in renamed
    ]
    after = [
        helper.make_node("Cast", [renamed[one.name]], [one.name], to=TensorProto.FLOAT)
        for one in proto.output
        if one.name in outputs
    ]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (*before, *proto.node, *after)]
    del proto.node[:]
    proto.node.extend(copies)
    del proto.value_info[:]
    result.refresh()
    return result


def _is_fp32(info: onnx.ValueInfoProto) -> bool:
    return bool(info.type.tensor_type.elem_type == TensorProto.FLOAT)


def _half(array: np.ndarray) -> np.ndarray:
    return _fitting(array).astype(np.float16)


def _fitting(array: np.ndarray) -> np.ndarray:
    """What is too large for fp16, infinity included, at half of its largest number."""
    fitting: np.ndarray = np.where(np.abs(array) > LARGEST, np.sign(array) * (LARGEST / 2), array)
    return fitting.astype(array.dtype)


def _half_attributes(node: onnx.NodeProto, fp32: set[str]) -> None:
    """Types that a node names: of a constant, of a cast's result."""
    if node.op_type == "Constant" and node.output[0] in fp32:
        return
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(numpy_helper.from_array(_half(numpy_helper.to_array(attribute.t))))
        elif attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16
    if node.op_type == "Constant" and (
        "value_float" in attributes(node) or "value_floats" in attributes(node)
    ):
        facts = attributes(node)
        value = np.asarray(facts.get("value_float", facts.get("value_floats")), np.float32)
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("value", numpy_helper.from_array(_half(value))))


def _check(state: PassState, floats: Graph, graph: Graph) -> None:
    """Raises RecipeError when onnxruntime cannot run `graph`, or when a number of `floats`, the same in fp32,
    leaves fp16's range on the data's own inputs.

    The fp32 graph is asked: a processor without fp16 kernels computes in fp32, and overflows nowhere.
    """
    advice = 'Take compute = "weights", which only stores fp16.'
    try:
        open_session(graph.serialize())
    except GraphError as error:
        raise RecipeError(f"The model cannot compute in fp16: {error} {advice}") from error
    fitting = floats.copy()
    for name, array in floats.float_weights().items():
        fitting.set_weight(name, _fitting(array))
    watched = fitting.proto
    have = {one.name for one in watched.graph.output}
    inferred = onnx.shape_inference.infer_shapes(watched)
    watched.graph.output.extend(
        one for one in inferred.graph.value_info if _is_fp32(one) and one.name not in have
    )
    session = open_session(watched.SerializeToString())
    names = [one.name for one in session.get_outputs()]
    for feed in calibration_batches(state, _CHECKED_SAMPLES):
        state.check_cancelled()
        for name, one in zip(names, run_session(session, feed), strict=True):
            if np.issubdtype(one.dtype, np.floating) and one.size and np.abs(one).max() > LARGEST:
                raise RecipeError(
                    f"The model's value {name} reaches {np.abs(one).max():,.0f}, and fp16 ends at 65,504. "
                    f"{advice}"
                )

"""Folds what does not depend on the input: shape arithmetic, constants, BatchNorm and Pad into convolutions.

onnxruntime's own "basic" rewrites do it: they keep the meaning of the graph and are the same on every
machine.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime
from onnx import version_converter

from edgepress_compression.errors import GraphError
from edgepress_compression.evaluate import ORT_ERRORS
from edgepress_compression.graph.model import Graph, first_line

PER_CHANNEL_OPSET = 13  # the first whose QuantizeLinear has an axis


def simplified(graph: Graph) -> Graph:
    """An equal graph with fewer nodes, in opset 13 or later. Raises GraphError when onnxruntime cannot
    run it."""
    proto = graph.proto
    if graph.opset < PER_CHANNEL_OPSET:
        try:
            proto = version_converter.convert_version(proto, PER_CHANNEL_OPSET)
        except (RuntimeError, ValueError) as error:
            raise GraphError(
                f"The model cannot be lifted from opset {graph.opset} to {PER_CHANNEL_OPSET}: "
                f"{first_line(error)}. Export it again with opset_version={PER_CHANNEL_OPSET} or later."
            ) from None
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        path = Path(folder) / "simplified.onnx"
        options.optimized_model_filepath = str(path)
        try:
            onnxruntime.InferenceSession(
                proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except ORT_ERRORS as error:
            raise GraphError(f"onnxruntime cannot run this model: {first_line(error)}.") from error
        result = onnx.load(path)
    used = {node.domain for node in result.graph.node} | {""}
    kept = [(entry.domain, entry.version) for entry in result.opset_import if entry.domain in used]
    del result.opset_import[:]
    result.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in kept)
    del result.graph.value_info[:]
    result.producer_name, result.producer_version = graph.proto.producer_name, graph.proto.producer_version
    return Graph(result)

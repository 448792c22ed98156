"""Shapes and types of every value, seen by running the model once: for what shape inference cannot tell."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime

from edgepress_compression.evaluate import open_session, run
from edgepress_compression.graph.model import Graph

FREE_LENGTH = 64  # of a free dimension that is not the batch: the same as Graph.shapes takes


def run_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Shapes of all values for one sample, free lengths 64. Raises GraphError where onnxruntime cannot run
    the model."""
    proto = onnx.ModelProto()
    proto.CopyFrom(graph.proto)
    known = {info.name for info in (*proto.graph.input, *proto.graph.output)}
    for node in proto.graph.node:
        for name in node.output:
            if name and name not in known:
                proto.graph.output.append(onnx.ValueInfoProto(name=name))
                known.add(name)
    session = open_session(
        proto.SerializeToString(), level=onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    )
    feed = {}
    for value in graph.inputs:
        shape = [
            side if isinstance(side, int) else (1 if position == 0 else FREE_LENGTH)
            for position, side in enumerate(value.shape)
        ]
        feed[value.name] = np.ones(shape, value.dtype)  # 1 is a token of every vocabulary, and a true mask
    arrays = run(session, feed)
    shapes = {name: array.shape for name, array in graph.weights.items()}
    shapes |= {name: array.shape for name, array in feed.items()}
    for info, array in zip(session.get_outputs(), arrays, strict=True):
        shapes[info.name] = tuple(np.shape(array))
    return shapes

"""What a person wants to know about a model before compressing it."""

from __future__ import annotations

from collections import Counter

import msgspec

from edgepress_compression.graph.learned import learned_weights
from edgepress_compression.graph.model import Graph


class GraphSummary(msgspec.Struct, frozen=True, kw_only=True):
    """Plain figures of a model. Absent is None."""

    name: str
    opset: int
    inputs: list[dict[str, str | list[int | str]]]  # name, dtype, shape ("N" is the batch)
    outputs: list[dict[str, str | list[int | str]]]
    operators: dict[str, int]  # type -> how many, most frequent first
    parameters: int  # what is learned: no settings or statistics of operators
    weight_bytes: int  # at 4 bytes each
    nonzero: float  # fraction 0..1 of the parameters that are not 0
    macs: int | None  # multiply-accumulates of one sample


def summarize(graph: Graph) -> GraphSummary:
    """Counts operators, weights and work of `graph`."""
    floats = graph.float_weights()
    weights = [floats[name] for name in learned_weights(graph)]
    parameters = sum(array.size for array in weights)
    nonzero = sum(int((array != 0).sum()) for array in weights)
    return GraphSummary(
        name=graph.name,
        opset=graph.opset,
        inputs=[{"name": v.name, "dtype": str(v.dtype), "shape": list(v.shape)} for v in graph.inputs],
        outputs=[{"name": v.name, "dtype": str(v.dtype), "shape": list(v.shape)} for v in graph.outputs],
        operators=dict(Counter(node.op_type for node in graph.proto.graph.node).most_common()),
        parameters=parameters,
        weight_bytes=graph.weight_bytes(),
        nonzero=nonzero / parameters if parameters else 1.0,
        macs=graph.macs(),
    )

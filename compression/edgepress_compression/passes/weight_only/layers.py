"""The matrices of a model's layers, with the moments of their inputs where there is something to look at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph, attributes
from edgepress_compression.passes.calibration_rows import calibration_rows
from edgepress_compression.passes.curvature import Curvature
from edgepress_compression.passes.layer_inputs import Moments, layer_inputs
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import batch_limit

_BATCH = 10


def input_moments(state: PassState, names: Sequence[str], samples: int) -> dict[str, Curvature]:
    """By weight name; all outputs of a layer matter alike. Says in the warnings why none are known."""
    found = calibration_rows(state, samples) if names else None
    moments: dict[str, Moments] = {}
    if found is not None:
        moments = layer_inputs(
            Executor(state.graph),
            found.fetch,
            found.rows,
            names,
            batch_size=batch_limit(state.graph, _BATCH),
            seed=state.seed,
            check_cancelled=state.check_cancelled,
        )
    return {name: _curvature(name, state.graph, moments) for name in names}


def outputs_last(graph: Graph, name: str) -> bool:
    """Whether the matrix `name` is (inputs, outputs) for the layer that reads it."""
    for node, position in graph.users().get(name, []):
        if node.op_type == "MatMul":
            return position == 1
        if node.op_type == "Gemm":
            return not attributes(node).get("transB", 0)
    return False


def _curvature(name: str, graph: Graph, moments: dict[str, Moments]) -> Curvature:
    known = moments.get(name)
    if known is None:
        return Curvature(None, np.ones(1))
    weight = graph.weights[name]
    outputs = weight.shape[0] if known.rows_first else weight.shape[-1]
    return Curvature(known, np.ones(outputs))

"""Makes the probe of an artifact: what a right runtime answers on a generated input."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime

from edgepress_compression.artifact.probe import POSITIONS_MAX, Probe, ProbeOutput, probe_inputs
from edgepress_compression.errors import GraphError
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.generated import input_specs
from edgepress_compression.graph.model import Graph

FLOAT_TOLERANCE = 1e-3  # of the largest output: kernels add in different orders
INTEGER_TOLERANCE = 0.03  # of the largest output: kernels round half steps differently, layer after layer
MARGIN = 4  # times what fused and separate kernels differ by here


def make_probe(graph: Graph, *, sample: Mapping[str, np.ndarray] | None = None, seed: int = 0) -> Probe:
    """Runs the model on a generated input in the range of `sample` and keeps some of its outputs.

    The tolerance is what the same model differs by between onnxruntime's fused and unfused kernels, with
    a margin. Raises GraphError when the model gives NaN or infinity.
    """
    specs = input_specs(graph, sample)
    inputs = probe_inputs(Probe(seed=seed, inputs=specs))
    model = graph.serialize()
    fused = _answers(model, inputs, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
    separate = _answers(model, inputs, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    integer = any(node.op_type == "QuantizeLinear" for node in graph.proto.graph.node)
    outputs = []
    tolerance = 0.0
    for name, answer in fused.items():
        if not np.isfinite(answer).all():
            raise GraphError(f"The output {name} is NaN or infinite on a generated input; check the model.")
        largest = float(np.abs(answer).max(initial=0.0))
        difference = float(np.abs(answer.astype(np.float64) - separate[name]).max(initial=0.0))
        relative = INTEGER_TOLERANCE if integer else FLOAT_TOLERANCE
        tolerance = max(tolerance, relative * largest, MARGIN * difference)
        positions = np.unique(
            np.linspace(0, answer.size - 1, min(POSITIONS_MAX, answer.size)).astype(np.int64)
        )
        outputs.append(
            ProbeOutput(
                name=name,
                shape=answer.shape,
                positions=tuple(positions.tolist()),
                values=tuple(answer.ravel()[positions].astype(np.float64).tolist()),
            )
        )
    return Probe(seed=seed, inputs=specs, outputs=tuple(outputs), rtol=0.0, atol=float(f"{tolerance:.2e}"))


def _answers(
    model: bytes, inputs: Mapping[str, np.ndarray], level: onnxruntime.GraphOptimizationLevel
) -> dict[str, np.ndarray]:
    session = open_session(model, level=level)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, run(session, inputs), strict=True))

"""Small real models as artifacts, for tests of the agent: y = a * x + b on (N, 4), padded to a size."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgepress_compression.artifact.probe import Probe, ProbeInput, ProbeOutput, probe_inputs
from edgepress_compression.artifact.write import write_artifact


def scale_model(factor: float, *, ballast_bytes: int = 0, seed: int = 0) -> bytes:
    """ONNX: y = factor * x, with ``ballast_bytes`` of weights that do not compress and add nothing."""
    noise = np.random.default_rng(seed).integers(0, 2**32, max(1, ballast_bytes // 4), dtype=np.uint32)
    weights = (noise.view(np.float32)) if ballast_bytes else np.zeros(1, np.float32)
    weights = np.nan_to_num(weights, nan=1.0, posinf=1.0, neginf=1.0)
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["scaled"]),
        helper.make_node("ReduceMax", ["ballast"], ["most"], keepdims=0),
        helper.make_node("Mul", ["most", "zero"], ["nothing"]),
        helper.make_node("Add", ["scaled", "nothing"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "scale",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [
            numpy_helper.from_array(np.array(factor, np.float32), "factor"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(weights, "ballast"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    data: bytes = model.SerializeToString()
    onnx.checker.check_model(data)
    return data


def artifact(
    factor: float,
    *,
    ballast_bytes: int = 0,
    answer: float | None = None,
    name: str = "digits",
    seed: int | None = None,
) -> bytes:
    """``answer``: the factor that the probe expects; another one than ``factor`` makes a wrong model.

    ``seed``: of the ballast; models with the same differ in the factor only.
    """
    expected = factor if answer is None else answer
    inputs = (ProbeInput(name="x", shape=(1, 4), dtype="float32", kind="uniform", low=-1.0, high=1.0),)
    x = probe_inputs(Probe(seed=7, inputs=inputs))["x"]
    values = tuple(float(v) for v in (expected * x).reshape(-1))
    output = ProbeOutput(name="y", shape=(1, 4), positions=(0, 1, 2, 3), values=values)
    return write_artifact(
        scale_model(factor, ballast_bytes=ballast_bytes, seed=int(factor * 1000) if seed is None else seed),
        name=name,
        profile="x86-pc",
        recipe={"name": "none"},
        provenance={},
        metadata={},
        probe=Probe(seed=7, inputs=inputs, outputs=(output,)),
        coding="raw" if ballast_bytes else "auto",
    )

"""The convolutions of a graph, what goes into them, and how one is replaced by several nodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph, attributes
from edgepress_compression.passes.calibration_rows import calibration_rows
from edgepress_compression.passes.layer_inputs import layer_inputs
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.training_data import batch_limit

_DAMPING = 1e-3  # of the mean moment: inputs that are hardly ever active get no wild weights
_BATCH = 10


@dataclass(frozen=True)
class Convolution:
    """A two-dimensional convolution with constant fp32 weights that it alone uses."""

    node: onnx.NodeProto
    weight: np.ndarray  # (outputs, inputs of a group, height, width)
    bias: np.ndarray | None  # (outputs,)
    groups: int

    @property
    def name(self) -> str:
        """Of its weight."""
        return str(self.node.input[1])

    @property
    def outputs(self) -> int:
        return int(self.weight.shape[0])

    @property
    def inputs(self) -> int:
        return int(self.weight.shape[1]) * self.groups

    @property
    def kernel(self) -> tuple[int, int]:
        return int(self.weight.shape[2]), int(self.weight.shape[3])

    def keeps_size(self) -> bool:
        """Whether a stride of 1 would give pictures of the size that came in, around the kernel's middle."""
        facts = attributes(self.node)
        height, width = self.kernel
        if facts.get("auto_pad", "NOTSET") != "NOTSET" or facts.get("dilations", [1, 1]) != [1, 1]:
            return False
        odd = height % 2 == 1 and width % 2 == 1
        return odd and facts.get("pads", [0] * 4) == [height // 2, width // 2] * 2


def convolutions(graph: Graph) -> list[Convolution]:
    """In the graph's order."""
    users = graph.users()
    found = []
    for node in graph.proto.graph.node:
        if node.op_type != "Conv" or node.domain not in ("", "ai.onnx"):
            continue
        weight = graph.weights.get(node.input[1])
        bias_name = node.input[2] if len(node.input) > 2 else ""
        bias = graph.weights.get(bias_name) if bias_name else None
        if weight is None or weight.ndim != 4 or weight.dtype != np.float32 or len(users[node.input[1]]) > 1:
            continue
        if bias_name and (bias is None or bias.dtype != np.float32):
            continue
        found.append(Convolution(node, weight, bias, int(str(attributes(node).get("group", 1)))))
    return found


def input_moments(state: PassState, chosen: Sequence[Convolution], samples: int) -> dict[str, np.ndarray]:
    """E[x x^T] by weight name, float64 (inputs * height * width, the same); damped, so that it has an
    inverse. The unit matrix where the inputs cannot be looked at. Convolutions without groups only."""
    graph = state.graph
    known: Mapping[str, object] = {}
    rows = calibration_rows(state, samples)
    if rows is not None and chosen:
        known = layer_inputs(
            Executor(graph), rows.fetch, rows.rows, [one.name for one in chosen],
            batch_size=batch_limit(graph, _BATCH), seed=state.seed, check_cancelled=state.check_cancelled,
        )  # fmt: skip
    moments = {}
    for one in chosen:
        size = one.weight[0].size
        seen = known.get(one.name)
        if seen is None:
            moments[one.name] = np.eye(size)
            continue
        matrix = seen.products[0].double().numpy() / seen.count  # type: ignore[attr-defined]
        damping = max(_DAMPING * float(np.trace(matrix)) / size, 1e-12)
        moments[one.name] = matrix + damping * np.eye(size)
    return moments


def relative_error(weight: np.ndarray, instead: np.ndarray, moment: np.ndarray) -> float:
    """E|(W - V) x|^2 / E|W x|^2 for matrices (outputs, inputs) and the inputs' moment."""
    off = weight - instead
    return float(np.sum(off @ moment * off) / max(float(np.sum(weight @ moment * weight)), 1e-300))


def refitted(weight: np.ndarray, features: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """The matrix P (outputs, k) that makes P (F x) nearest to W x for x of that moment, F (k, inputs)."""
    seen = features @ moment  # (k, inputs)
    gram = seen @ features.T
    gram[np.diag_indices_from(gram)] += 1e-9 * max(float(np.trace(gram)) / len(gram), 1e-30)
    return np.asarray(np.linalg.solve(gram, seen @ weight.T).T)


def root(moment: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R, its inverse) with R^T R = moment, symmetric."""
    values, vectors = np.linalg.eigh(moment)
    values = np.maximum(values, 1e-12 * max(float(values[-1]), 1e-30))
    return (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T


def same_place(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a convolution that say where its kernel is laid."""
    wanted = ("pads", "strides", "dilations", "auto_pad")
    return {name: value for name, value in attributes(node).items() if name in wanted}


def conv_node(inputs: Sequence[str], output: str, **facts: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", list(inputs), [output], name=f"{output}_conv", **facts)


@dataclass(frozen=True)
class Attempt:
    """What could stand in the place of a convolution."""

    error: float  # part of the outputs' energy that is lost
    put: Callable[[Graph, onnx.NodeProto], None]  # into a graph, in the place of that node


def rewrite(
    state: PassState,
    chosen: Sequence[Convolution],
    attempt: Callable[[Convolution, np.ndarray], Attempt],
    *,
    name: str,
    samples: int,
    most_error: float,
) -> None:
    """Replaces each of `chosen` by what `attempt` makes of it and its inputs' moment, unless that loses more
    than `most_error` of the outputs' energy; says what was lost where."""
    started = time.monotonic()
    moments = input_moments(state, chosen, samples)
    errors = {}
    graph = state.graph.copy()
    for number, one in enumerate(chosen):
        state.check_cancelled()
        state.progress(number / len(chosen), f"{name}: {one.name}, {number + 1} of {len(chosen)}")
        made = attempt(one, moments[one.name])
        if made.error <= most_error:
            errors[one.name] = made.error
            made.put(graph, next(n for n in graph.proto.graph.node if n.output[0] == one.node.output[0]))
    if not errors:
        state.warn(
            f"No convolution could be rewritten with less than {most_error:.0%} of its outputs' energy lost; "
            "nothing was changed."
        )
    state.graph = graph
    state.codes = {key: code for key, code in state.codes.items() if key in graph.weights}
    lost = ", ".join(f"{key} {error:.0%}" for key, error in errors.items())
    state.stages.append(
        Stage(
            name=f"{name}, {len(errors)} of {len(chosen)} convolutions",
            seconds=time.monotonic() - started,
            note=f"energy of the outputs lost: {lost}",
        )
    )


def fold_batch_norm(state: PassState) -> None:
    """Batch normalization goes into the convolution before it, so that weights are what they compute."""
    if any(node.op_type == "BatchNormalization" for node in state.graph.proto.graph.node):
        state.graph = simplified(state.graph)

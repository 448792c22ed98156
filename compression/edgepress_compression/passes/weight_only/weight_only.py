"""k-bit weights with a scale and a zero point for each output channel: bytes, not latency.

Jacob et al. 2018, equation 1, per channel (Krishnamoorthi 2018, "Quantizing deep convolutional networks for
efficient inference", section 3.1); with `feedback` rounded as GPTQ does (feedback.py). The model computes in
floats as before: what is small is the artifact.
"""

from __future__ import annotations

import time
from typing import Annotated, Literal

import msgspec
import numpy as np

from edgepress_compression.artifact.codes import Codes, ScaledIntegers
from edgepress_compression.errors import RecipeError
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.curvature import Curvature
from edgepress_compression.passes.layer_matrix import layer_matrix
from edgepress_compression.passes.rate_distortion.choose_integers import bias_gain
from edgepress_compression.passes.sharing.share import correct_bias, round_others, shareable
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.weight_only.feedback import round_in_blocks
from edgepress_compression.passes.weight_only.layers import input_moments, outputs_last

Clip = Literal["mse", "minmax"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    bits: Annotated[int, msgspec.Meta(ge=2, le=8)] = 4
    symmetric: bool = False  # no zero points; one value less for what is one-sided
    clip: Clip = "mse"  # what the largest weights are worth: the least squared error, or all of them
    feedback: bool = True  # rounding errors are made up for within a layer; looks at `samples` inputs
    samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 128


def run(state: PassState, options: Options) -> None:
    """Quantizes the weights of `state.graph` that no earlier pass coded. Raises RecipeError when there are
    none."""
    started = time.monotonic()
    if any(node.op_type == "BatchNormalization" for node in state.graph.proto.graph.node):
        state.graph = simplified(state.graph)  # batch normalization goes into the weights before it
    names = quantizable(state)
    if not names and state.stages:
        state.warn("weight-only found no tensor that an earlier pass had left to it, and did nothing.")
        return
    if not names:
        raise RecipeError("weight-only finds no weight tensor of 64 or more numbers; use another recipe.")
    state.progress(0.0, "looking at what goes into each layer")
    curvature = (
        input_moments(state, names, options.samples)
        if options.feedback
        else {name: Curvature(None, np.ones(1)) for name in names}
    )
    for done, name in enumerate(names):
        state.check_cancelled()
        state.progress(0.3 + 0.7 * done / len(names), f"rounding {name}")
        code, gain = round_tensor(
            state.graph.weights[name],
            curvature[name],
            options.bits,
            symmetric=options.symmetric,
            clip=options.clip == "mse",
            outputs_last=outputs_last(state.graph, name),
        )
        put_code(state, name, code, curvature[name], gain)
    round_others(state.graph, state.codes)
    state.add_stage(
        f"weight-only, {options.bits} bits",
        started,
        bits=float(options.bits),
        note=f"{len(names)} tensors",
    )
    state.progress(1.0, "quantized")


def quantizable(state: PassState) -> list[str]:
    """Weight tensors that are large enough and that no earlier pass coded."""
    found = shareable(state.graph, 1, 32)
    return [name for name, array in found.items() if array.ndim > 1 and name not in state.codes]


def round_tensor(
    weight: np.ndarray,
    curvature: Curvature,
    bits: int,
    *,
    symmetric: bool,
    clip: bool,
    outputs_last: bool = False,
) -> tuple[ScaledIntegers, np.ndarray | None]:
    """(its whole numbers, what the layer's bias should gain so that mean outputs stay).

    `outputs_last`: a matrix (inputs, outputs), of which the curvature need not know."""
    turned = outputs_last and curvature.moments is None and weight.ndim == 2
    matrix = layer_matrix(weight.T if turned else weight, curvature)
    rounded = round_in_blocks(matrix, bits, None, symmetric=symmetric, clip=clip)
    scales = rounded.scales.reshape(-1)
    integers = matrix.tensor(rounded.integers)
    integers = integers.T if turned else integers
    axis = weight.ndim - 1 if turned or not matrix.rows_first else 0
    sign = np.sign(scales).astype(np.int32)  # the artifact's scales are positive
    shape = [1] * weight.ndim
    shape[axis] = -1
    code = ScaledIntegers(
        np.asarray(integers * sign.reshape(shape), np.int32), np.abs(scales).astype(np.float32), axis
    )
    return code, bias_gain(matrix.rows - rounded.integers * rounded.scales, curvature)


def put_code(state: PassState, name: str, code: Codes, curvature: Curvature, gain: np.ndarray | None) -> None:
    """The weight becomes what the code says, and the layer's bias makes up for the mean error."""
    graph: Graph = state.graph
    graph.set_weight(name, code.weights())
    state.codes[name] = code
    if curvature.moments is not None and gain is not None:
        correct_bias(graph, curvature.moments.bias, gain)

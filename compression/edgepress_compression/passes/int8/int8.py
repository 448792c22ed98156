"""Static int8: weights s8 for each output channel, activations u8 or s8 as the profile asks.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", section 2. Ranges of activations come from a calibration run over the data set's training samples.
The integer form buys speed on devices with integer kernels and a quarter of the bytes everywhere. Weights
that an earlier pass made of whole numbers (quantize with trellis = false) keep them, so that their bytes stay
as small as that pass made them.
"""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import numpy as np

from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.int8.layer_losses import layer_losses
from edgepress_compression.passes.int8.prepare import Calibration, prepare, write
from edgepress_compression.passes.state import PassState, Stage


class Options(Calibration, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the pass in a recipe: those of `Calibration`, and its own."""

    bias_correction: bool = True  # of the mean error that rounding the weights makes
    keep_float: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 0  # layers left in floats: the most sensitive


def run(state: PassState, options: Options) -> None:
    """Quantizes `state.graph`. Raises RecipeError when nothing in it can be quantized."""
    started = time.monotonic()
    prepared = prepare(state, options, part=(0.0, 0.4 if options.keep_float else 0.9))
    losses: dict[str, float] = {}
    if options.keep_float:
        losses = layer_losses(state, prepared, options.samples)
        worst = sorted(losses, key=lambda name: -losses[name])[: min(options.keep_float, len(losses) - 1)]
        left_out = msgspec.structs.replace(options, float_layers=(*options.float_layers, *worst))
        prepared = prepare(state, left_out, part=(0.8, 0.1), seen=prepared.seen)
    count = len(prepared.layers)
    state.progress(0.9, "writing integers")
    kept = write(state, prepared, bias_correction=options.bias_correction)
    stage = integer_stage("int8", state.graph, started, count, kept, prepared.bits)
    if losses:
        rows = [{"tensor": name, "bits": 8, "loss": loss} for name, loss in losses.items()]
        stage = msgspec.structs.replace(stage, detail={"sensitivity": rows})
    state.stages.append(stage)
    state.progress(1.0, "int8 done")


def integer_stage(name: str, graph: Graph, started: float, count: int, kept: float, bits: int) -> Stage:
    """The report's row of a graph in integers. `kept` (0..1) of the weights are an earlier pass's."""
    integers = [array for array in graph.weights.values() if array.dtype == np.int8 and array.ndim > 1]
    total = sum(array.size for array in integers)
    nonzero = sum(int(np.count_nonzero(array)) for array in integers)
    earlier = f", {kept:.0%} of their weights as an earlier pass chose them" if kept else ""
    return Stage(
        name=name,
        seconds=time.monotonic() - started,
        bytes_estimate=sum(array.nbytes for array in graph.weights.values()),
        nonzero=nonzero / total if total else None,
        bits=float(bits),
        note=f"{count} layers in integers{earlier}",
    )

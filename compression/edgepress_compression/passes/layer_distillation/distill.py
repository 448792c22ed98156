"""Label-free distillation, a layer at a time: each layer is fitted to what it gave in the original model.

`quantize` first finds the steps and the bytes. Then the weights are rounded once more, from the first layer
to the last: the inputs that a layer gets now, from layers already rounded, stand beside those that it got in
the original; the weights that come nearest to its original outputs are found in closed form
(layer_correction.py) and rounded on the same steps with feedback. So later layers mend what earlier ones
broke. Only inputs are looked at, never labels. Closed forms, since a few hundred samples are enough for them:
on SqueezeNet 1.1 with 160 pictures, hundreds of steps of gradient descent towards the original's answers
gained next to nothing on pictures held out.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated

import msgspec
import numpy as np
import torch

from edgepress_compression.artifact.codes import Codes, ScaledIntegers
from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.calibration_rows import calibration_rows
from edgepress_compression.passes.curvature import Curvature
from edgepress_compression.passes.estimate import index_bits
from edgepress_compression.passes.layer_distillation.layer_correction import corrected
from edgepress_compression.passes.layer_distillation.paired_inputs import PairedMoments, paired_inputs
from edgepress_compression.passes.layer_inputs import LAYERS
from edgepress_compression.passes.rate_distortion import quantize
from edgepress_compression.passes.rate_distortion.choose_integers import choose_integers
from edgepress_compression.passes.sharing.share import round_others
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import batch_limit

_BATCH = 20
_SWEEPS = 4  # through the layers, each with coarser steps, until the bytes fit
_AIM = 0.998  # of the target, when steps are made coarser
_NO_PRICE = 1e-30  # nats a bit: steps are chosen, now only errors count
_QUANTIZED = 0.5  # of the progress, where quantize ends

Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The first four are those of `quantize`."""

    target_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    bits: Annotated[float, msgspec.Meta(ge=0.5, le=11.0)] = 3.0
    trellis: bool = True
    per_channel: bool = False
    samples: Count = 200
    rounds: Count = 32  # of looking at layers' inputs; more layers than that are looked at several at once


def run(state: PassState, options: Options) -> None:
    """Quantizes and distils `state.graph`. Raises RecipeError for a target that cannot be reached."""
    graph = state.graph
    if any(node.op_type == "BatchNormalization" for node in graph.proto.graph.node):
        graph = simplified(graph)  # as quantize does, which then finds nothing to fold
    state.graph = graph.copy()
    whole = state.progress
    state.progress = lambda fraction, message: whole(_QUANTIZED * fraction, message)
    quantize.run(
        state,
        quantize.Options(
            target_bytes=options.target_bytes, bits=options.bits, trellis=options.trellis,
            per_channel=options.per_channel, samples=options.samples, thrift=0.0,
        ),
    )  # fmt: skip
    state.progress = lambda fraction, message: whole(_QUANTIZED + (1 - _QUANTIZED) * fraction, message)
    started = time.monotonic()
    first = {name: code for name, code in state.codes.items() if isinstance(code, ScaledIntegers)}
    sweeps, size = 1, None
    codes = _sweep(state, options, graph, first)
    while options.target_bytes is not None:
        size = state.artifact_bytes(state)
        if size <= options.target_bytes:
            break
        if sweeps == _SWEEPS:
            raise RecipeError(
                f"target_bytes = {options.target_bytes:,} was missed: fitted to the original, this model "
                f"takes {size:,} bytes. Ask for a little more, or use the recipe rate-distortion."
            )
        first = _coarser(first, size - _AIM * options.target_bytes)
        codes = _sweep(state, options, graph, first)
        sweeps += 1
    state.progress = whole
    count = sum(code.integers.size for code in codes.values())
    state.add_stage(
        "distill, layer by layer",
        started,
        bits=sum(index_bits(code) for code in codes.values()) / count if count else None,
        note=f"{len(codes)} tensors fitted to the original's layers, {sweeps} "
        f"{'sweep' if sweeps == 1 else 'sweeps'}",
    )
    state.progress(1.0, "distilled")


def _coarser(codes: Mapping[str, ScaledIntegers], bytes_over: float) -> dict[str, ScaledIntegers]:
    """The same codes with larger steps: a step twice as large saves a bit a weight, where rates are high."""
    count = sum(code.integers.size for code in codes.values())
    factor = np.float32(2.0 ** (1.2 * 8 * bytes_over / count))
    return {
        name: ScaledIntegers(code.integers, code.scales * factor, code.axis, code.trellis)
        for name, code in codes.items()
    }


def _sweep(
    state: PassState, options: Options, before: Graph, first: Mapping[str, ScaledIntegers]
) -> dict[str, ScaledIntegers]:
    """Rounds the weights of `before` on the steps of `first` into the state; the codes of what was fitted."""
    rows = calibration_rows(state, options.samples)
    layers = _layers(before, first)
    if rows is None or not layers:
        return {}
    original, compressed = Executor(before), Executor(before)
    biases = _own_biases(before)
    in_layers = {name for layer in layers for name in layer}
    for name in first.keys() - in_layers:  # as quantize left them
        _put(compressed, name, first[name].weights())
    fitted: dict[str, ScaledIntegers] = {}
    blocks = _blocks(layers, options.rounds)
    for number, block in enumerate(blocks):
        names = [name for layer in block for name in layer]
        state.progress(number / len(blocks), f"fitting layers to the original, {number + 1} of {len(blocks)}")
        seen = paired_inputs(
            original, compressed, rows.fetch, rows.rows, names,
            batch_size=batch_limit(before, _BATCH), seed=state.seed, check_cancelled=state.check_cancelled,
        )  # fmt: skip
        for name in names:
            state.check_cancelled()
            if name in seen:
                # what the first layer of a block mends, those after it must not mend again
                inputs = seen[name] if name in block[0] else seen[name].by_itself()
                fitted[name] = _fit(compressed, name, before.weights[name], inputs, first[name], biases)
            else:
                _put(compressed, name, first[name].weights())
    graph = before.copy()
    compressed.write_back(graph)
    codes: dict[str, Codes] = {**state.codes, **first, **fitted}
    for name, code in {**first, **fitted}.items():
        graph.set_weight(name, code.weights())
    round_others(graph, codes)
    state.graph, state.codes = graph, codes
    return fitted


def _fit(
    compressed: Executor,
    name: str,
    weight: np.ndarray,
    seen: PairedMoments,
    code: ScaledIntegers,
    biases: set[str],
) -> ScaledIntegers:
    outputs = weight.shape[0] if seen.rows_first else weight.shape[-1]
    bias = compressed.weights.get(seen.bias or "") if seen.bias in biases else None
    if bias is not None and bias.shape != (outputs,):
        bias = None
    better = corrected(weight, seen, has_bias=bias is not None)
    chosen = choose_integers(
        {name: better.weight},
        {name: Curvature(better.moments, np.ones(outputs))},
        _NO_PRICE,
        scales={name: code.scales},
        trellis=code.trellis,
        rounds=1,
    )[name]
    _put(compressed, name, chosen.values())
    if bias is not None and better.bias_gain is not None and chosen.bias_gain is not None:
        with torch.no_grad():
            bias.add_(torch.from_numpy(better.bias_gain + chosen.bias_gain))
    return chosen.code()


def _put(executor: Executor, name: str, values: np.ndarray) -> None:
    with torch.no_grad():
        executor.weights[name].copy_(torch.from_numpy(values))


def _layers(graph: Graph, codes: Mapping[str, ScaledIntegers]) -> list[list[str]]:
    """Coded weights in the order in which they are used, those that read the same value together."""
    layers: dict[str, list[str]] = {}
    met: set[str] = set()
    for node in graph.proto.graph.node:
        if node.op_type in LAYERS and node.input[1] in codes and node.input[1] not in met:
            met.add(node.input[1])
            layers.setdefault(node.input[0], []).append(node.input[1])
    return list(layers.values())


def _blocks(layers: list[list[str]], rounds: int) -> list[list[list[str]]]:
    """At most `rounds` blocks of layers that follow each other."""
    bounds = np.linspace(0, len(layers), min(rounds, len(layers)) + 1).round().astype(int).tolist()
    return [layers[start:stop] for start, stop in pairwise(bounds)]


def _own_biases(graph: Graph) -> set[str]:
    """fp32 values that one layer alone adds to its outputs."""
    return {
        name
        for name, readers in graph.users().items()
        if name in graph.weights
        and graph.weights[name].dtype == np.float32
        and [position for _, position in readers] == [2]
    }

"""Deep compression of pre-trained transformers: 4-bit weights, half of them zero, two in every four.

Wang et al. 2022 (Deep Compression of Pre-trained Transformer Models, NeurIPS): from a fine-tuned model,
quantizers whose integers keep zero (so that pruned weights stay pruned), clips set from the statistics of
the weights, a 2:4 mask chosen once by magnitude, and training with both in place; they report BERT, wav2vec 2
and ViT at a sixteenth of the bytes of 32-bit weights. Here the whole is trained towards the original's inner
values and answers (imitate.py) in place of their schedule of dropout, since a deployed graph has no dropout.
By `saliency` "inputs" a weight counts with the power of its input (Sun et al. 2024, Wanda, equation 1), which
keeps more than magnitude alone, and what stays is refitted to the outputs first (masked_refit.py).

Projections get mask and integers; embedding tables integers. The classifier's last layer, biases and
normalization stay floats. Activations: onnxruntime runs 8-bit activations and no 4-bit ones on any CPU; put
the pass int8 behind this one for them, which takes these integers as they are.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Literal

import msgspec
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.run_shapes import run_shapes
from edgepress_compression.passes.estimate import index_bits
from edgepress_compression.passes.factorize.layers import Layer, factorizable
from edgepress_compression.passes.layer_inputs import layer_inputs
from edgepress_compression.passes.sharing.share import round_others
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import TrainingData
from edgepress_compression.passes.transformer.attention import attention_blocks, feed_forwards
from edgepress_compression.passes.transformer.imitate import Imitation, data_for, judged
from edgepress_compression.passes.transformer.inner_values import PlainTeacher, showing
from edgepress_compression.passes.transformer.masked_refit import masked_refit
from edgepress_compression.passes.transformer.sparse_integers import (
    Clip,
    Form,
    SparseIntegers,
    n_of_m_mask,
    row_scales,
)
from edgepress_compression.passes.tune import Count, Positive, Share, planned_steps, tune

_SAMPLES = 200  # whose inputs say how much weights count


class Options(Imitation, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bits, zeros, and how long to train."""

    bits: Annotated[int, msgspec.Meta(ge=2, le=8)] = 4
    kept: Annotated[int, msgspec.Meta(ge=1)] | None = 2  # of each `of` weights; None: no zeros
    of: Annotated[int, msgspec.Meta(ge=2, le=64)] = 4
    saliency: Literal["inputs", "magnitude"] = "inputs"
    clip: Clip = "mse"
    tables: bool = True  # integers for embeddings, too
    steps: Count = 200
    learning_rate: Positive = 1e-4
    inner_share: Share = 0.3  # of the steps, towards inner values
    inner_rate: Positive = 2e-4  # their learning rate


def run(state: PassState, options: Options) -> None:
    """Compresses and trains `state.graph`. Raises RecipeError without data to train on."""
    started = time.monotonic()
    data = data_for(state, options, "Compressing a transformer")
    graph = state.graph
    layers = _layers(graph, options)
    if not layers:
        state.warn("transformer-compression found no projections; the model stays as it is.")
        return
    before = graph.copy()
    shapes = run_shapes(graph)
    inner = [block.output.result for block in attention_blocks(graph, shapes)]
    inner += [pair.down.result for pair in feed_forwards(graph, shapes)]
    shown = showing(graph, inner) if options.inner_share else graph
    executor = Executor(shown)
    constraint = SparseIntegers(executor, _forms(state, options, executor, layers, data), options.bits)
    steps = planned_steps(state, data, options)
    if inner and options.inner_share:
        tune(
            state, executor, replace(data, kind="answers", classification=False), constraint,
            msgspec.structs.replace(
                options, steps=max(1, round(options.inner_share * steps)), learning_rate=options.inner_rate
            ),
            label="towards inner values", seed=1, part=(0.1, 0.9 * options.inner_share),
            teacher=PlainTeacher(Executor(showing(before, inner)), data.split),
        )  # fmt: skip
    tune(
        state, executor, data, constraint,
        msgspec.structs.replace(options, steps=max(1, round((1 - options.inner_share) * steps))),
        label="towards answers", seed=2, part=(0.1 + 0.9 * options.inner_share, 0.9),
    )  # fmt: skip
    accuracy = judged(state, executor, before, data, options, "Compressing a transformer")
    executor.write_back(graph)
    codes = constraint.codes()
    for name, code in codes.items():
        graph.set_weight(name, code.weights())
    state.codes.update(codes)
    round_others(graph, state.codes)
    zeros = "" if options.kept is None else f", {options.kept} of {options.of} kept"
    state.add_stage(
        f"{options.bits}-bit weights{zeros}, {steps} steps of {options.batch_size}",
        started,
        bits=sum(index_bits(c) for c in codes.values()) / sum(c.integers.size for c in codes.values()),
        accuracy=accuracy,
        note=f"{len(codes)} tensors",
    )


def _layers(graph: Graph, options: Options) -> dict[str, Layer]:
    """Projections and tables, without what makes the model's output."""
    found = factorizable(graph, frozenset({"matmul", "gemm", "table"}), least_weights=4096)
    outputs = {info.name for info in graph.proto.graph.output}
    return {
        name: layer
        for name, layer in found.items()
        if (layer.kind != "table" or options.tables) and layer.node.output[0] not in outputs
    }


def _forms(
    state: PassState, options: Options, executor: Executor, layers: dict[str, Layer], data: TrainingData
) -> dict[str, Form]:
    projections = [name for name, layer in layers.items() if layer.kind != "table"]
    moments = (
        layer_inputs(
            executor, data.split.fetch, data.rows[:_SAMPLES], projections, seed=state.seed,
            check_cancelled=state.check_cancelled,
        )
        if options.saliency == "inputs"
        else {}
    )  # fmt: skip
    forms: dict[str, Form] = {}
    for name, layer in layers.items():
        weight = executor.weights[name].detach()
        seen = moments.get(name)
        rows_first = seen.rows_first if seen is not None else _rows_first(layer)
        axis = 0 if rows_first else 1
        mask: Tensor | None = None
        if layer.kind != "table" and options.kept is not None and options.kept < options.of:
            power = torch.ones(weight.shape[1 - axis])
            if seen is not None:
                power = (seen.products[0].diagonal() / seen.count).clamp(min=0).sqrt()
            scores = weight.abs() * (power[None, :] if axis == 0 else power[:, None])
            mask = n_of_m_mask(scores, options.kept, options.of, axis)
            if seen is not None:
                state.progress(0.05, f"refitting what is left of {name}")
                rows, left = (weight, mask) if axis == 0 else (weight.T, mask.T)
                second = seen.products[0] / seen.count
                refitted = masked_refit(rows, left, second, state.check_cancelled)
                with torch.no_grad():
                    executor.weights[name].copy_(refitted if axis == 0 else refitted.T)
        kept = weight if mask is None else weight * mask
        forms[name] = Form(axis, row_scales(kept, options.bits, axis, options.clip), mask)
    return forms


def _rows_first(layer: Layer) -> bool:
    """Whether outputs run along the first side; a table's are its columns."""
    return layer.kind == "gemm" and any(a.name == "transB" and a.i for a in layer.node.attribute)

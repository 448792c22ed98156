"""Quantization-aware training: the integers of int8, trained for, and then written as int8 writes them.

Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", section 3: rounding is played in floats (training_graph.py) and gradients pass through it; ranges
are learned with the weights (Esser et al. 2020, "Learned Step Size Quantization"), from where calibration put
them. Batch normalization is folded before, with the statistics that the model came with. Trains on labels
where there are enough, else towards the original model's answers.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Annotated, Literal

import msgspec
import numpy as np
import torch

from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor, missing_operators
from edgepress_compression.passes.int8.calibrate import Method
from edgepress_compression.passes.int8.int8 import integer_stage
from edgepress_compression.passes.int8.learned_scales import LearnedScales
from edgepress_compression.passes.int8.prepare import Calibration, Prepared, prepare, write
from edgepress_compression.passes.int8.training_graph import TrainingGraph, learned_integers, training_graph
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import training_data
from edgepress_compression.passes.tune import Training, tune
from edgepress_compression.training.judge import mean_loss
from edgepress_compression.training.loop import Teacher, top1
from edgepress_compression.training.losses import loss_for

_HELD_OUT = 0.2  # of the samples where only answers teach, at most
_HELD_OUT_MOST = 200


class Options(Training, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How it trains (`Training`), and the calibration it starts from (see int8)."""

    steps: Annotated[int, msgspec.Meta(ge=1)] = 1000
    batch_size: Annotated[int, msgspec.Meta(ge=1)] = 50
    learning_rate: Annotated[float, msgspec.Meta(gt=0.0)] = 2e-5
    learned_ranges: bool = True  # False: scales stay as calibrated
    activations: Literal["profile", "u8", "s8"] = "profile"
    calibration: Method = "mse"
    percentile: Annotated[float, msgspec.Meta(gt=50, le=100)] = 99.99
    samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    weight_bits: Literal["auto", 7, 8] = "auto"
    float_stem: bool = True
    equalize: bool = False
    float_layers: tuple[str, ...] = ()

    def of_calibration(self) -> Calibration:
        return Calibration(**{name: getattr(self, name) for name in Calibration.__struct_fields__})


def run(state: PassState, options: Options) -> None:
    """Trains and quantizes `state.graph`. Raises RecipeError when nothing in it can be quantized, or when
    there is nothing to train on."""
    started = time.monotonic()
    data = training_data(state)
    if data is None:
        raise RecipeError(
            "qat trains, and there is nothing to train on: give a data set with a split named train and a "
            "model of operators that can be trained, or use the recipe int8."
        )
    prepared = prepare(state, options.of_calibration(), part=(0.0, 0.2))
    missing = missing_operators(prepared.graph)
    if missing:
        raise RecipeError(f"qat cannot train {', '.join(missing)}; use the recipe int8.")
    rows, held = (data.rows, data.held_out) if len(data.held_out) else _apart(data.rows)
    training = training_graph(prepared, state.codes)
    executor = Executor(training.graph)
    teacher = Teacher(Executor(state.original), data.split)
    share = options.label_share if data.kind == "labels" else 0.0
    task = "classification" if data.classification else "other"
    loss = loss_for(state.graph, task, label_share=share, temperature=options.temperature)
    before = mean_loss(executor, data.split, loss, teacher, held)
    start = {name: p.detach().clone() for name, p in executor.weights.items()}
    names = [*set(training.ranges.values()), *training.weights.values()]
    constraint = LearnedScales(executor, names, training.largest, learn_scales=options.learned_ranges)
    tune(
        state,
        executor,
        replace(data, rows=rows),
        constraint,
        options,
        label="qat",
        seed=1,
        teacher=teacher,
        part=(0.2, 0.7),
    )
    after = mean_loss(executor, data.split, loss, teacher, held)
    trained = len(held) == 0 or after <= before
    if not trained:
        state.warn(
            f"qat made the model worse on {len(held)} samples that were held out (loss {before:.4f} before, "
            f"{after:.4f} after), so its weights and ranges are those of int8 without training. Give more "
            "samples, or a lower learning_rate."
        )
        with torch.no_grad():
            for name, parameter in executor.weights.items():
                parameter.copy_(start[name])
    accuracy = None
    if data.classification and len(data.held_out):
        accuracy = top1(executor, data.split, data.held_out, loss.output)
    count = len(prepared.layers)
    _take_over(state, prepared, training, executor)
    write(state, prepared, bias_correction=False)
    stage = integer_stage("qat", state.graph, started, count, 0, prepared.bits)
    judged = f"; loss on held-out samples {before:.4f} before, {after:.4f} after" if len(held) else ""
    state.stages.append(
        msgspec.structs.replace(stage, accuracy=accuracy, note=f"{count} layers in integers{judged}")
    )
    state.progress(1.0, "qat done")


def _apart(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rows to train on, rows to judge by)"""
    held = min(_HELD_OUT_MOST, int(_HELD_OUT * len(rows)))
    return rows[held:], rows[:held]


def _take_over(state: PassState, prepared: Prepared, training: TrainingGraph, executor: Executor) -> None:
    """Puts what was trained into the prepared graph: weights as multiples of their scales, so that writing
    them rounds nothing, and the activations' forms."""
    graph = prepared.graph
    values = {name: p.detach().numpy() for name, p in executor.weights.items()}
    limit = 2 ** (prepared.bits - 1) - 1
    for name in graph.float_weights():
        if name in values:
            graph.set_weight(name, values[name].astype(graph.weights[name].dtype))
            state.codes.pop(name, None)
    for name, scale_name in training.weights.items():
        scales, axis = values[scale_name].reshape(-1), training.axes[name]
        shape = [1] * values[name].ndim
        shape[axis] = -1
        whole = np.clip(np.rint(values[name] / scales.reshape(shape)), -limit, limit).astype(np.int32)
        code = ScaledIntegers(whole, scales, axis)
        graph.set_weight(name, code.weights())
        state.codes[name] = code
    prepared.integers = learned_integers(
        prepared, training, {name: values[name] for name in set(training.ranges.values())}
    )

"""Training under a price for coded bytes: the model learns weights that its own coder makes small.

Weights become whole numbers times learned steps, and the loss is

    task + price * bits

(Oktay et al. 2020, equation 5; the price of a bit is the Lagrangian of the rate-distortion trade). What is
ours: bits are those of a model with the contexts of our coder (density.py), so that rows and columns
empty as a whole; and the price is found while training, from the bytes that the artifact may have (price.py).

    latents.py   the weights as they are trained
    density.py   bits, and how they change
    price.py     the price
    fit.py       the last few bytes
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import msgspec
import numpy as np
import torch

from edgepress_compression.artifact.codes import Codes, ScaledIntegers
from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor, missing_operators
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.compact import compact
from edgepress_compression.passes.entropy.dead import without_dead_units
from edgepress_compression.passes.entropy.fit import fewest_zeroed
from edgepress_compression.passes.entropy.latents import Form, PricedIntegers
from edgepress_compression.passes.entropy.price import PriceControl
from edgepress_compression.passes.estimate import nonzero_fraction
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.training_data import TrainingData, training_data
from edgepress_compression.passes.tune import Count, Positive, Share, Training, planned_steps, tune

_SETTLING = 0.05  # of the steps, with integers as they are
_SETTLING_RATE = 0.1
_DECISIONS = 200  # about the price, at least
_LEAST_ELEMENTS = 8  # smaller tensors keep their numbers
_OUTPUTS_LAST = {"MatMul": 1, "ConvTranspose": 1}


class Options(Training, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`target_bytes` is of the whole artifact. Steps are of the learned grids, not of training."""

    target_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    steps: Count = 6000
    learning_rate: Positive = 1e-3
    most_epochs: Positive = 200.0
    most_gmacs: Positive = 100_000.0
    ratio: Annotated[float, msgspec.Meta(gt=1.0)] = (
        20.0  # without target_bytes: fp32 weights over the artifact
    )
    most_lost_points: Positive = 2.0  # of accuracy on held-out samples, before the report warns
    ramp: Share = 0.5  # of the steps, in which bytes fall to the target
    hold: Share = 0.6  # of the steps, at the full learning rate
    step: Positive = 1.0  # first steps: so many root mean squares of the tensor
    bias_step: Positive = 0.1  # the same, for tensors of one dimension
    per_channel: bool = False  # a step for each output
    refresh: Count = 20  # steps between two counts, at most


def run(state: PassState, options: Options) -> None:
    started = time.monotonic()
    if any(node.op_type == "BatchNormalization" for node in state.graph.proto.graph.node):
        state.graph = simplified(state.graph)
    if missing := missing_operators(state.graph):
        raise RecipeError(
            f"entropy trains the model, and {', '.join(missing)} cannot be trained here; take the recipe "
            "rate-distortion."
        )
    data = training_data(state)
    if data is None:
        raise RecipeError("entropy trains the model: give a data set with a split named train.")
    graph = state.graph
    names = list(graph.weights)
    compact(graph, share_equal=False)
    renamed = dict(zip(names, graph.weights, strict=True))
    earlier = {renamed[name]: code for name, code in state.codes.items()}
    executor = Executor(graph)
    forms = tensor_forms(graph, executor, options, earlier)
    if not forms:
        raise RecipeError("entropy finds no fp32 weights in this model; use another recipe.")
    state.codes = {}
    held_out = HeldOut(executor, data, graph.outputs[0].name, options.most_lost_points)  # before rounding
    priced = PricedIntegers(executor, forms)
    target = options.target_bytes or round(state.original.weight_bytes() / options.ratio)
    control = PriceControl(
        target_bytes=target,
        fixed_bytes=_bytes_of_zeros(state, priced),
        measure=lambda: _bytes(state, executor, priced),
        ramp=options.ramp,
    )
    if control.fixed_bytes >= target:
        raise RecipeError(
            f"target_bytes = {target:,} cannot be reached: this model takes {control.fixed_bytes:,} bytes "
            "when all its weights are 0. Ask for more."
        )
    steps = planned_steps(state, data, options)
    priced.pace(control, max(1, min(options.refresh, steps // _DECISIONS)))
    tune(
        state, executor, data, priced, options,
        label=lambda: f"entropy, about {control.estimate(priced.bits):,.0f} B of {target:,}",
        hold=options.hold, part=(0.0, 0.9),
    )  # fmt: skip
    price, bits = priced.price, priced.bits

    def bytes_at(zeroed: float) -> int:
        state.check_cancelled()
        priced.zero_least(zeroed)
        return _bytes(state, executor, priced)

    priced.zero_least(fewest_zeroed(bytes_at, target))
    fitting = {name: weight.detach().clone() for name, weight in executor.weights.items()}
    priced.settle()
    _tune_steps(state, executor, data, priced, options)
    size = _bytes(state, executor, priced)
    if size > target:  # steps and outputs are numbers whose digits take bytes, too
        priced.restore(fitting)
        put(state, executor, priced)
    accuracy = held_out.accuracy(executor) if len(data.held_out) else None
    if accuracy is not None and not held_out.accepts(accuracy):
        state.warn(
            f"With {target:,} bytes the model loses over {options.most_lost_points:g} points of accuracy "
            "on held-out training samples. Ask for more bytes, or train for more steps."
        )
    cut, codes, gone = without_dead_units(state.graph, priced.codes())
    state.graph, state.codes = cut, dict(codes)
    size = state.artifact_bytes(state)
    count = sum(code.coded()[0].size for code in priced.codes().values())
    state.stages.append(
        Stage(
            name=f"entropy, {bits / count:.3f} bits a weight",
            seconds=time.monotonic() - started,
            bytes_estimate=round(bits / 8),
            nonzero=nonzero_fraction(state.graph.float_weights()),
            bits=bits / count,
            accuracy=accuracy,
            note=f"{len(forms)} tensors; at last a bit cost {price:.1e} nats of loss; {size:,} B; "
            f"{gone} dead units cut",
        )
    )
    state.progress(1.0, "trained")


def _tune_steps(
    state: PassState, executor: Executor, data: TrainingData, priced: PricedIntegers, options: Options
) -> None:
    """Integers are settled: what is left to train are steps and small tensors."""
    settling = msgspec.structs.replace(
        options,
        steps=max(1, round(options.steps * _SETTLING)),
        most_epochs=options.most_epochs * _SETTLING,
        most_gmacs=options.most_gmacs * _SETTLING,
        learning_rate=options.learning_rate * _SETTLING_RATE,
    )
    tune(state, executor, data, priced, settling, label="steps", seed=1, part=(0.9, 0.1))


def tensor_forms(
    graph: Graph, executor: Executor, options: Options, earlier: Mapping[str, Codes] = MappingProxyType({})
) -> dict[str, Form]:
    """The tensors that become integers, by name; where `earlier` has a grid for one, it stays."""
    users = graph.users()
    forms = {}
    for name, parameter in executor.weights.items():
        array = graph.weights[name]
        if array.dtype != np.float32 or array.size < _LEAST_ELEMENTS or name not in users:
            continue
        node, _ = users[name][0]
        axis = 0
        if array.ndim > 1:
            if node.op_type == "Gemm":
                transposed = any(a.name == "transB" and a.i for a in node.attribute)
                axis = 0 if transposed else 1
            elif node.op_type in _OUTPUTS_LAST:
                axis = array.ndim - 1 if node.op_type == "MatMul" else 1
        weight = parameter.detach()
        ratio = options.step if array.ndim > 1 else options.bias_step
        known = earlier.get(name)
        if isinstance(known, ScaledIntegers) and not known.trellis and known.axis == axis:
            steps = torch.from_numpy(known.scales.copy())
        elif options.per_channel and array.ndim > 1:
            dims = [d for d in range(array.ndim) if d != axis]
            steps = ratio * weight.square().mean(dim=dims).sqrt()
        else:
            steps = ratio * weight.square().mean().sqrt().reshape(1)
        steps = steps.clamp(min=1e-6)
        kernel = int(np.prod(array.shape[2:])) if array.ndim > 2 and axis == 0 else 1
        forms[name] = Form(axis, kernel, steps)
    return forms


def put(state: PassState, executor: Executor, priced: PricedIntegers) -> None:
    """The weights as they are now into the state's graph and codes."""
    executor.write_back(state.graph)
    state.codes = dict(priced.codes())
    for name, code in state.codes.items():
        state.graph.set_weight(name, code.weights())


def _bytes(state: PassState, executor: Executor, priced: PricedIntegers) -> int:
    """Of the artifact that this would be if training ended now: without dead units."""
    put(state, executor, priced)
    kept, codes = state.graph, state.codes
    state.graph, alive, _ = without_dead_units(kept, priced.codes())
    state.codes = dict(alive)
    size = state.artifact_bytes(state)
    state.graph, state.codes = kept, codes
    return size


def _bytes_of_zeros(state: PassState, priced: PricedIntegers) -> int:
    kept = state.graph
    state.graph = kept.copy()
    state.codes = {}
    for name, code in priced.codes().items():
        empty = ScaledIntegers(np.zeros_like(code.integers), code.scales, code.axis)
        state.codes[name] = empty
        state.graph.set_weight(name, empty.weights())
    found = state.artifact_bytes(state)
    state.graph, state.codes = kept, {}
    return found

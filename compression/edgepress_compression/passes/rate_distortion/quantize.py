"""Rate-distortion quantization: each weight becomes an integer, or one of few values, chosen for what its
error does to the model's answers and for the bytes it will take. Few inputs are enough; labels are not looked
at.

    curvature.py         how much each error matters: second moments of layer inputs, Fisher information
    choose_integers.py   one price of a bit for all tensors; steps and integers from it
    cost_rounding.py     rounding with feedback, by error and bits; trellis_rounding.py the same on two grids
    codebook_rounding.py few values of any kind instead of multiples of a step
    size_budget.py       the price at which the whole artifact has the bytes asked for
"""

from __future__ import annotations

import hashlib
import time
from typing import Annotated, Literal

import msgspec
import numpy as np

from edgepress_compression.artifact.codes import Codes
from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.passes.calibration_rows import calibration_rows
from edgepress_compression.passes.curvature import Curvature, measure_curvature, plain_curvature
from edgepress_compression.passes.estimate import entropy_bits, nonzero_fraction
from edgepress_compression.passes.layer_matrix import layer_matrix
from edgepress_compression.passes.rate_distortion.choose_integers import (
    THRIFT,
    ChosenIntegers,
    choose_integers,
)
from edgepress_compression.passes.rate_distortion.codebook_rounding import ChosenCodebook, choose_codebooks
from edgepress_compression.passes.rate_distortion.size_budget import BudgetSearch
from edgepress_compression.passes.rate_distortion.steps import steepness
from edgepress_compression.passes.sharing.share import correct_bias, round_others, shareable
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.training_data import batch_limit
from edgepress_compression.training.losses import loss_for

_LEAST_BITS = 0.03  # a weight: fewer leave no model
_MOST_BITS = 9.0  # beyond, nothing is left to gain
_CODED = 0.95  # of an artifact's bytes, the integers'
_GRADIENT_SAMPLES = 64
_BATCH = 10

Grid = Literal["uniform", "codebook"]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`target_bytes` is of the whole artifact; without it `bits` says what a weight may take, in the mean."""

    target_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    bits: Annotated[float, msgspec.Meta(ge=0.5, le=11.0)] = 3.5
    grid: Grid = "uniform"
    trellis: bool = True  # two grids for tensors with long rows; uniform only
    per_channel: bool = True  # a scale for each output where outputs matter very differently; uniform only
    samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 200
    thrift: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = THRIFT  # see choose_integers.py


def run(state: PassState, options: Options) -> None:
    """Quantizes `state.graph`. Raises RecipeError for a target that cannot be reached."""
    started = time.monotonic()
    if any(node.op_type == "BatchNormalization" for node in state.graph.proto.graph.node):
        state.graph = simplified(state.graph)  # batch normalization goes into the weights before it
    weights = {name: a for name, a in shareable(state.graph, 1, 32).items() if a.ndim > 1}
    if not weights:
        raise RecipeError("quantize finds no weight tensor of 64 or more numbers; use another recipe.")
    work = _Work(state, options, weights)
    target = options.target_bytes
    bits = work.apply(work.price_for(options.bits) if target is None else work.price_within(target))
    state.stages.append(
        Stage(
            name=f"quantize, {bits / work.count:.2f} bits a weight",
            seconds=time.monotonic() - started,
            bytes_estimate=round(bits / 8),
            nonzero=nonzero_fraction(state.graph.float_weights()),
            bits=bits / work.count,
            note=f"{len(weights)} tensors; the rate model says {round(bits / 8):,} B for their integers",
        )
    )
    state.progress(1.0, "quantized")


class _Work:
    """One model, quantized again and again from the same start."""

    def __init__(self, state: PassState, options: Options, weights: dict[str, np.ndarray]) -> None:
        self._state, self._options, self._weights = state, options, weights
        self._curvature = _curvature(state, options, list(weights))
        self._steepness = {
            name: steepness(layer_matrix(array, self._curvature[name])) for name, array in weights.items()
        }
        self._start = state.graph.copy()
        self._earlier = {name: code for name, code in state.codes.items() if name not in weights}
        self._made: dict[float, dict[str, ChosenIntegers] | dict[str, ChosenCodebook]] = {}
        self._asked = 0
        self.count = sum(array.size for array in weights.values())

    def price_for(self, bits: float) -> float:
        """At which weights take about so many bits in the mean, by the entropy of plain rounding."""
        low, high = 1e-30, 1e10
        for _ in range(40):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self._plain_bits(middle) > bits * self.count else (low, middle)
        return high

    def price_within(self, target_bytes: int) -> float:
        """At which the artifact has at most, and nearly, so many bytes. Raises RecipeError."""
        lowest, highest = self.price_for(_MOST_BITS), self.price_for(_LEAST_BITS)
        start = self.price_for(min(max(_CODED * 8 * target_bytes / self.count, _LEAST_BITS), _MOST_BITS))
        search = BudgetSearch(self._bytes_at, target_bytes, lowest, highest)
        return search.run(start, bytes_per_octave=self.count / 20)

    def apply(self, price: float) -> float:
        """Puts the integers of this price into the state; their bits by the rate model."""
        if price not in self._made:
            self._made = {price: self._choose(price)}
        chosen = self._made[price]
        codes: dict[str, Codes] = {name: one.code() for name, one in chosen.items()}
        graph = self._start.copy()
        for name, one in chosen.items():
            graph.set_weight(name, one.code().weights())
            moments = self._curvature[name].moments
            if moments is not None and one.bias_gain is not None:
                correct_bias(graph, moments.bias, one.bias_gain)
        round_others(graph, codes)
        self._state.graph = graph
        self._state.codes = {**self._earlier, **codes}
        return sum(one.bits for one in chosen.values())

    def _bytes_at(self, price: float) -> int:
        self._asked += 1
        said = f"looking for the price of a bit, round {self._asked}"
        self._state.progress(1 - 0.6 * 0.8**self._asked, said)
        self.apply(price)
        return self._state.artifact_bytes(self._state)

    def _choose(self, price: float) -> dict[str, ChosenIntegers] | dict[str, ChosenCodebook]:
        options, check = self._options, self._state.check_cancelled
        if options.grid == "codebook":
            return choose_codebooks(
                self._weights, self._curvature, price, thrift=options.thrift, check_cancelled=check
            )
        return choose_integers(
            self._weights, self._curvature, price, per_channel=options.per_channel, trellis=options.trellis,
            thrift=options.thrift, rounds=1 if options.trellis else 2, check_cancelled=check,
        )  # fmt: skip

    def _plain_bits(self, price: float) -> float:
        """Zero-order entropy of all weights, each rounded to the nearest multiple of its tensor's step."""
        total = 0.0
        for name, array in self._weights.items():
            step = float(self._steepness[name].steps(price, per_channel=False).flat[0])
            whole = np.rint(np.minimum(np.abs(array), 4096 * step) / step) * np.sign(array)
            total += entropy_bits(np.unique(whole, return_counts=True)[1].tolist())
        return total


def _curvature(state: PassState, options: Options, names: list[str]) -> dict[str, Curvature]:
    """Of the graph as it is, whatever it will be quantized to: found once where runs share what they find."""
    if state.shared is None:
        return _measured_curvature(state, options, names)
    graph = hashlib.sha256(state.graph.serialize()).hexdigest()
    key = f"curvature {graph} {options.samples} {state.seed}"
    if key not in state.shared:
        for other in [known for known in state.shared if known.startswith("curvature ")]:
            del state.shared[other]  # one takes as much memory as the model, or more
        state.shared[key] = _measured_curvature(state, options, names)
    found: dict[str, Curvature] = state.shared[key]
    return found


def _measured_curvature(state: PassState, options: Options, names: list[str]) -> dict[str, Curvature]:
    rows = calibration_rows(state, options.samples)
    if rows is None:
        return plain_curvature({name: state.graph.weights[name] for name in names})
    task = "classification" if rows.classification else "other"
    return measure_curvature(
        Executor(state.graph),
        rows.fetch,
        rows.rows,
        names,
        loss_for(state.graph, task, label_share=0.0),
        seed=state.seed,
        gradient_rows=_GRADIENT_SAMPLES,
        batch_size=batch_limit(state.graph, _BATCH),
        progress=lambda fraction, message: state.progress(0.4 * fraction, message),
        check_cancelled=state.check_cancelled,
    )

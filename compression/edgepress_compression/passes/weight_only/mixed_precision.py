"""Mixed precision: each tensor gets the bits that its loss is worth, of 2 to 8, within a budget.

    sensitivity.py   what each tensor costs at each width, measured or by curvature
    allocate.py      the division of the budget
Then every tensor is rounded as weight-only rounds it (feedback.py). The report's stage holds the sensitivity.
"""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import numpy as np

from edgepress_compression.artifact.codes import Codes
from edgepress_compression.errors import RecipeError
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.calibration_rows import calibration_rows
from edgepress_compression.passes.curvature import Curvature
from edgepress_compression.passes.estimate import index_bits, nonzero_fraction
from edgepress_compression.passes.sharing.share import round_others
from edgepress_compression.passes.simplify import simplified
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.weight_only.allocate import allocate
from edgepress_compression.passes.weight_only.layers import input_moments, outputs_last
from edgepress_compression.passes.weight_only.sensitivity import (
    Candidate,
    Method,
    curvature_losses,
    measured_losses,
)
from edgepress_compression.passes.weight_only.weight_only import put_code, quantizable, round_tensor

WIDTHS = (2, 3, 4, 5, 6, 7, 8)
_SCALE_BITS = 16.0  # of a short scale
_QUESTIONS = 6  # how often the artifact's bytes are asked for
_SLACK = 0.005  # of the budget may be left


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`target_bytes` is of the whole artifact; without it `bits` says what a weight may take in the mean, by
    the entropy of its whole numbers."""

    target_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    bits: Annotated[float, msgspec.Meta(ge=1.0, le=8.0)] = 4.0
    sensitivity: Method = "measured"
    symmetric: bool = False
    feedback: bool = True
    samples: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 128
    most_gmacs: Annotated[float, msgspec.Meta(gt=0)] = 1500.0  # 1e9 multiply-accumulates of measuring


def run(state: PassState, options: Options) -> None:
    """Quantizes the weights of `state.graph` that no earlier pass coded. Raises RecipeError when there are
    none, when there is nothing to measure with, or for a target that cannot be reached."""
    started = time.monotonic()
    if any(node.op_type == "BatchNormalization" for node in state.graph.proto.graph.node):
        state.graph = simplified(state.graph)
    names = quantizable(state)
    if not names:
        raise RecipeError("mixed-precision finds no weight tensor of 64 or more numbers; use another recipe.")
    found = calibration_rows(state, options.samples)
    if found is None:
        raise RecipeError(
            "mixed-precision measures what each tensor costs, and this model cannot be looked into (see the "
            "warnings); use weight-only."
        )
    weights = {name: state.graph.weights[name] for name in names}
    candidates = {name: _candidates(state.graph, name, options) for name in names}
    losses = (
        measured_losses(state, found, candidates, most_gmacs=options.most_gmacs)
        if options.sensitivity == "measured"
        else curvature_losses(state, found, candidates)
    )
    losses = {name: np.minimum.accumulate(several).tolist() for name, several in losses.items()}
    curvature = (
        input_moments(state, names, options.samples)
        if options.feedback
        else {name: Curvature(None, np.ones(1)) for name in names}
    )
    writer = _Writer(state, candidates, losses, curvature, options)
    chosen = (
        writer.within(options.target_bytes)
        if options.target_bytes is not None
        else writer.put(options.bits * sum(a.size for a in weights.values()))
    )
    total = sum(candidates[name][i].coded_bits for name, i in chosen.items())
    count = sum(a.size for a in weights.values())
    state.stages.append(
        Stage(
            name=f"mixed-precision, {total / count:.2f} bits a weight",
            seconds=time.monotonic() - started,
            bytes_estimate=round(total / 8),
            nonzero=nonzero_fraction(state.graph.float_weights()),
            bits=total / count,
            note=f"{len(names)} tensors of {_said(chosen)} bits",
            detail={
                "sensitivity": [
                    {"tensor": name, "bits": candidate.bits, "loss": loss}
                    for name in names
                    for candidate, loss in zip(candidates[name], losses[name], strict=True)
                ],
                "chosen": {name: WIDTHS[i] for name, i in chosen.items()},
            },
        )
    )
    state.progress(1.0, "quantized")


def _said(chosen: dict[str, int]) -> str:
    widths = sorted({WIDTHS[i] for i in chosen.values()})
    return f"{widths[0]} to {widths[-1]}" if len(widths) > 1 else str(widths[0])


def _candidates(graph: Graph, name: str, options: Options) -> list[Candidate]:
    """Without feedback: what a width costs, not what the best rounding makes of it."""
    several = []
    for bits in WIDTHS:
        code, _ = round_tensor(
            graph.weights[name],
            Curvature(None, np.ones(1)),
            bits,
            symmetric=options.symmetric,
            clip=True,
            outputs_last=outputs_last(graph, name),
        )
        coded_bits = index_bits(code) + _SCALE_BITS * code.scales.size
        several.append(Candidate(bits, code.weights(), coded_bits))
    return several


class _Writer:
    """One model, rounded again and again from the same start."""

    def __init__(
        self,
        state: PassState,
        candidates: dict[str, list[Candidate]],
        losses: dict[str, list[float]],
        curvature: dict[str, Curvature],
        options: Options,
    ) -> None:
        self._state, self._candidates, self._losses = state, candidates, losses
        self._curvature, self._options = curvature, options
        self._start: Graph = state.graph.copy()
        self._codes: dict[str, Codes] = dict(state.codes)
        self._rounded: dict[tuple[str, int], tuple[Codes, np.ndarray | None]] = {}

    def put(self, budget_bits: float) -> dict[str, int]:
        """Divides the budget and puts the whole numbers into the state; by tensor the number of its width."""
        bits = {name: [one.coded_bits for one in several] for name, several in self._candidates.items()}
        chosen = allocate(bits, self._losses, budget_bits)
        state = self._state
        state.graph, state.codes = self._start.copy(), dict(self._codes)
        for done, (name, i) in enumerate(chosen.items()):
            state.check_cancelled()
            state.progress(0.75 + 0.2 * done / len(chosen), f"rounding {name} to {WIDTHS[i]} bits")
            if (name, i) not in self._rounded:
                self._rounded[name, i] = round_tensor(
                    self._start.weights[name],
                    self._curvature[name],
                    WIDTHS[i],
                    symmetric=self._options.symmetric,
                    clip=True,
                    outputs_last=outputs_last(self._start, name),
                )
            code, gain = self._rounded[name, i]
            put_code(state, name, code, self._curvature[name], gain)
        round_others(state.graph, state.codes)
        return chosen

    def within(self, target_bytes: int) -> dict[str, int]:
        """The best division whose artifact has at most so many bytes. Raises RecipeError."""
        least = sum(several[0].coded_bits for several in self._candidates.values())
        most = sum(several[-1].coded_bits for several in self._candidates.values())
        best: float | None = None
        budget = min(max(8.0 * target_bytes * 0.95, least), most)
        low, high = least, most
        for _ in range(_QUESTIONS):
            self.put(budget)
            size = self._state.artifact_bytes(self._state)
            if size <= target_bytes:
                best, low = max(budget, best or 0.0), budget
                if size >= (1 - _SLACK) * target_bytes or budget >= most:
                    break
            else:
                high = budget
                if budget <= least:
                    break
            aimed = budget + 8.0 * (target_bytes * (1 - _SLACK / 2) - size)
            budget = aimed if low < aimed < high else (low + high) / 2 if low < high else low
        if best is None:
            chosen = self.put(least)
            size = self._state.artifact_bytes(self._state)
            if size > target_bytes:
                raise RecipeError(
                    f"target_bytes = {target_bytes:,} cannot be reached: with {WIDTHS[0]} bits for every "
                    f"tensor this model still takes {size:,} bytes. Ask for at least that, or prune it first."
                )
            return chosen
        return self.put(best)

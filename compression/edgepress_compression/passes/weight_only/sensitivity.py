"""What each tensor costs the model's answers at each width, in nats.

measured   the loss itself: one tensor is quantized, the rest is as it was, and the divergence from the
           model's own answers is measured (exact, for that tensor alone; Wang et al. 2019 search by it)
curvature  second order: g_o e E[x x^T] e^T / 2 for the error e of each output's row (passes/curvature.py),
           as HAWQ-V2 weighs squared errors by the Hessian's trace (Dong et al. 2020, equation 2): one look
           at the data for all widths
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from edgepress_compression.executor import Executor
from edgepress_compression.passes.calibration_rows import CalibrationRows
from edgepress_compression.passes.curvature import Curvature, measure_curvature
from edgepress_compression.passes.layer_matrix import layer_matrix
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import batch_limit
from edgepress_compression.training.losses import loss_for

Method = Literal["measured", "curvature"]
_BATCH = 10
_GRADIENT_SAMPLES = 64
_FEWEST_SAMPLES = 8


@dataclass(frozen=True)
class Candidate:
    """A tensor at one width."""

    bits: int
    values: np.ndarray  # the weights, as they would be
    coded_bits: float  # of all its whole numbers, by their entropy


def measured_losses(
    state: PassState,
    found: CalibrationRows,
    candidates: Mapping[str, Sequence[Candidate]],
    *,
    most_gmacs: float,
) -> dict[str, list[float]]:
    """Nats by tensor, one for each of its candidates. As many of the rows are used as the work allows."""
    executor = Executor(state.graph)
    loss = loss_for(
        state.graph, "classification" if found.classification else "other", label_share=0.0, temperature=1.0
    )
    runs = sum(len(several) for several in candidates.values()) + 1
    macs = max(1, state.graph.macs() or state.graph.weight_bytes())
    rows = found.rows[: max(_FEWEST_SAMPLES, int(most_gmacs * 1e9 / (macs * runs)))]
    size = batch_limit(state.graph, _BATCH)
    feeds = [
        {name: torch.from_numpy(a) for name, a in found.fetch(rows[first : first + size]).items()}
        for first in range(0, len(rows), size)
        if len(rows[first : first + size]) == size or first == 0
    ]
    losses: dict[str, list[float]] = {}
    done = 0
    with torch.no_grad():
        answers = [executor(feed) for feed in feeds]
        for name, several in candidates.items():
            weight = executor.weights[name]
            before = weight.detach().clone()
            losses[name] = []
            for candidate in several:
                state.check_cancelled()
                done += 1
                state.progress(0.1 + 0.6 * done / runs, f"what {name} loses with {candidate.bits} bits")
                weight.copy_(torch.from_numpy(np.ascontiguousarray(candidate.values)))
                total = [
                    float(loss(executor(feed), torch.zeros(0), answer))
                    for feed, answer in zip(feeds, answers, strict=True)
                ]
                losses[name].append(float(np.mean(total)))
            weight.copy_(before)
    return losses


def curvature_losses(
    state: PassState, found: CalibrationRows, candidates: Mapping[str, Sequence[Candidate]]
) -> dict[str, list[float]]:
    """The same from second moments and Fisher information."""
    task = "classification" if found.classification else "other"
    curvature = measure_curvature(
        Executor(state.graph),
        found.fetch,
        found.rows,
        list(candidates),
        loss_for(state.graph, task, label_share=0.0),
        seed=state.seed,
        gradient_rows=_GRADIENT_SAMPLES,
        batch_size=batch_limit(state.graph, _BATCH),
        progress=lambda fraction, message: state.progress(0.1 + 0.6 * fraction, message),
        check_cancelled=state.check_cancelled,
    )
    return {
        name: [
            quadratic_loss(state.graph.weights[name], candidate.values, curvature[name])
            for candidate in several
        ]
        for name, several in candidates.items()
    }


def quadratic_loss(weight: np.ndarray, values: np.ndarray, curvature: Curvature) -> float:
    """Nats: sum over outputs of g_o e E[x x^T] e^T / 2, e (inputs,) the change of that output's row."""
    error = values.astype(np.float64) - weight
    moments = curvature.moments
    if moments is None:
        return float(0.5 * curvature.outputs[0] * np.square(error).sum())
    matrix = layer_matrix(weight, curvature)
    rows = matrix.of_tensor(error)  # (groups, outputs, inputs)
    second = moments.products.double().numpy() / moments.count  # (groups, inputs, inputs)
    by_output = np.einsum("goi,gij,goj->go", rows, second, rows, optimize=True)
    return float(0.5 * (matrix.outputs * by_output).sum())

"""Rounding with feedback: the error of each rounded weight is made up for by those not yet rounded.

GPTQ (Frantar et al. 2023, equations 2 and 3, after Optimal Brain Quantization, Frantar and Alistarh 2022):
inputs of a layer are taken one at a time, and with the inverse second moments of the layer's inputs each
error is spread over the remaining weights of its row so that the layer's outputs change least.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.passes.layer_inputs import Moments

_DAMPING = 0.01  # of the mean moment, added to all: rare inputs do not get wild weights


def round_with_feedback(weight: np.ndarray, moments: Moments, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Multiples of `step` for a weight, and what its bias should gain so that mean outputs stay.

    weight: (outputs, inputs, ...) or (inputs, outputs), see `moments.rows_first`.
    Returns (whole numbers of the weight's shape, int64; bias change of shape (outputs,), float32).
    """
    rows = weight if moments.rows_first else weight.T
    outputs = rows.shape[0]
    groups = moments.products.shape[0]
    matrix = torch.from_numpy(rows.astype(np.float64)).reshape(groups, outputs // groups, -1)
    whole = torch.stack(
        [_round_group(matrix[i], moments.products[i].double() / moments.count, step) for i in range(groups)]
    )
    means = (moments.sums.double() / moments.count).unsqueeze(-1)  # (groups, inputs, 1)
    gain = ((matrix - whole * step) @ means).reshape(outputs)
    numbers = whole.reshape(outputs, -1).to(torch.int64).numpy()
    shaped = numbers.reshape(rows.shape)
    return (shaped if moments.rows_first else np.ascontiguousarray(shaped.T)), gain.float().numpy()


def _round_group(matrix: Tensor, hessian: Tensor, step: float) -> Tensor:
    """matrix (outputs, inputs), hessian (inputs, inputs), float64 -> whole numbers (outputs, inputs)."""
    power = hessian.diagonal()
    silent = power == 0  # an input that is always 0: its weights do nothing
    order = torch.argsort(
        power, descending=True, stable=True
    )  # the loudest first, while there is most to adjust
    work = torch.where(silent, torch.zeros(()).double(), matrix)[:, order]
    ordered = hessian[order][:, order]
    mean_power = power.mean().clamp(min=1e-12)
    ordered.diagonal().add_(_DAMPING * mean_power + torch.where(silent, mean_power, 0.0)[order])
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(ordered))
    factor = torch.linalg.cholesky(inverse, upper=True)  # (inputs, inputs)
    whole = torch.zeros_like(work)
    for i in range(work.shape[1]):
        whole[:, i] = torch.round(work[:, i] / step)
        error = (work[:, i] - whole[:, i] * step) / factor[i, i]  # (outputs,)
        work[:, i + 1 :] -= error.unsqueeze(1) * factor[i, i + 1 :]
    return whole[:, torch.argsort(order)]

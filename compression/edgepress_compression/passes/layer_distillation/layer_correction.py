"""The weights with which a layer, on inputs that are already wrong, comes nearest to its original outputs.

With x the inputs that the layer gets and t those that it got in the original model, both without their means,

    V = W + W (E[t x^T] - E[x x^T]) (E[x x^T] + d I)^-1

is least in E|W t - V x|^2 + d |V - W|^2: least squares in closed form, so that a few hundred samples suffice,
and d holds V near W where they say little. Means go into the bias. Rounding V instead of W makes a layer mend
what rounding the layers before it broke (asymmetric calibration: Li et al. 2025, GPTAQ, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from edgepress_compression.passes.layer_distillation.paired_inputs import PairedMoments
from edgepress_compression.passes.layer_inputs import Moments

_DAMPING = 0.05  # of the mean power: with less, few samples are fitted too well


@dataclass(frozen=True)
class Correction:
    """`weight` float32 of the tensor's shape. `moments` are those by which to round it: without means where
    the bias takes them up, so that `bias_gain` (outputs,) belongs to `weight` before it is rounded."""

    weight: np.ndarray
    moments: Moments
    bias_gain: np.ndarray | None


def corrected(weight: np.ndarray, seen: PairedMoments, *, has_bias: bool) -> Correction:
    """weight: the original, (outputs, inputs of a group, ...) or (inputs, outputs); its zeros stay."""
    flat = weight if seen.rows_first else weight.T
    groups, inputs = seen.own_sums.shape
    rows = torch.from_numpy(flat.astype(np.float64)).reshape(groups, -1, inputs)
    means, wanted = seen.own_sums / seen.count, seen.original_sums / seen.count  # (groups, inputs)
    own, cross = seen.own / seen.count, seen.cross / seen.count
    if has_bias:
        own = own - means.unsqueeze(2) * means.unsqueeze(1)
        cross = cross - wanted.unsqueeze(2) * means.unsqueeze(1)
    power = own.diagonal(dim1=1, dim2=2)  # (groups, inputs)
    ridge = _DAMPING * power.mean(dim=1).clamp(min=1e-12)
    system = own + torch.diag_embed(ridge.unsqueeze(1).expand(groups, inputs))
    # the system is symmetric: its inverse from the right is a solution for the transpose
    change = torch.linalg.solve(system, (rows @ (cross - own)).transpose(1, 2)).transpose(1, 2)
    better = torch.where(rows == 0, 0.0, rows + change)
    gain = None
    if has_bias:
        gain = (rows @ wanted.unsqueeze(2) - better @ means.unsqueeze(2)).reshape(-1).float().numpy()
    moments = Moments(
        products=(own * seen.count).float(),
        sums=seen.own_sums.float(),
        count=seen.count,
        rows_first=seen.rows_first,
        bias=None,
    )
    shaped = better.reshape(flat.shape).float().numpy()
    return Correction(shaped if seen.rows_first else np.ascontiguousarray(shaped.T), moments, gain)

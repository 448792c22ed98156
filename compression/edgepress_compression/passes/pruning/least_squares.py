"""One layer's weights by least squares, and only as far as they hold on samples that were not fitted to.

With t the columns that the layer got before a cut and x those that it gets now, its kept outputs should be
y = W0 t + b0, as they were. For a damping d

    V = W + (E[y x^T] - W E[x x^T]) (E[x x^T] + d p I)^-1,   p the mean power of x,

is least in E|y - V x|^2 + d p |V - W|^2 (reconstruction of He et al. 2017, Channel Pruning for Accelerating
Very Deep Neural Networks, equation 5, and Luo et al. 2017, ThiNet, section 3.3); means go into the bias. Few
samples fit too well with a small d, many fit too little with a large one. So each output takes the d with the
least error on held-out samples, and stays as it is where none of them has less than it had.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_DAMPINGS = (0.001, 0.005, 0.02, 0.1, 0.5, 2.0)


@dataclass(frozen=True)
class Moments:
    """Sums over samples and positions, float64; g groups of n inputs and m outputs each."""

    own: Tensor  # (g, n, n), of x x^T
    cross: Tensor  # (g, m, n), of y x^T
    inputs: Tensor  # (g, n), of x
    outputs: Tensor  # (g, m), of y
    power: Tensor  # (g, m), of y^2
    count: int

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Moments:
        """x (g, n, samples), y (g, m, samples)."""
        return cls(
            (x @ x.transpose(1, 2)).double(),
            (y @ x.transpose(1, 2)).double(),
            x.sum(2, dtype=torch.float64),
            y.sum(2, dtype=torch.float64),
            y.square().sum(2, dtype=torch.float64),
            x.shape[2],
        )

    def plus(self, other: Moments) -> Moments:
        return Moments(
            self.own + other.own,
            self.cross + other.cross,
            self.inputs + other.inputs,
            self.outputs + other.outputs,
            self.power + other.power,
            self.count + other.count,
        )

    def error(self, weights: Tensor, bias: Tensor) -> Tensor:
        """Mean square of y - weights x - bias, (g, m); weights (g, m, n), bias (g, m)."""
        explained = (weights @ self.own * weights).sum(2) - 2 * (weights * self.cross).sum(2)
        given = (weights @ self.inputs.unsqueeze(2)).squeeze(2) - self.outputs
        return (self.power + explained + bias * (2 * given + self.count * bias)) / self.count


@dataclass(frozen=True)
class Fit:
    """What a layer gets, and its mean squared error on held-out samples before and with it, (g, m)."""

    weights: Tensor  # (g, m, n)
    bias: Tensor  # (g, m)
    before: Tensor
    after: Tensor


def fit_layer(weights: Tensor, bias: Tensor, fitted: Moments, held_out: Moments, *, move_bias: bool) -> Fit:
    """From weights (g, m, n) and bias (g, m), float64; without `move_bias` the bias stays as it is."""
    own, cross = fitted.own / fitted.count, fitted.cross / fitted.count
    mean, wanted = fitted.inputs / fitted.count, fitted.outputs / fitted.count
    if move_bias:
        own = own - mean.unsqueeze(2) * mean.unsqueeze(1)
        cross = cross - wanted.unsqueeze(2) * mean.unsqueeze(1)
    else:
        cross = cross - bias.unsqueeze(2) * mean.unsqueeze(1)
    missing = (cross - weights @ own).transpose(1, 2)  # (g, n, m)
    power = own.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
    best = Fit(weights, bias, *[held_out.error(weights, bias)] * 2)
    changes = [torch.zeros_like(weights)] if move_bias else []
    for damping in _DAMPINGS:
        system = own + torch.diag_embed((damping * power).unsqueeze(1).expand(own.shape[:2]))
        factor, failed = torch.linalg.cholesky_ex(system)
        if not failed.any():
            changes.append(torch.cholesky_solve(missing, factor).transpose(1, 2))
    for change in changes:
        tried = weights + change
        moved = wanted - (tried @ mean.unsqueeze(2)).squeeze(2) if move_bias else bias
        best = _better(best, tried, moved, held_out.error(tried, moved))
    return best


def _better(best: Fit, weights: Tensor, bias: Tensor, error: Tensor) -> Fit:
    """Output by output."""
    less = error < best.after
    return Fit(
        torch.where(less.unsqueeze(2), weights, best.weights),
        torch.where(less, bias, best.bias),
        best.before,
        torch.where(less, error, best.after),
    )

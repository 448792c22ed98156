"""Prunes one layer and moves its remaining weights so that its outputs change least (layer-wise OBS).

The outputs of a layer with inputs x are those of the original layer with the original's inputs t, as far as
the remaining weights can:

    minimize  E || W t + b - (V x + c) ||^2   over V with the pruned weights zero, and over the bias c

For a row of V that is a least-squares problem in H = E[x x^T] (of x and t less their means where there is a
bias, which takes care of those): all weights outside the kept set S zero, the others are
V_S = (W E[t x^T])_S H_SS^-1. That is the exact end of what OBS does a weight at a time (Hassibi and Stork
1993; Dong et al. 2017; Frantar and Alistarh 2022, OBC). S is found in rounds: each removes the weights of
least loss v_i^2 / (2 [H_SS^-1]_ii), by V and H_SS as the rounds before have left them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgepress_compression.passes.layer_distillation.paired_inputs import PairedMoments

_DAMPING = 0.01  # of the mean moment, drawn towards the weights as they are: few samples move little
_LEFT_IN_A_ROUND = 0.75  # of the remaining weights, at least
_WIDE = 1024  # inputs from which rounds are fewer: time grows with their cube
_LEFT_WHERE_WIDE = 0.55

Choose = Callable[[Tensor, float], Tensor]  # scores of the weight's shape, sparsity -> bool, True is kept


@dataclass(frozen=True)
class UpdatedLayer:
    weight: Tensor  # of the same shape; zero where not kept
    kept: Tensor  # bool
    bias_gain: Tensor  # (outputs,) to be added to the bias


@dataclass(frozen=True)
class _Problem:
    """Rows (groups, outputs, inputs) of least squares: cross = target H, H damped. float64."""

    cross: Tensor
    hessian: Tensor  # (groups, inputs, inputs)


def prune_layer(
    weight: Tensor,
    moments: PairedMoments,
    choose: Choose,
    sparsity: float,
    *,
    before: Tensor | None = None,
    outputs: Tensor | None = None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> UpdatedLayer:
    """`before`: bool of the weight's shape, what is kept already. `outputs`: (outputs,) how much an error of
    each output matters; equal by default."""
    groups, inputs = moments.own.shape[:2]

    def rows_of(tensor: Tensor) -> Tensor:
        flat = tensor if moments.rows_first else tensor.T
        return flat.reshape(groups, -1, inputs)

    def tensor_of(rows: Tensor) -> Tensor:
        if moments.rows_first:
            return rows.reshape(weight.shape)
        return rows.reshape(weight.shape[1], weight.shape[0]).T.contiguous()

    rows = rows_of(weight.detach().double())  # (groups, outputs of a group, inputs)
    problem, shift = _problem(rows, moments)
    kept = torch.ones_like(rows, dtype=torch.bool) if before is None else rows_of(before).clone()
    matters = torch.ones(rows.shape[:2]) if outputs is None else outputs.reshape(rows.shape[:2])
    start = 1 - float(kept.double().mean())
    now, diagonal = rows, None
    for level in _levels(start, sparsity, wide=inputs > _WIDE):
        if diagonal is None:
            now, diagonal = _solve(problem, kept, rows, check_cancelled)
        scores = matters[:, :, None].double() * now.square() / (2 * diagonal)
        kept = rows_of(choose(tensor_of(torch.where(kept, scores, 0.0)), level)) & kept
        now, diagonal = _solve(problem, kept, rows, check_cancelled)
    if diagonal is None:
        now, _ = _solve(problem, kept, rows, check_cancelled)
    return UpdatedLayer(
        tensor_of(now).to(weight.dtype), tensor_of(kept), shift(now).reshape(-1).to(weight.dtype)
    )


def _problem(rows: Tensor, moments: PairedMoments) -> tuple[_Problem, Callable[[Tensor], Tensor]]:
    """The least squares, and what a bias gains for rows that have been found."""
    count = moments.count
    hessian, cross = moments.own / count, moments.cross / count  # E[x x^T], E[t x^T]
    own_mean, original_mean = moments.own_sums / count, moments.original_sums / count  # (groups, inputs)
    if moments.bias is not None:
        hessian = hessian - own_mean[:, :, None] * own_mean[:, None, :]
        cross = cross - original_mean[:, :, None] * own_mean[:, None, :]
    power = hessian.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)  # (groups,)
    damping = _DAMPING * power[:, None, None]
    hessian = hessian + damping * torch.eye(hessian.shape[1], dtype=hessian.dtype)
    problem = _Problem(rows @ cross + damping * rows, hessian)

    def shift(found: Tensor) -> Tensor:  # (groups, outputs)
        if moments.bias is None:
            return torch.zeros(found.shape[:2], dtype=found.dtype)
        return (rows @ original_mean[:, :, None] - found @ own_mean[:, :, None])[:, :, 0]

    return problem, shift


def _solve(
    problem: _Problem, kept: Tensor, rows: Tensor, check_cancelled: Callable[[], None]
) -> tuple[Tensor, Tensor]:
    """(the kept weights that solve the least squares, [H_SS^-1]_ii and 1 where not kept), both
    (groups, outputs, inputs)."""
    found, diagonal = torch.zeros_like(rows), torch.ones_like(rows)
    for group in range(rows.shape[0]):
        hessian, cross = problem.hessian[group], problem.cross[group]
        if bool(kept[group].all()):  # the same for all rows
            inverse = torch.linalg.inv(hessian)
            found[group] = cross @ inverse
            diagonal[group] = inverse.diagonal()
            continue
        for row in range(rows.shape[1]):
            check_cancelled()
            places = torch.nonzero(kept[group, row])[:, 0]
            if not len(places):
                continue
            factor = torch.linalg.cholesky(hessian[places][:, places])
            inverse = torch.cholesky_inverse(factor)
            found[group, row, places] = inverse @ cross[row, places]
            diagonal[group, row, places] = inverse.diagonal()
    return found, diagonal


def _levels(start: float, target: float, *, wide: bool) -> list[float]:
    """Sparsities of the rounds, the last is `target`."""
    least = _LEFT_WHERE_WIDE if wide else _LEFT_IN_A_ROUND
    kept, goal = 1 - start, 1 - target
    levels = []
    while kept * least > goal:
        kept *= least
        levels.append(1 - kept)
    return [*levels, target] if goal < kept - 1e-12 else levels

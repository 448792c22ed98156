"""A constraint under which weights train towards few bits, with two of every four inputs of an output zero.

The weights that compute are scale * integer * mask; those that the optimizer moves are the floats behind
them, and gradients pass from one to the other as if nothing lay between (straight-through, Bengio et al.
2013). Scales: statistics-aware weight binning (Choi et al. 2019, Accurate and Efficient 2-bit Quantized
Neural Networks, section 3.2) gives the clip of least squared error from the mean square and the mean
magnitude of a row; or the clip that a search over the row itself finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.executor import Executor

Clip = Literal["sawb", "mse"]
# bits -> coefficients of sqrt(E w^2) and E |w|, fitted to distributions of weights by Choi et al. 2019
_SAWB = {2: (3.12, 2.064), 3: (7.509, 6.892), 4: (12.68, 12.80), 5: (17.74, 18.64)}
_CLIPS = np.linspace(0.3, 1.0, 29)  # of a row's largest weight, that "mse" tries


@dataclass(frozen=True)
class Form:
    """Of one weight (two sides): which of them counts outputs, and what is zero."""

    output_axis: int
    scales: Tensor  # (outputs,)
    mask: Tensor | None  # bool, the weight's shape; None: dense


def n_of_m_mask(scores: Tensor, n: int, m: int, output_axis: int) -> Tensor:
    """True for the n best of each m inputs that follow each other, for every output; inputs left over at
    the end stay."""
    by_output = scores if output_axis == 0 else scores.T  # (outputs, inputs)
    outputs, inputs = by_output.shape
    whole = inputs - inputs % m
    groups = by_output[:, :whole].reshape(outputs, -1, m)
    best = torch.zeros_like(groups, dtype=torch.bool).scatter_(2, groups.topk(n, dim=2).indices, True)
    mask = torch.ones_like(by_output, dtype=torch.bool)
    mask[:, :whole] = best.reshape(outputs, whole)
    return mask if output_axis == 0 else mask.T.contiguous()


def row_scales(weight: Tensor, bits: int, output_axis: int, clip: Clip) -> Tensor:
    """(outputs,) steps of symmetric integers of so many bits, -(2^(bits-1) - 1) to 2^(bits-1) - 1."""
    rows = weight.detach() if output_axis == 0 else weight.detach().T  # (outputs, inputs)
    top = 2 ** (bits - 1) - 1
    largest = rows.abs().amax(dim=1).clamp(min=1e-12)
    if clip == "sawb" and bits in _SAWB:
        first, second = _SAWB[bits]
        kept = (rows != 0).sum(dim=1).clamp(min=1)  # what is pruned says nothing about the rest
        square = (rows.square().sum(dim=1) / kept).sqrt()
        chosen = first * square - second * rows.abs().sum(dim=1) / kept
        usable = torch.where(chosen > 0.2 * largest, torch.minimum(chosen, largest), largest)
        return torch.div(usable, top)
    best, error = torch.div(largest, top), torch.full_like(largest, float("inf"))
    for share in _CLIPS:
        step = largest * float(share) / top
        lost = (rows - _rounded(rows, step[:, None], top) * step[:, None]).square().sum(dim=1)
        best, error = torch.where(lost < error, step, best), torch.minimum(lost, error)
    return best


class SparseIntegers:
    """Weights named in `forms` have integers of `bits` bits; all else trains freely."""

    def __init__(self, executor: Executor, forms: Mapping[str, Form], bits: int) -> None:
        self._executor, self._forms, self._top = executor, dict(forms), 2 ** (bits - 1) - 1
        self._behind = {name: executor.weights[name].detach().clone() for name in forms}
        for tensor in self._behind.values():
            tensor.requires_grad_(True)
        self._others = [weight for name, weight in executor.weights.items() if name not in forms]
        self.apply()

    def parameters(self) -> list[Tensor]:
        return [*self._behind.values(), *self._others]

    def begin(self, fraction: float, optimizer: torch.optim.Optimizer) -> None:
        """Masks and scales stay as they were chosen."""

    def collect(self) -> None:
        for name, behind in self._behind.items():
            gradient = self._executor.weights[name].grad
            mask = self._forms[name].mask
            behind.grad = gradient if gradient is None or mask is None else gradient * mask

    def apply(self) -> None:
        with torch.no_grad():
            for name, form in self._forms.items():
                self._executor.weights[name].copy_(self._integers(name) * self._steps(form))

    def resume_state(self) -> dict[str, Any]:
        """Nothing beside the parameters (training/checkpoint.py)."""
        return {}

    def resume_from(self, state: dict[str, Any]) -> None:
        """Nothing is remembered."""

    def codes(self) -> dict[str, ScaledIntegers]:
        """The integers as they are now, by weight."""
        return {
            name: ScaledIntegers(
                self._integers(name).to(torch.int32).numpy(),
                form.scales.numpy().astype(np.float32),
                form.output_axis,
                False,
            )
            for name, form in self._forms.items()
        }

    def _integers(self, name: str) -> Tensor:
        form = self._forms[name]
        integers = _rounded(self._behind[name].detach(), self._steps(form), self._top)
        return integers if form.mask is None else integers * form.mask

    @staticmethod
    def _steps(form: Form) -> Tensor:
        return form.scales.unsqueeze(1 if form.output_axis == 0 else 0)


def _rounded(weight: Tensor, step: Tensor, top: int) -> Tensor:
    return torch.round(weight / step).clamp(-top, top)

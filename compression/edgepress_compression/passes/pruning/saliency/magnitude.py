"""Importance from the weights alone."""

from __future__ import annotations

import torch
from torch import Tensor


def magnitude(weight: Tensor) -> Tensor:
    """|w| (Han et al. 2015, section 3.1)."""
    return weight.detach().abs()


def lamp(weight: Tensor) -> Tensor:
    """LAMP scores: each squared weight over the sum of those squared weights that are at least as large
    (Lee et al. 2021, equation 4)."""
    flat = weight.reshape(-1).double().square()  # (n,)
    ascending = torch.argsort(flat, stable=True)
    rest = flat[ascending].flip(0).cumsum(0).flip(0)  # (n,) sum of this and all larger ones
    scores = torch.empty_like(flat)
    scores[ascending] = flat[ascending] / rest.clamp(min=1e-300)
    return scores.reshape(weight.shape).float()

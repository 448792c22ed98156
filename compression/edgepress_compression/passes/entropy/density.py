"""What integers of a weight matrix cost in a coder that learns from neighbours, and what a change saves.

A stand-in, made of counts, for the coder `context` (codec/context.py), which learns as it goes and cannot be
differentiated. Whether element (i, j) is zero is told by how many others of its row and of its column are:

    logit P(q_ij != 0) = logit r_i + logit c_j - logit p

with r, c, p the shares of nonzeros of the row, the column and the matrix, each without the element itself
(so the bits are those that the element adds; Besag 1975, pseudo-likelihood). A nonzero alone in its row and
column is dear, one among many is cheap: rows and columns empty as a whole. Sign: one bit. Magnitude: counts
over the matrix, smoothed by the geometric law of their mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_SMOOTHING = 6.0  # elements that the prior of a share stands for
_MAGNITUDES = 64  # those larger cost as much more as the last
_LEAST_SHARE = 1e-4
_HISTOGRAM_TRUST = 8.0  # magnitudes that the geometric law stands for


@dataclass(frozen=True)
class Slopes:
    """Bits between neighbouring integers: `first` (rows, columns) from 0 to 1 or -1 of each element,
    `further` (magnitudes,) from m to m + 1, index m - 1; `bits` of the matrix as it is."""

    first: Tensor
    further: Tensor
    bits: float

    def gradient(self, latents: Tensor) -> Tensor:
        """(rows, columns): d bits / d latent, where bits between integers lie on straight lines."""
        magnitude = latents.abs()
        beyond = self.further[(magnitude.long() - 1).clamp(0, len(self.further) - 1)]
        return torch.where(magnitude < 1, self.first, beyond) * latents.sign()


def slopes(integers: Tensor, kernel: int = 1) -> Slopes:
    """integers: (rows, columns) float, whole numbers; `kernel` columns in a row make a channel."""
    rows, columns = integers.shape
    kept = (integers != 0).float()
    count = kept.numel()
    total = float(kept.sum())
    share = (total - kept + 0.5) / count  # (rows, columns): without the element
    share = share.clamp(_LEAST_SHARE, 1 - _LEAST_SHARE)
    logit = torch.logit(share)
    if rows > 1 and columns > 1:
        by_row = kept.sum(dim=1, keepdim=True)  # (rows, 1)
        by_column = kept.sum(dim=0, keepdim=True)  # (1, columns)
        prior = share
        if 1 < kernel < columns:
            by_channel = by_column.reshape(1, -1, kernel).sum(dim=2, keepdim=True)
            by_channel = by_channel.expand(1, columns // kernel, kernel).reshape(1, columns)
            prior = (by_channel - kept + _SMOOTHING * share) / (rows * kernel - 1 + _SMOOTHING)
        row_share = (by_row - kept + _SMOOTHING * share) / (columns - 1 + _SMOOTHING)
        column_share = (by_column - kept + _SMOOTHING * prior) / (rows - 1 + _SMOOTHING)
        logit = (
            torch.logit(row_share.clamp(_LEAST_SHARE, 1 - _LEAST_SHARE))
            + torch.logit(column_share.clamp(_LEAST_SHARE, 1 - _LEAST_SHARE))
            - logit
        )
    sizes = _magnitude_bits(integers)
    # log2(P(zero) / P(not)) = -logit / ln 2
    first = -logit / math.log(2) + 1 + sizes[0]
    magnitude = integers.abs().long().clamp(max=_MAGNITUDES)
    flags = torch.nn.functional.softplus(torch.where(kept > 0, -logit, logit)) / math.log(2)
    taken = sizes[(magnitude - 1).clamp(min=0)] + 1
    bits = float((flags + kept * taken).sum())
    return Slopes(first.clamp(min=0.0), sizes.diff().clamp(min=0.0), bits)


def _magnitude_bits(integers: Tensor) -> Tensor:
    """(_MAGNITUDES,) bits of the magnitudes 1, 2, ... of what is not zero."""
    magnitude = integers.abs()
    counts = torch.bincount(magnitude.long().clamp(max=_MAGNITUDES).reshape(-1), minlength=_MAGNITUDES + 1)
    counts = counts[1:].double()
    total = float(counts.sum())
    levels = torch.arange(1, _MAGNITUDES + 1, dtype=torch.float64)
    mean = (float((counts * levels).sum()) + 2.0) / (total + 1.0)  # at least a little above 1
    stop = 1.0 / max(mean, 1.0001)
    geometric = (stop * (1 - stop) ** (levels - 1)).clamp(min=1e-12)
    mixed = (counts + _HISTOGRAM_TRUST * geometric) / (total + _HISTOGRAM_TRUST)
    return -mixed.clamp(min=1e-12).log2().float()

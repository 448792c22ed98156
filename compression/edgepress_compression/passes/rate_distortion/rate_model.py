"""What an integer will cost in the coder, cheap enough to ask for each weight while it is being chosen.

Our context coder finds out as it goes which rows and columns of a tensor are dense and how large integers
are. The model says the same from integers chosen before: the odds that an integer is not zero are the
tensor's, times what its row and its column change in them, and the rest is a histogram:

    bits(0)     = -log2(1 - p)               p / (1 - p) = odds * (row odds / odds) * (column odds / odds)
    bits(k)     = -log2(p) - log2(share of k among all that are not zero)

Counts are mixed with the tensor's own (`_WEIGHT` numbers' worth), so that a short row says little. How far
these bits are from coded bytes is measured, and corrected by one factor (`size_budget.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

_WEIGHT = 24.0
_FORBIDDEN_BITS = np.float32(1e9)
_UNSEEN = 0.5  # counts of an integer that did not occur; farther ones take its bits and more


@dataclass(frozen=True)
class RateModel:
    """Bits of the integers of a tensor with rows and columns: `zero` + 0, or `other` + `table[k + reach]`."""

    zero: np.ndarray  # (rows, columns) float32, bits of a 0
    other: np.ndarray  # (rows, columns) float32, bits of not being 0
    table: np.ndarray  # (2 reach + 1,) float32, bits of each integer that is not 0
    reach: int

    def forbidding(self, zeros: np.ndarray) -> RateModel:
        """The same, but where `zeros` (rows, columns) is true nothing but 0 will be taken."""
        return replace(self, other=np.where(zeros, _FORBIDDEN_BITS, self.other))

    def bits(self, integers: np.ndarray) -> float:
        """Of all integers (rows, columns)."""
        nonzero = integers != 0
        clipped = np.clip(integers, -self.reach, self.reach) + self.reach
        return float(np.where(nonzero, self.other + self.table[clipped], self.zero).sum(dtype=np.float64))


def fit_rate(integers: np.ndarray) -> RateModel:
    """The model that integers (rows, columns) of a tensor ask for."""
    rows, columns = integers.shape
    nonzero = integers != 0
    size = integers.size
    total = (float(nonzero.sum()) + 0.5) / (size + 1.0)
    by_row = (nonzero.sum(axis=1) + _WEIGHT * total) / (columns + _WEIGHT)  # (rows,)
    by_column = (nonzero.sum(axis=0) + _WEIGHT * total) / (rows + _WEIGHT)  # (columns,)
    logits = _logit(by_row)[:, None] + (_logit(by_column) - _logit(np.array(total)))[None, :]
    logits = np.clip(logits, -12.0, 12.0).astype(np.float32)
    one_bit = np.float32(1.0 / np.log(2.0))
    reach = max(2, int(np.abs(integers).max(initial=0)) + 2)
    counts = np.bincount(integers.reshape(-1) + reach, minlength=2 * reach + 1).astype(np.float64)
    counts = _smooth(counts, reach)
    table = -np.log2(counts / counts.sum())
    return RateModel(
        zero=np.logaddexp(np.float32(0.0), logits) * one_bit,
        other=np.logaddexp(np.float32(0.0), -logits) * one_bit,
        table=table.astype(np.float32),
        reach=reach,
    )


def _smooth(counts: np.ndarray, reach: int) -> np.ndarray:
    """Counts of nonzero integers, both signs drawn together by half: they seldom differ in truth."""
    both = 0.5 * counts + 0.25 * (counts + counts[::-1])
    both = np.maximum(both, _UNSEEN)
    both[reach] = 1e-300  # zero has bits of its own
    return np.asarray(both, np.float64)


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, 1e-5, 1 - 1e-5)
    return np.asarray(np.log(p / (1 - p)), np.float64)

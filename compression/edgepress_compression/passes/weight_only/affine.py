"""k-bit affine grids: a scale and a zero point for each row, chosen for the least squared error.

A weight is scale * (q - zero), q one of 0..2^k - 1 (Jacob et al. 2018, equation 1); zero is a whole number,
so that the weight 0 is said exactly. Shrinking a row's range clips its largest weights and refines all
others: the best of a list of shrunk ranges is taken (clipping for least squared error: Banner et al. 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress_compression.passes.int8.integers import SMALLEST_SCALE, short_scale

SHRINKS = np.linspace(1.0, 0.5, 26)  # of both sides alike
_SIDES = np.linspace(1.0, 0.3, 8)  # of each side for itself: one may hold the only large weight


@dataclass(frozen=True)
class Grid:
    """Of a row each: weights are scales * n, n a whole number lows..lows + 2^bits - 1."""

    scales: np.ndarray  # (rows,) float64 that float32 holds exactly
    lows: np.ndarray  # (rows,) int64, the lowest whole number: -zero
    bits: int

    def nearest(self, values: np.ndarray) -> np.ndarray:
        """Whole numbers, as float64, for values (rows, n)."""
        lows = self.lows[:, None]
        whole: np.ndarray = np.clip(np.rint(values / self.scales[:, None]), lows, lows + 2**self.bits - 1)
        return whole


def fit_grid(rows: np.ndarray, bits: int, *, symmetric: bool, clip: bool = True) -> Grid:
    """rows: (rows, n) float64. `symmetric`: lows is -2^(bits - 1) for every row, so that none is stored; the
    scale's sign puts the one more integer where a row's largest weight is. Without `clip` the whole range is
    covered."""
    low = np.minimum(rows.min(axis=1, initial=0.0), 0.0)
    high = np.maximum(rows.max(axis=1, initial=0.0), 0.0)
    shrinks = [(share, share) for share in SHRINKS] if clip else [(1.0, 1.0)]
    if clip and not symmetric:
        shrinks += [(below, above) for below in _SIDES for above in _SIDES if below != above]
    candidates = [
        grid for below, above in shrinks for grid in _candidates(low * below, high * above, bits, symmetric)
    ]
    best, least = candidates[0], _errors(candidates[0], rows)
    for grid in candidates[1:]:
        error = _errors(grid, rows)
        better = error < least
        best = Grid(np.where(better, grid.scales, best.scales), np.where(better, grid.lows, best.lows), bits)
        least = np.minimum(error, least)
    return best


def _errors(grid: Grid, rows: np.ndarray) -> np.ndarray:
    """(rows,) squared error of each."""
    return np.asarray(np.square(grid.nearest(rows) * grid.scales[:, None] - rows).sum(axis=1))


def _candidates(low: np.ndarray, high: np.ndarray, bits: int, symmetric: bool) -> list[Grid]:
    steps = 2**bits - 1
    if not symmetric:
        scales = _stored((high - low) / steps)
        return [Grid(scales, -np.clip(np.rint(-low / scales), 0, steps).astype(np.int64), bits)]
    half = 2 ** (bits - 1)
    lows = np.full(len(low), -half, np.int64)
    largest = np.where(-low > high, low, high)  # with its sign
    signed = np.where(largest > 0, -1.0, 1.0) * _stored(np.abs(largest) / half)
    return [Grid(signed, lows, bits), Grid(_stored(np.maximum(-low, high) / (half - 1)), lows, bits)]


def _stored(scales: np.ndarray) -> np.ndarray:
    """As the artifact holds them: short, and never 0."""
    return np.asarray(short_scale(np.maximum(scales, SMALLEST_SCALE)), np.float64)

"""A small Gaussian process: a smooth function through scattered, noisy points.

Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning": the squared exponential covariance
with a length for each axis (equation 5.1), the log marginal likelihood (5.8), by which the lengths are chosen
one after the other on a grid, and the mean by a subset of regressors (8.14): the points that are kept stand
for all, so that the function stays small and fast however much was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LENGTHS: Final = (0.5, 0.8, 1.2, 2.0, 3.0, 5.0, 8.0, 16.0)  # in factors of two of a shape; 16: hardly matters
SIGNALS: Final = (0.1, 0.2, 0.35, 0.6, 1.0)  # standard deviation of the logarithm of a factor
NOISES: Final = (0.04, 0.07, 0.12, 0.2, 0.35)
_SWEEPS: Final = 3
_USUAL_LENGTH: Final = 3.0
_JITTER: Final = 1e-6


@dataclass(frozen=True)
class Shape:
    """How smooth the function is, by axis, how far it goes, and how noisy the values are."""

    lengths: Floats  # (features,)
    signal: float
    noise: float


@dataclass(frozen=True)
class Mean:
    """The function: sum of weight * exp(-0.5 squared distance / lengths^2)."""

    points: Floats  # (kept, features)
    weights: Floats  # (kept,)
    lengths: Floats

    def at(self, points: Floats) -> Floats:
        """(n,) at points (n, features)"""
        mean: Floats = _alike(points, self.points, self.lengths) @ self.weights
        return mean


def choose(points: Floats, values: Floats, scatter: Floats) -> Shape:
    """The lengths, signal and noise that make the values most likely.

    points (samples, features), values (samples,), scatter (samples,): standard deviation of each value by
    itself, beside the noise common to all.
    """
    axes = points.shape[1]
    squares = (points[:, None, :] - points[None, :, :]) ** 2  # (samples, samples, features)
    shape = Shape(np.full(axes, _USUAL_LENGTH), 0.35, 0.12)
    best = _likelihood(squares, values, scatter, shape)
    moving = [axis for axis in range(axes) if squares[:, :, axis].max() > 0]
    for _ in range(_SWEEPS):
        before = best
        for axis in moving:
            for length in LENGTHS:
                one = Shape(_with(shape.lengths, axis, length), shape.signal, shape.noise)
                found = _likelihood(squares, values, scatter, one)
                if found > best:
                    best, shape = found, one
        for signal in SIGNALS:
            for noise in NOISES:
                one = Shape(shape.lengths, signal, noise)
                found = _likelihood(squares, values, scatter, one)
                if found > best:
                    best, shape = found, one
        if best - before < 1e-3:
            break
    return shape


def through(points: Floats, values: Floats, scatter: Floats, shape: Shape, most: int) -> Mean:
    """The function of this shape nearest to the values, on at most `most` of the points."""
    kept = points[_spread(points, shape.lengths, most)]
    noise = shape.noise**2 + scatter**2  # (samples,)
    near = _alike(points, kept, shape.lengths)  # (samples, kept)
    among = _alike(kept, kept, shape.lengths) / shape.signal**2
    left = among + (near / noise[:, None]).T @ near
    left[np.diag_indices_from(left)] += _JITTER * np.trace(left) / len(kept)
    weights: Floats = np.linalg.solve(left, near.T @ (values / noise)).astype(np.float64)
    return Mean(kept, weights, shape.lengths)


def _spread(points: Floats, lengths: Floats, most: int) -> NDArray[np.intp]:
    """Points far from each other, the most central first (Gonzalez 1985, farthest-first traversal)."""
    scaled, order = np.unique(points / lengths, axis=0, return_index=True)
    center = int(np.argmin(np.sum((scaled - scaled.mean(axis=0)) ** 2, axis=1)))
    chosen = [center]
    distance = np.sum((scaled - scaled[center]) ** 2, axis=1)
    while len(chosen) < min(most, len(scaled)) and distance.max() > 0:
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.sum((scaled - scaled[chosen[-1]]) ** 2, axis=1))
    return np.asarray(order[chosen], np.intp)


def _with(lengths: Floats, axis: int, length: float) -> Floats:
    changed = lengths.copy()
    changed[axis] = length
    return changed


def _alike(a: Floats, b: Floats, lengths: Floats) -> Floats:
    """(len(a), len(b)), 1 where they are alike"""
    difference = (a[:, None, :] - b[None, :, :]) / lengths
    alike: Floats = np.exp(-0.5 * np.sum(difference * difference, axis=2))
    return alike


def _likelihood(squares: Floats, values: Floats, scatter: Floats, shape: Shape) -> float:
    """Log marginal likelihood, with a mild prior for long lengths."""
    covariance = shape.signal**2 * np.exp(-0.5 * (squares @ (1 / shape.lengths**2)))
    covariance[np.diag_indices_from(covariance)] += shape.noise**2 + scatter**2
    factor = np.linalg.cholesky(covariance)
    white = np.linalg.solve(factor, values)
    prior = -0.3 * float(np.sum(np.log(_USUAL_LENGTH / shape.lengths) ** 2))
    return float(-0.5 * white @ white - np.sum(np.log(np.diag(factor)))) + prior

"""The rank of a matrix seen through noise, without a threshold to choose: variational Bayesian factorization.

Nakajima, Sugiyama, Babacan, Tomioka 2013 (Global analytic solution of fully-observed variational Bayesian
matrix factorization, JMLR 14): with noise of variance s2 all singular values at or below a threshold are
noise (theorem 2, corollary 1), and the s2 that the data speak for most is the minimum of a function of one
variable between known bounds (theorem 3 and section 4).
"""

from __future__ import annotations

import math

import numpy as np

_TAU = 2.5129  # sqrt(alpha) times this: where a component starts to be worth its cost
_GRID, _GOLDEN_STEPS = 200, 60


def noise_free_rank(matrix: np.ndarray) -> int:
    """How many singular values of `matrix` (any 2-D) stand above its noise; at least 1."""
    short, long = sorted(matrix.shape)
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)  # (short,), falling
    energy = float((values**2).sum())
    if energy <= 0:
        return 1
    alpha = short / long
    tau = _TAU * math.sqrt(alpha)
    edge = (1 + tau) * (1 + alpha / tau)  # of x = value^2 / (long s2): above it a component is kept
    most = max(0, min(math.ceil(short / (1 + alpha)) - 1, short - 1))  # components that can be kept
    rest = values[most:] ** 2
    low = max(float(rest[0]) / (long * edge), float(rest.mean()) / long)
    high = energy / (short * long)
    s2 = _least(values, low, max(high, low * (1 + 1e-9)), alpha, edge, long)
    return max(1, int((values > math.sqrt(long * s2 * edge)).sum()))


def _least(values: np.ndarray, low: float, high: float, alpha: float, edge: float, long: int) -> float:
    """The noise variance between the bounds with the least free energy: a grid, then a golden section."""

    def free_energy(s2: float) -> float:
        x = values**2 / (long * s2)
        x = np.maximum(x, 1e-300)
        kept, noise = x[x > edge], x[x <= edge]
        tau = 0.5 * (kept - (1 + alpha) + np.sqrt(np.maximum((kept - (1 + alpha)) ** 2 - 4 * alpha, 0.0)))
        total = float((noise - np.log(noise)).sum() + (kept - tau).sum())
        return total + float(np.log((tau + 1) / kept).sum() + alpha * np.log(tau / alpha + 1).sum())

    if low <= 0:
        low = high * 1e-12
    grid = np.geomspace(low, high, _GRID)
    energies = [free_energy(float(s2)) for s2 in grid]
    best = int(np.argmin(energies))
    left, right = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, _GRID - 1)])
    ratio = (math.sqrt(5) - 1) / 2
    for _ in range(_GOLDEN_STEPS):
        first, second = right - ratio * (right - left), left + ratio * (right - left)
        if free_energy(first) <= free_energy(second):
            right = second
        else:
            left = first
    return 0.5 * (left + right)

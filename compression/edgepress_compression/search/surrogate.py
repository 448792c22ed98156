"""What trials that were not made would come to: a Gaussian process on the parameters' levels.

The mean follows a straight line in every parameter, which by the order of the levels can only fall (costs) or
rise (the drop): that is the physics, and it is fitted with that sign (non-negative least squares). The
process on top of it learns what the lines miss (Rasmussen and Williams 2006, "Gaussian Processes for Machine
Learning", algorithm 2.1, with a Matern 5/2 kernel). Its scales are those of the largest marginal likelihood
on a small grid: with tens of trials anything finer would be noise.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np

_LENGTHS: Final = (0.3, 0.6, 1.2)  # of a parameter's whole range
_NOISES: Final = (0.02, 0.1)  # standard deviation, of that of what the lines miss
_LEAST: Final = 1e-6
_HELD: Final = 0.03  # ridge of the lines
# Lines through few trials pass nearer to them than to the rest: what they miss elsewhere is taken to be twice
# as much, and a part of the whole range at least. Of 1 and 2, and 0.02 to 0.1, those that served best on the
# benchmark's grid; on made-up objectives they make no difference.
_UNSEEN: Final = 2.0
_DOUBT: Final = 0.05
_SWEEPS: Final = 200


@dataclass(frozen=True)
class Belief:
    """Of each candidate."""

    mean: np.ndarray  # (N,)
    deviation: np.ndarray  # (N,)


def believe(
    seen: np.ndarray, values: np.ndarray, noise: np.ndarray, asked: np.ndarray, *, rises: bool
) -> Belief:
    """seen (M, D) coordinates 0..1 with values (M,) known up to `noise` (M,), a standard deviation; asked (N,
    D).

    `rises`: values grow with every coordinate; else they fall.
    """
    sign = 1.0 if rises else -1.0
    lines, start = _lines(seen, sign * values)
    rest = sign * values - (_features(seen) @ lines + start)
    scale = max(_UNSEEN * float(np.sqrt(np.mean(rest**2))), _DOUBT * float(np.ptp(values)), _LEAST)
    best: tuple[float, np.ndarray, np.ndarray, np.ndarray] | None = None
    for lengths, jitter in itertools.product(_length_grid(seen.shape[1]), _NOISES):
        kernel = _matern(seen, seen, lengths) * scale**2
        kernel[np.diag_indices_from(kernel)] += noise**2 + (jitter * scale) ** 2 + _LEAST**2
        try:
            factor = np.linalg.cholesky(kernel)
        except np.linalg.LinAlgError:
            continue
        solved = np.linalg.solve(factor, rest)
        evidence = -0.5 * float(solved @ solved) - float(np.log(np.diag(factor)).sum())
        if best is None or evidence > best[0]:
            best = evidence, lengths, factor, solved
    if best is None:  # a kernel that no grid point makes positive: the lines alone
        return Belief(sign * (_features(asked) @ lines + start), np.full(len(asked), scale))
    _, lengths, factor, solved = best
    cross = np.linalg.solve(factor, _matern(seen, asked, lengths) * scale**2)  # (M, N)
    mean = _features(asked) @ lines + start + cross.T @ solved
    deviation = np.sqrt(np.maximum(scale**2 - (cross**2).sum(axis=0), _LEAST**2))
    return Belief(sign * mean, deviation)


def _features(points: np.ndarray) -> np.ndarray:
    """(M, 2 D): each coordinate and its cube: harm comes late and then fast."""
    return np.concatenate([points, points**3], axis=1)


def _lines(seen: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (2 D,) >= 0 and the start, a little held back so that few trials do not decide too much."""
    features = _features(seen)
    middle, target = features.mean(axis=0), values - values.mean()
    centred = features - middle
    gram = centred.T @ centred + _HELD**2 * len(seen) * np.eye(features.shape[1])
    reach = centred.T @ target
    lines = np.zeros(features.shape[1])
    for _ in range(_SWEEPS):  # coordinate descent: each weight in turn, never below 0
        before = lines.copy()
        for place in range(len(lines)):
            rest = reach[place] - gram[place] @ lines + gram[place, place] * lines[place]
            lines[place] = max(0.0, rest / gram[place, place])
        if np.abs(lines - before).max(initial=0.0) <= _LEAST:
            break
    return lines, float(values.mean() - middle @ lines)


def _length_grid(dimensions: int) -> list[np.ndarray]:
    """Alike in all parameters, and one longer or shorter than the rest."""
    grid = [np.full(dimensions, length) for length in _LENGTHS]
    for dimension in range(dimensions if dimensions > 1 else 0):
        for length in (_LENGTHS[0], 2 * _LENGTHS[-1]):
            one = np.full(dimensions, _LENGTHS[1])
            one[dimension] = length
            grid.append(one)
    return grid


def _matern(first: np.ndarray, second: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    gaps = (first[:, None, :] - second[None, :, :]) / lengths
    distance = np.sqrt(5.0 * (gaps**2).sum(axis=2))
    return np.asarray((1 + distance + distance**2 / 3) * np.exp(-distance))

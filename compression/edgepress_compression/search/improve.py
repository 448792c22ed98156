"""By how much a trial is expected to push the front out (expected hypervolume improvement).

The volume that a point would add is the integral, over all figures z that nothing dominates yet, of whether
the point dominates z; its expectation under independent normal beliefs is therefore the mean over such z of
product_k P(figure_k <= z_k). The z are drawn once, evenly from the box between the best and the worst figures
of interest; those within the budget count in full, others little: feasibility first (after Emmerich 2005 and
Daulton et al. 2020, who integrate the same by cells).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgepress_compression.search.surrogate import Belief

DRAWS = 3000
BEYOND = 0.1  # what figures beyond the budget count
_CHUNK = 500


def expected_improvement(
    beliefs: Sequence[Belief],
    front: np.ndarray,
    best: np.ndarray,
    worst: np.ndarray,
    limits: np.ndarray,
    rng: np.random.Generator,
    bend: Sequence[Callable[[np.ndarray], np.ndarray]] | None = None,
) -> np.ndarray:
    """beliefs: one for each axis, of N candidates; front (M, axes); best, worst, limits (axes,), less is
    better, no limit: infinity -> (N,) expected gains, of the box's volume.

    `bend`: rising functions of each axis, in whose values the beliefs are."""
    drawn = best + (worst - best) * rng.random((DRAWS, len(best)))
    if len(front):
        dominated = np.zeros(DRAWS, dtype=bool)
        for point in front:
            dominated |= (point <= drawn).all(axis=1)
        drawn = drawn[~dominated]
    count = len(beliefs[0].mean)
    if not len(drawn):
        return np.zeros(count)
    bent = drawn if bend is None else np.column_stack([one(drawn[:, k]) for k, one in enumerate(bend)])
    weights = np.where((drawn <= limits).all(axis=1), 1.0, BEYOND)  # (draws,)
    gains = np.zeros(count)
    for start in range(0, count, _CHUNK):
        part = slice(start, start + _CHUNK)
        inside = np.ones((len(beliefs[0].mean[part]), len(drawn)))
        for axis, belief in enumerate(beliefs):
            gaps = bent[None, :, axis] - belief.mean[part, None]
            inside *= normal(gaps / belief.deviation[part, None])
        gains[part] = inside @ weights / DRAWS
    return gains


def normal(z: np.ndarray) -> np.ndarray:
    """The normal distribution function, to 1e-7 (Abramowitz and Stegun 1964, 26.2.17)."""
    size = np.abs(z)
    t = 1.0 / (1.0 + 0.2316419 * size)
    series = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    tail = np.exp(-0.5 * size * size) / np.sqrt(2 * np.pi) * series
    return np.asarray(np.where(z >= 0, 1.0 - tail, tail))

"""How far two histograms over the same bins are apart: PSI and KS, and what of that chance explains.

PSI = sum (p - q) ln(p / q) over the bins (Siddiqi, Credit Risk Scorecards, 2006; read there: below 0.1 little
has changed, above 0.25 much has), with half a count added to every bin, so that an empty one has a
logarithm; bins that neither is in are left out.

Two samples of one distribution do not have PSI 0. With n and m of them in B bins, PSI / (1/n + 1/m) is about
chi-squared with B - 1 degrees of freedom (Yurdakul and Naranjo, Statistical properties of the population
stability index, Journal of Risk Model Validation 14(4), 2020, section 3), so chance alone gives
(B - 1)(1/n + 1/m) in the mean. ``psi_beyond_chance`` takes off what chance stays below in 19 of 20 looks.

KS is the largest distance of the two distribution functions at the edges of the bins: at most the distance of
the samples themselves.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

REQUESTS_MIN: Final = 50  # below, no figure: chance alone would give 0.25 with ten bins
CHANCE_SHARE: Final = 0.05
GROUPS_MAX: Final = 20

Counts = Sequence[int] | NDArray[np.int64]


def psi(expected: Counts, actual: Counts) -> float:
    """0 or more; 0 also where either is empty. Both (bins,)."""
    q, p = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    if not q.sum() or not p.sum():
        return 0.0
    used = (q > 0) | (p > 0)
    q, p = _smoothed(q[used]), _smoothed(p[used])
    return float(np.sum((p - q) * np.log(p / q)))


def psi_chance(expected: Counts, actual: Counts) -> float:
    """What PSI is in the mean when both are samples of one distribution."""
    return _used_bins(expected, actual) * _spread(expected, actual)


def psi_unbiased(expected: Counts, actual: Counts) -> float:
    """PSI less what chance gives in the mean, 0 or more: the estimate of one feature's drift."""
    return max(0.0, psi(expected, actual) - psi_chance(expected, actual))


def psi_beyond_chance(expected: Counts, actual: Counts, looks: int = 1) -> float:
    """PSI less what the largest of ``looks`` such figures stays below by chance in 19 of 20 cases, or 0.

    For figures that somebody is woken for: small samples and many features must not look like drift.
    """
    freedom = _used_bins(expected, actual)
    if freedom <= 0:
        return 0.0
    limit = _chi_squared(freedom, 1.0 - CHANCE_SHARE / max(looks, 1)) * _spread(expected, actual)
    return max(0.0, psi(expected, actual) - limit)


def ks(expected: Counts, actual: Counts) -> float:
    """0..1; 0 where either is empty."""
    q, p = np.asarray(expected, np.float64), np.asarray(actual, np.float64)
    if not q.sum() or not p.sum():
        return 0.0
    distances = np.abs(np.cumsum(p) / p.sum() - np.cumsum(q) / q.sum())
    return min(1.0, float(distances.max()))


def class_groups(expected: Counts) -> NDArray[np.int64]:
    """(classes,): which of at most 20 groups each class belongs to, neighbours of about equal share together.

    A thousand classes and a few hundred requests leave most classes empty, and PSI over them would be chance.
    """
    shares = np.asarray(expected, np.float64)
    if len(shares) <= GROUPS_MAX or not shares.sum():
        return np.minimum(np.arange(len(shares)), GROUPS_MAX - 1)
    middle = (np.cumsum(shares) - shares / 2) / shares.sum()
    groups: NDArray[np.int64] = np.minimum((middle * GROUPS_MAX).astype(np.int64), GROUPS_MAX - 1)
    return groups


def grouped(counts: Counts, groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """(groups,): counts of the classes, added up."""
    found = np.zeros(int(groups.max(initial=-1)) + 1, np.int64)
    np.add.at(found, groups, np.asarray(counts, np.int64))
    return found


def _smoothed(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return shares


def _used_bins(expected: Counts, actual: Counts) -> int:
    """Degrees of freedom: bins that either sample is in, less one."""
    used = (np.asarray(expected) > 0) | (np.asarray(actual) > 0)
    return max(0, int(used.sum()) - 1)


def _spread(expected: Counts, actual: Counts) -> float:
    m, n = float(np.sum(expected)), float(np.sum(actual))
    return 1.0 / n + 1.0 / m if n and m else 0.0


def _chi_squared(freedom: int, share: float) -> float:
    """The quantile, within 2 % from two degrees of freedom on (Wilson and Hilferty, PNAS 17(12), 1931)."""
    spread = 2.0 / (9.0 * freedom)
    return float(freedom * (1.0 - spread + NormalDist().inv_cdf(share) * math.sqrt(spread)) ** 3)

"""Statistics of repeated runs: outliers, means with their confidence, quantiles. Lists of plain floats."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

OUTLIER_MADS: Final = 5.0  # scaled to a standard deviation: 5 sigma on either side
_MAD_TO_SIGMA: Final = 1.4826  # of a normal distribution
_SPREAD_MIN: Final = 0.002  # of the median: runs are never told apart finer than that
# Student's t for a two-sided 95 % interval, 1 to 30 degrees of freedom (NIST/SEMATECH e-Handbook, 1.3.6.7.2)
_T95: Final = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


class Mean(NamedTuple):
    mean: float
    ci95: float  # half width of the 95 % confidence interval; infinite where one value says nothing of spread


def t95(degrees: int) -> float:
    """Student's t, two-sided 95 %. Raises ValueError below one degree of freedom."""
    if degrees < 1:
        raise ValueError("no spread can be told from a single value")
    return _T95[degrees - 1] if degrees <= len(_T95) else 1.96 + 2.5 / degrees


def median(values: Sequence[float]) -> float:
    return quantile(values, 0.5)


def quantile(values: Sequence[float], share: float) -> float:
    """Linear between the two nearest ranks. Raises ValueError for no values."""
    if not values:
        raise ValueError("no values have no quantile")
    ranked = sorted(values)
    at = share * (len(ranked) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ranked) - 1)
    between = ranked[low] + (at - low) * (ranked[high] - ranked[low])
    return min(max(between, ranked[low]), ranked[high])  # rounding must not leave the two


def outlier_bounds(
    values: Sequence[float], *, resolution: float = 0.0, mads: float = OUTLIER_MADS
) -> tuple[float, float]:
    """(lowest, highest) that is no outlier: ``mads`` median absolute deviations, scaled to standard
    deviations, on either side of the median.

    ``resolution``: what the clock cannot tell apart, so that a reading one tick off is no outlier among equal
    ones. (Hampel's identifier; Davies and Gather 1993, "The identification of multiple outliers".) Raises
    ValueError for no values.
    """
    middle = median(values)
    deviation = median([abs(value - middle) for value in values]) * _MAD_TO_SIGMA
    bound = mads * max(deviation, resolution, _SPREAD_MIN * abs(middle))
    return middle - bound, middle + bound


def without_outliers(visits: Sequence[Sequence[float]], *, resolution: float = 0.0) -> list[list[float]]:
    """Each visit's values that are no outliers among the values of all visits, in order."""
    pooled = [value for visit in visits for value in visit]
    if len(pooled) < 3:
        return [list(visit) for visit in visits]
    low, high = outlier_bounds(pooled, resolution=resolution)
    return [[value for value in visit if low <= value <= high] for visit in visits]


def mean_of(values: Sequence[float]) -> Mean:
    """Mean of independent values. Raises ValueError for none."""
    if not values:
        raise ValueError("no values have no mean")
    count = len(values)
    mean = math.fsum(values) / count
    mean = min(max(mean, min(values)), max(values))
    if count == 1:
        return Mean(mean, math.inf)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    return Mean(mean, t95(count - 1) * math.sqrt(variance / count))


def mean_of_visits(visits: Sequence[Sequence[float]]) -> Mean:
    """Mean of runs that were taken in several visits: runs of one visit resemble each other, so the interval
    is the wider one of all runs taken as independent and of the visits' means (cluster sampling).

    Raises ValueError where no visit has a run.
    """
    filled = [visit for visit in visits if visit]
    pooled = mean_of([value for visit in filled for value in visit])
    if len(filled) < 2:
        return pooled
    between = mean_of([math.fsum(visit) / len(visit) for visit in filled])
    return Mean(pooled.mean, max(pooled.ci95, between.ci95))

"""Confidence bounds for gates, each with its source. Plain functions of plain numbers, nothing but `math`.

* a share of a few devices: Clopper and Pearson 1934 (exact; Biometrika 26, 404)
* a share of many answers: Wilson 1927 (score interval; JASA 22, 209)
* a quantile of a histogram: order statistics of a binomial, normal approximation (Conover, Practical
  Nonparametric Statistics, 3rd ed., 3.2); inferences of one device resemble their neighbours, so n counts as
  n / DESIGN_EFFECT (Kish 1965), and the bound is the outer edge of its bucket
* a mean, and a mean against another: Student's t and Welch 1947 (Biometrika 34, 28) with the degrees of
  freedom of Satterthwaite 1946
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean, variance
from typing import Final

from edgepress_devices.histogram import bounds, quantile, total
from edgepress_devices.protocol import Histogram

DESIGN_EFFECT: Final = 4.0
_TINY: Final = 1e-300
_STEPS: Final = 300  # of the continued fraction; it converges in far fewer
_HALVINGS: Final = 80


def clopper_pearson(hits: int, n: int, confidence: float) -> tuple[float, float]:
    """(lower, upper) of a share, each one-sided at ``confidence``. n 0: (0, 1)."""
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is no share")
    alpha = 1 - confidence
    lower = 0.0 if hits == 0 else _invert(lambda p: beta_cdf(hits, n - hits + 1, p), alpha)
    upper = 1.0 if hits == n else _invert(lambda p: beta_cdf(hits + 1, n - hits, p), 1 - alpha)
    return lower, upper


def wilson(hits: int, n: int, confidence: float) -> tuple[float, float]:
    """(lower, upper) of a share, each one-sided at ``confidence``. n 0: (0, 1)."""
    if not 0 <= hits <= n:
        raise ValueError(f"{hits} of {n} is no share")
    if n == 0:
        return 0.0, 1.0
    z, p = NormalDist().inv_cdf(confidence), hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    width = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - width), min(1.0, centre + width)


def quantile_bounds(h: Histogram, q: float, confidence: float) -> tuple[float, float, float]:
    """(lower, value, upper) of the q-quantile, microseconds, each bound one-sided at ``confidence``.

    The value is inside whatever the rounding of buckets. Raises ValueError for an empty histogram.
    """
    value = quantile(h, q)
    if value is None:
        raise ValueError("an empty histogram has no quantile")
    n = max(1.0, total(h) / DESIGN_EFFECT)
    reach = NormalDist().inv_cdf(confidence) * math.sqrt(q * (1 - q) / n)
    lower = _edge(h, q - reach, upper=False)
    upper = _edge(h, q + reach, upper=True)
    return min(lower, value), value, max(upper, value)


def _edge(h: Histogram, q: float, *, upper: bool) -> float:
    """The outer edge of the bucket in which the q-quantile lies; past the last inference nothing is known."""
    if q <= 0:
        return 0.0
    if q >= 1:
        return math.inf
    rank = math.ceil(q * total(h)) - h.zero_count
    for position, count in enumerate(h.counts):
        rank -= count
        if count and rank <= 0:
            low, high = bounds(h, position)
            return high if upper else low
    return 0.0


def mean_bounds(values: Sequence[float], confidence: float) -> tuple[float, float]:
    """(lower, upper) of the mean, each one-sided at ``confidence``. Fewer than two values: unknown."""
    if len(values) < 2:
        return -math.inf, math.inf
    mean, error = fmean(values), math.sqrt(variance(values) / len(values))
    reach = t_quantile(confidence, len(values) - 1) * error
    return mean - reach, mean + reach


def welch_bounds(
    new: Sequence[float], base: Sequence[float], ratio: float, confidence: float
) -> tuple[float, float]:
    """(lower, upper) of mean(new) - ratio * mean(base), each one-sided. Fewer than two of either: unknown."""
    if len(new) < 2 or len(base) < 2:
        return -math.inf, math.inf
    a, b = variance(new) / len(new), ratio * ratio * variance(base) / len(base)
    difference = fmean(new) - ratio * fmean(base)
    if a + b == 0:
        return difference, difference
    freedom = (a + b) ** 2 / (a * a / (len(new) - 1) + b * b / (len(base) - 1))
    reach = t_quantile(confidence, freedom) * math.sqrt(a + b)
    return difference - reach, difference + reach


def t_quantile(p: float, freedom: float) -> float:
    """Of Student's t, for p in (0.5, 1): from its tail, which is half an incomplete beta."""
    tail = 2 * (1 - p)
    x = _invert(lambda u: beta_cdf(freedom / 2, 0.5, u), tail)
    return math.sqrt(freedom * (1 - x) / max(x, _TINY))


def beta_cdf(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b), by its continued fraction (NIST DLMF 8.17.22),
    evaluated with Lentz's method."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # converges fast only below; I_x(a, b) = 1 - I_(1-x)(b, a)
        return 1 - beta_cdf(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    fraction, c, d = 1.0, 1.0, 0.0
    for step in range(_STEPS):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 + term * d
        d = 1 / (d if abs(d) > _TINY else _TINY)
        c = 1 + term / c
        c = c if abs(c) > _TINY else _TINY
        fraction *= c * d
        if step > 0 and abs(1 - c * d) < 1e-13:
            break
    return math.exp(log_front) * (fraction - 1) / a


def _invert(cdf: Callable[[float], float], p: float) -> float:
    """The x in [0, 1] where a rising cdf reaches p, by halving."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if cdf(middle) < p:
            low = middle
        else:
            high = middle
    return (low + high) / 2

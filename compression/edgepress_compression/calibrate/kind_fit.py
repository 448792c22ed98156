"""One kind of operator: what the device sustains for it, and where shapes do better or worse than that.

First the plain form, max(operations / rate, bytes / rate) + overhead, by least absolute error of logarithms
(a wild time moves it little); then a smooth function through what is left (gaussian_process.py). Times far
from that function are thrown out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from edgepress_compression.calibrate.gaussian_process import Floats, Mean, Shape, choose, through
from edgepress_devices.calibrated import features
from edgepress_devices.calibration import Correction, KindFit
from edgepress_devices.operator import CONVOLUTIONS, PRODUCTS, Operator

CORRECTION_MIN_SAMPLES: Final = 6
_POINTS: Final = {True: 40, False: 12}  # of the correction of a product, and of anything else
_OUTLIER: Final = 5.0  # scaled median absolute deviations
_FLOOR: Final = 0.3  # of the logarithm: nothing nearer than a factor of 1.35 is an outlier
_CLOCK_US: Final = (
    0.4  # what a kernel's time is known to, however often it ran: the profile's own cost varies
)
_WINDOWED: Final = ("bytes", "written", "kernel", "model")
_MOVING: Final = ("bytes", "columns", "model")
_VECTOR: Final = ("depth", "columns", "model")
_MATRIX: Final = ("depth", "columns", "rows", "block", "model")
_CONVOLUTION: Final = ("depth", "columns", "rows", "kernel", "stride", "block", "model")


@dataclass(frozen=True)
class Sample:
    """One kernel's time on one kind of device."""

    operator: Operator
    net: str
    traffic: int  # bytes that its whole net moves
    time_us: float  # with what the runtime's profile adds
    scatter: float = 0.03  # relative standard error

    @property
    def doubt(self) -> float:
        """Relative standard error with what no repetition takes away."""
        return min(2.0, math.hypot(self.scatter, _CLOCK_US / self.time_us))


@dataclass(frozen=True)
class Plain:
    """max(operations / rate, bytes / rate) + overhead"""

    operations_per_us: float | None
    bytes_per_us: float
    overhead_us: float

    def times_us(self, operators: Sequence[Operator]) -> Floats:
        """(operators,)"""
        longest = np.array([one.bytes_moved for one in operators], float) / self.bytes_per_us
        if self.operations_per_us is not None:
            work = np.array([one.flops for one in operators], float) / self.operations_per_us
            longest = np.maximum(longest, work)
        return longest + self.overhead_us


@dataclass(frozen=True)
class FittedKind:
    """A fit that can be made again from fewer samples, for cross-validation."""

    fit: KindFit
    usual: Plain | None
    shape: Shape | None  # of its correction
    samples: tuple[Sample, ...]  # without the outliers
    outliers: int

    def without(self, nets: frozenset[str]) -> KindFit | None:
        """As it would be had these nets never been timed: nothing of them but how smooth the correction is.
        None: no sample is left."""
        kept = [one for one in self.samples if one.net not in nets]
        if not kept:
            return None
        shape = self.shape if len(kept) >= CORRECTION_MIN_SAMPLES else None
        return _fit(kept, fit_plain(kept, self.usual), shape)


def fit_kind(samples: Sequence[Sample], usual: Plain | None = None) -> FittedKind:
    """Of at least one sample. `usual`: the plain form of kinds like this one, which few samples stay near."""
    merged = _merged(samples)
    plain = fit_plain(merged, usual)
    if len(merged) < CORRECTION_MIN_SAMPLES:
        return FittedKind(_fit(merged, plain, None), usual, None, tuple(merged), 0)
    shape = choose(*_arrays(merged, plain))
    good = _near(merged, plain, shape)
    if len(good) < len(merged) and len(good) >= CORRECTION_MIN_SAMPLES:
        plain = fit_plain(good, usual)
        shape = choose(*_arrays(good, plain))
    else:
        good = merged
    return FittedKind(_fit(good, plain, shape), usual, shape, tuple(good), len(merged) - len(good))


def fit_plain(samples: Sequence[Sample], usual: Plain | None = None) -> Plain:
    """By coordinate descent: the loss is not smooth, and there are three numbers."""
    operations = np.array([one.operator.flops for one in samples], float)
    moved = np.array([max(1, one.operator.bytes_moved) for one in samples], float)
    times = np.array([one.time_us for one in samples], float)
    weights = 1 / (0.1 + np.array([one.doubt for one in samples], float))
    weights /= weights.sum()
    first = samples[0].operator
    computes = bool(operations.max() > 0) and (first.macs > 0 or first.kernel > 1)
    # Start at what the best tenth sustains, and half of the shortest time as the overhead; walk downhill.
    at = [
        math.log(max(1e-6, float(np.quantile(operations / times, 0.9)))),
        math.log(float(np.quantile(moved / times, 0.9))),
        math.log(max(0.05, 0.5 * float(times.min()))),
    ]
    start = list(at)
    pull = [0.0, 0.02, 0.01]  # away from the start: rates and overheads that nothing in the samples tells of
    if usual is not None:
        start[1], start[2] = math.log(usual.bytes_per_us), math.log(usual.overhead_us)
        pull = [0.0, 0.5 / (1 + len(samples)), 0.5 / (1 + len(samples))]
        at[2] = start[2]

    def loss(point: Sequence[float]) -> float:
        told = moved / math.exp(point[1])
        if computes:
            told = np.maximum(told, operations / math.exp(point[0]))
        error = np.abs(np.log(times / (told + math.exp(point[2]))))
        away = (one * abs(here - there) for one, here, there in zip(pull, point, start, strict=True))
        return float(weights @ error) + sum(away)

    best, step = loss(at), 0.8
    while step > 0.005:
        improved = False
        for axis in (0, 1, 2) if computes else (1, 2):
            for sign in (1.0, -1.0):
                tried = list(at)
                tried[axis] += sign * step
                found = loss(tried)
                if found < best - 1e-9:
                    best, at, improved = found, tried, True
        if not improved:
            step /= 2
    return Plain(math.exp(at[0]) if computes else None, math.exp(at[1]), math.exp(at[2]))


def _merged(samples: Sequence[Sample]) -> list[Sample]:
    """Equal operators of one net are one sample: the median of their times."""
    alike: dict[tuple[object, ...], list[Sample]] = {}
    for one in samples:
        numbers = tuple(
            getattr(one.operator, field) for field in Operator.__struct_fields__ if field != "name"
        )
        alike.setdefault((one.net, *numbers), []).append(one)
    return [
        replace(
            group[0],
            time_us=float(np.median([one.time_us for one in group])),
            scatter=float(np.median([one.scatter for one in group])),
        )
        for group in alike.values()
    ]


def _near(samples: Sequence[Sample], plain: Plain, shape: Shape) -> list[Sample]:
    """Those that the smooth function explains."""
    points, values, doubt = _arrays(samples, plain)
    left = (values - through(points, values, doubt, shape, len(samples)).at(points)) / (1 + doubt / _FLOOR)
    bound = max(_FLOOR, _OUTLIER * 1.4826 * float(np.median(np.abs(left))))
    return [one for one, gap in zip(samples, left, strict=True) if abs(gap) <= bound]


def _arrays(samples: Sequence[Sample], plain: Plain) -> tuple[Floats, Floats, Floats]:
    """(points, values, doubts)"""
    names = feature_names(samples[0].operator)
    points = np.array([features(one.operator, names, one.traffic) for one in samples], float)
    times = np.array([one.time_us for one in samples], float)
    values = np.log(times / plain.times_us([one.operator for one in samples]))
    return np.round(points, 2), values, np.array([one.doubt for one in samples], float)


def feature_names(one: Operator) -> tuple[str, ...]:
    """What the correction of the operator's kind depends on."""
    if one.op_type in CONVOLUTIONS:
        return _CONVOLUTION
    if one.op_type in PRODUCTS:
        return _VECTOR if one.family == "matrix times vector" else _MATRIX
    return _WINDOWED if one.kernel > 1 or "Pool" in one.op_type else _MOVING


def _fit(samples: Sequence[Sample], plain: Plain, shape: Shape | None) -> KindFit:
    mean: Mean | None = None
    if shape is not None:
        most = _POINTS[samples[0].operator.macs > 0]
        mean = through(*_arrays(samples, plain), shape, most)
    return KindFit(
        operations_per_us=None if plain.operations_per_us is None else round(plain.operations_per_us, 3),
        bytes_per_us=round(plain.bytes_per_us, 4),
        overhead_us=round(plain.overhead_us, 4),
        samples=len(samples),
        correction=None if mean is None else _correction(mean, feature_names(samples[0].operator)),
    )


def _correction(mean: Mean, names: Sequence[str]) -> Correction:
    return Correction(
        features=list(names),
        lengths=[float(one) for one in mean.lengths],
        points=[[round(float(one), 2) for one in point] for point in mean.points],
        weights=[round(float(one), 4) for one in mean.weights],
    )

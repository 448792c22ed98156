"""A calibration's answer for one operator: what its kind sustains, and the factor for its shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgepress_devices.calibration import Calibration, KindFit, WholeModel
from edgepress_devices.operator import Operator

_LAYOUTS: Final = ("nchwc", "nhwc", "nchw", "")
_FAR: Final = 6.0  # lengths: exp(-18) is nothing
_FACTOR_MAX: Final = 50.0  # no shape is that much better or worse than its kind


@dataclass(frozen=True)
class Sustained:
    """What one operator gets: its kind's rates, and how many times longer its shape takes than they say."""

    operations_per_us: float | None  # None: only what it moves counts
    bytes_per_us: float
    overhead_us: float  # with what the profile adds
    factor: float
    profile_us: float
    whole: float  # factor by the size of its model
    known: bool  # False: its kind was never measured, so it is guessed from others

    @property
    def call_us(self) -> float:
        """What a call costs beyond its work."""
        return self.whole * max(0.0, self.overhead_us * self.factor - self.profile_us)

    @property
    def work_factor(self) -> float:
        """How many times longer its work takes than its kind's rates say."""
        return self.whole * self.factor


class CalibratedKinds:
    """Of a model that moves `traffic` bytes in one inference (`model_traffic`)."""

    def __init__(self, calibration: Calibration, traffic: int) -> None:
        self._calibration, self._traffic = calibration, traffic
        self._whole = whole_factor(calibration.whole, traffic)
        self._corrections: dict[
            int, list[tuple[tuple[float, ...], float]]
        ] = {}  # id of a fit -> scaled points
        self._told: dict[tuple[object, ...], Sustained] = {}

    def of(self, one: Operator) -> Sustained:
        shape = (one.kind, one.flops, one.bytes_moved, one.written_bytes, one.depth, one.columns, one.rows)
        key = (*shape, one.kernel, one.stride)
        if key not in self._told:
            fit, known = find_kind(self._calibration, one)
            factor = self._factor(fit, one) if known else 1.0
            added = self._calibration.profile_us.get(one.dtype, 0.0)
            self._told[key] = Sustained(
                fit.operations_per_us, fit.bytes_per_us, fit.overhead_us, factor, added, self._whole, known
            )
        return self._told[key]

    def _factor(self, fit: KindFit, one: Operator) -> float:
        correction = fit.correction
        if correction is None:
            return 1.0
        lengths = correction.lengths
        scaled = self._corrections.get(id(fit))
        if scaled is None:
            scaled = [
                (tuple(a / length for a, length in zip(point, lengths, strict=True)), weight)
                for point, weight in zip(correction.points, correction.weights, strict=True)
            ]
            self._corrections[id(fit)] = scaled
        found = features(one, correction.features, self._traffic)
        at = tuple(a / length for a, length in zip(found, lengths, strict=True))
        total = 0.0
        for point, weight in scaled:
            distance = math.dist(at, point)
            if distance < _FAR:
                total += weight * math.exp(-0.5 * distance * distance)
        return min(max(math.exp(total), 1 / _FACTOR_MAX), _FACTOR_MAX)


def model_traffic(operators: Iterable[Operator]) -> int:
    """Bytes that a model moves in one inference. Whatever an operator left in the caches at its last run is
    pushed out of them by so much since: it runs cold in a large model, and warm in a small one."""
    return sum(one.bytes_moved for one in operators)


def whole_factor(whole: WholeModel | None, traffic: int) -> float:
    """For a model that moves so many bytes; outside of what was measured as at its ends."""
    if whole is None or whole.high <= whole.low:
        return 1.0
    share = (min(max(math.log2(traffic + 1), whole.low), whole.high) - whole.low) / (whole.high - whole.low)
    return math.exp(whole.at_low + share * (whole.at_high - whole.at_low))


def find_kind(calibration: Calibration, one: Operator) -> tuple[KindFit, bool]:
    """The fit of the operator's kind; where it was not measured, of the nearest one that was, and False."""
    kinds = calibration.kinds
    if one.kind in kinds:
        return kinds[one.kind], True
    for layout in _LAYOUTS:
        alike = " ".join(part for part in (one.family, layout, one.dtype) if part)
        if alike in kinds:
            return kinds[alike], False
    general = "products" if one.macs else "others"
    for name in (f"{general} {one.dtype}", f"{general} fp32"):
        if name in kinds:
            return kinds[name], False
    return next(iter(kinds.values())), False


def features(one: Operator, names: Sequence[str], traffic: int) -> list[float]:
    """What a correction depends on: logarithms to base 2, so that 1 is a factor of two.

    `traffic`: bytes that the whole model moves.
    """
    return [_FEATURES[name](one, traffic) for name in names]


def _log(number: float) -> float:
    return math.log2(number + 1)


_FEATURES: Final[Mapping[str, Callable[[Operator, int], float]]] = {
    "operations": lambda one, _: _log(one.flops),
    "bytes": lambda one, _: _log(one.bytes_moved),
    "written": lambda one, _: _log(one.written_bytes),
    "weights": lambda one, _: _log(one.weight_bytes),
    "depth": lambda one, _: _log(one.depth),
    "columns": lambda one, _: _log(one.columns),
    "rows": lambda one, _: _log(one.rows),
    "kernel": lambda one, _: _log(one.kernel),
    "stride": lambda one, _: _log(one.stride),
    "block": lambda one, _: 0.0 if one.columns % 16 == 0 else 1.0,  # channels left over from full blocks
    "model": lambda _, traffic: _log(traffic),
}
FEATURE_NAMES: Final = frozenset(_FEATURES)

"""What was fitted to a kind of device from times measured on such devices (compression/calibrate/fit.py).

The form has a meaning that people can check against a datasheet. An operator of a kind takes

    latency = (max(operations / operations_per_us, bytes / bytes_per_us) + overhead_us) * exp(correction)
              - profile_us

times the factor of the whole model's size (`WholeModel`), with what the device sustains in place of what it
could do at most, and `correction` a smooth function of the operator's shape that says where a kernel does
better or worse than the kind as a whole (calibrated.py). Far from every shape that was measured it goes to 0,
and the sustained figures are all that is left.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

CALIBRATION_VERSION = 1
CALIBRATION_MAX_BYTES = 48_000  # as JSON

_Words = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
_Short = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
_Rate = Annotated[float, msgspec.Meta(gt=0, le=1e12)]
_Microseconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Fraction = Annotated[float, msgspec.Meta(ge=0, le=1e6)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
_Coordinate = Annotated[float, msgspec.Meta(ge=-1e6, le=1e6)]
_Point = Annotated[list[_Coordinate], msgspec.Meta(min_length=1, max_length=12)]


class Correction(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sum over points of weight * exp(-0.5 * squared distance): the logarithm of a factor.

    The mean of a Gaussian process (Rasmussen and Williams 2006, "Gaussian Processes for Machine Learning",
    equation 2.25).
    """

    features: Annotated[list[_Short], msgspec.Meta(min_length=1, max_length=12)]  # names (calibrated.py)
    lengths: _Point  # of each feature: how far one measured shape tells about another
    points: Annotated[list[_Point], msgspec.Meta(min_length=1, max_length=500)]
    weights: Annotated[list[_Coordinate], msgspec.Meta(min_length=1, max_length=500)]  # one a point


class KindFit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of operator (`Operator.kind`)."""

    operations_per_us: _Rate | None = None  # sustained; None: it only moves numbers, or passes over them
    bytes_per_us: _Rate
    overhead_us: _Microseconds  # of one call, with what the runtime's profile adds (profile_us)
    samples: _Count  # kernels of different shapes
    error: _Fraction | None = None  # median relative error on nets left out; None: too few
    correction: Correction | None = None


class WholeModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a whole net's time departs from the sum of its operators' predictions, on nets left out of the fit:
    the logarithm of a factor, a straight line over log2 of the bytes that the net moves."""

    at_low: Annotated[float, msgspec.Meta(ge=-1, le=1)]  # for nets that move up to 2 ** low bytes
    at_high: Annotated[float, msgspec.Meta(ge=-1, le=1)]  # from 2 ** high on
    low: Annotated[float, msgspec.Meta(ge=0, le=64)]
    high: Annotated[float, msgspec.Meta(ge=0, le=64)]


class CrossValidation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Relative errors (0.08 = 8 %) of predictions for calibration nets that were left out of the fit."""

    operator_median: _Fraction
    model_median: _Fraction
    model_worst: _Fraction
    n: _Count  # nets


class CalibratedPower(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Median over the devices; `scope` says what part of the device it is of (protocol.py)."""

    idle_mw: Annotated[float, msgspec.Meta(ge=0, le=1e7)]
    busy_mw: Annotated[float, msgspec.Meta(ge=0, le=1e7)]
    method: _Short
    scope: _Short


class CalibratedMemory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    runtime_bytes: _Count  # resident memory of a process with the runtime and hardly any model


class Rejected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device whose report was not used."""

    device: _Short
    reason: _Words


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Fitted parameters of one profile."""

    version: Annotated[int, msgspec.Meta(ge=1, le=1)] = CALIBRATION_VERSION
    runtime: _Short  # "onnxruntime 1.31.1"
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    plan: _Count  # of the calibration nets (microbench.PLAN_VERSION)
    at_ms: _Count  # Unix time of the fit
    devices: Annotated[list[_Short], msgspec.Meta(min_length=1, max_length=200)]  # whose times were used
    rejected: Annotated[list[Rejected], msgspec.Meta(max_length=200)] = []
    samples: _Count  # kernels' times that were used
    node_overhead_us: _Microseconds  # of a node whatever it does, beyond its kernel
    run_overhead_us: _Microseconds  # of a run
    profile_us: dict[_Short, _Microseconds] = {}  # what the runtime's profile adds, by type: taken off again
    kinds: Annotated[dict[_Short, KindFit], msgspec.Meta(min_length=1, max_length=100)]
    error: CrossValidation
    whole: WholeModel | None = None
    power: CalibratedPower | None = None
    memory: CalibratedMemory | None = None


def to_json(calibration: Calibration) -> bytes:
    return msgspec.json.encode(calibration)


def from_json(raw: bytes | str) -> Calibration:
    """Raises ValueError, with what is wrong, for anything that is no calibration or too large to be one."""
    if len(raw) > CALIBRATION_MAX_BYTES:
        raise ValueError(f"a calibration has at most {CALIBRATION_MAX_BYTES} bytes, not {len(raw)}")
    calibration = msgspec.json.decode(raw, type=Calibration)
    for name, kind in calibration.kinds.items():
        if kind.correction is not None:
            _check(name, kind.correction)
    return calibration


def _check(kind: str, one: Correction) -> None:
    width = len(one.features)
    if len(one.lengths) != width or any(len(point) != width for point in one.points):
        raise ValueError(f"{kind}: every point of the correction has {width} numbers, as there are features")
    if len(one.weights) != len(one.points):
        raise ValueError(f"{kind}: {len(one.points)} points have {len(one.weights)} weights")
    if min(one.lengths) <= 0:
        raise ValueError(f"{kind}: a length of the correction is not above 0")

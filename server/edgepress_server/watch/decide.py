"""Whether the devices of a profile keep a budget, from plain values. The engine reads them and acts.

Rules, for one artifact of one model on the devices of one profile:

* A device is judged by its newest ``sustained_minutes`` minutes with inferences, one-minute rollups whose
  histograms are merged. Fewer of them, or fewer than MIN_INFERENCES in all: it is not judged.
* latency: a device misses the limit when the lower confidence bound of its p95 is above it, and the p95 of
  every one of those minutes too. It keeps it when its p95 and that of every minute is at or below it.
  Anything between is unclear and changes nothing: that is the hysteresis, nothing flaps at the limit.
* memory, energy: missed when every minute lies above, kept when every minute lies at or below (a sign test:
  k minutes in a row above a median have a chance of 2^-k). What a board cannot measure is not judged.
* prediction: measured p50 against predicted p50; missed when off by more than ``prediction_error`` either
  way in every minute, kept when within in every one.
* The profile is judged when more than SHARE of the devices that are online with the artifact are. It misses
  when more than SHARE of the judged ones do, whatever their reason: that is what the profile is like now. It
  keeps when none misses and more than half are known to keep.
* Fewer than that miss: it is a problem of those devices (scope "device"), named, and no reason to change the
  model for all others. The scope "profile" is then kept if more than half are known to keep.
* Devices that throttle or are hot are named, in either scope.

Confidence: order statistics of a binomial, normal approximation (Conover, Practical Nonparametric Statistics,
3rd ed., 3.2). Inferences of one device resemble their neighbours, so n counts as n / DESIGN_EFFECT (Kish
1965); a bucket of a histogram is BUCKET_ERROR wide either way, which the bound takes off too.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edgepress_devices.histogram import HistogramError, merge, quantile, total
from edgepress_devices.protocol import Histogram

Kind = Literal["latency", "memory", "energy", "prediction"]
Scope = Literal["profile", "device"]
Judgement = Literal["missed", "kept", "unclear"]

MIN_INFERENCES: Final = 30
MIN_PER_MINUTE: Final = 5  # a minute with fewer says nothing about a p95
SHARE: Final = 0.5
DESIGN_EFFECT: Final = 4.0
Z: Final = 1.645  # one-sided 95 %
BUCKET_ERROR: Final = 0.0109
HOT_C: Final = 80.0  # where a Raspberry Pi begins to slow down (raspberrypi.com, frequency management)


@dataclass(frozen=True)
class Limits:
    """What is to be kept; None: no limit of that kind."""

    latency_us: float | None = None  # p95
    memory_bytes: int | None = None
    energy_mj: float | None = None  # of one inference
    predicted_us: float | None = None  # p50 that was predicted for the artifact
    prediction_error: float | None = None  # relative; 0.5: from 1 / 1.5 to 1.5 times is believed


@dataclass(frozen=True)
class Minute:
    """One minute of one device with this artifact; None: not measured."""

    at_ms: int  # where it begins
    latency: Histogram | None = None
    rss_bytes: int | None = None  # the most in that minute
    energy_mj: float | None = None  # mean of one inference
    temp_c: float | None = None
    throttled: bool = False

    @property
    def inferences(self) -> int:
        return 0 if self.latency is None else total(self.latency)


@dataclass(frozen=True)
class DeviceMinutes:
    device: str
    minutes: Sequence[Minute]  # ascending, no older than the budget's window


@dataclass(frozen=True)
class Verdict:
    kind: Kind
    scope: Scope
    state: Judgement
    measured: float  # us, bytes, mJ; prediction: measured / predicted. Of all judged, or of the device(s)
    limit: float
    devices: tuple[str, ...]  # that miss it
    judged: int
    running: int
    inferences: int
    since_ms: int | None  # where the unbroken run of missed minutes began
    throttled: tuple[str, ...] = ()  # of `devices`
    hot: tuple[tuple[str, float], ...] = ()  # of `devices`, with what they reached


@dataclass(frozen=True)
class _Device:
    """One device's judgement by one kind."""

    device: str
    state: Judgement
    minutes: Sequence[Minute]  # what it was judged by
    value: float
    since_ms: int


def decide(
    limits: Limits, devices: Sequence[DeviceMinutes], *, running: int, sustained_minutes: int = 3
) -> list[Verdict]:
    """A verdict for each limited kind that enough devices can be judged by; device problems beside it."""
    verdicts: list[Verdict] = []
    for kind, limit, judge in _judges(limits):
        judged = [
            found
            for device in devices
            if (found := judge(device.device, device.minutes, sustained_minutes)) is not None
        ]
        verdicts += _profile(kind, limit, judged, max(running, len(judged)))
    return verdicts


Judge = Callable[[str, Sequence[Minute], int], _Device | None]


def _judges(limits: Limits) -> list[tuple[Kind, float, Judge]]:
    found: list[tuple[Kind, float, Judge]] = []
    if (latency_us := limits.latency_us) is not None:
        found.append(("latency", latency_us, lambda *of: _latency(latency_us, *of)))
    if (memory_bytes := limits.memory_bytes) is not None:
        found.append(
            ("memory", memory_bytes, lambda *of: _every(memory_bytes, lambda m: m.rss_bytes, max, *of))
        )
    if (energy_mj := limits.energy_mj) is not None:
        found.append(
            ("energy", energy_mj, lambda *of: _every(energy_mj, lambda m: m.energy_mj, statistics.mean, *of))
        )
    predicted_us, error = limits.predicted_us, limits.prediction_error
    if predicted_us is not None and error is not None:
        found.append(("prediction", error, lambda *of: _prediction(predicted_us, error, *of)))
    return found


def _latency(limit_us: float, device: str, minutes: Sequence[Minute], sustained: int) -> _Device | None:
    busy = [m for m in minutes if m.inferences >= MIN_PER_MINUTE]
    recent = busy[-sustained:]
    histogram = _merged(recent)
    if len(recent) < sustained or histogram is None or total(histogram) < MIN_INFERENCES:
        return None
    p95 = quantile(histogram, 0.95) or 0.0

    def above(minute: Minute) -> bool:
        return (_quantile(minute, 0.95) or 0.0) > limit_us

    state: Judgement = "unclear"
    if lower_bound(histogram, 0.95) > limit_us and all(map(above, recent)):
        state = "missed"
    elif p95 <= limit_us and not any(map(above, recent)):
        state = "kept"
    return _Device(device, state, recent, p95, _since(busy, above))


def _prediction(
    predicted_us: float, error: float, device: str, minutes: Sequence[Minute], sustained: int
) -> _Device | None:
    busy = [m for m in minutes if m.inferences >= MIN_PER_MINUTE]
    recent = busy[-sustained:]
    histogram = _merged(recent)
    if len(recent) < sustained or histogram is None or total(histogram) < MIN_INFERENCES:
        return None

    def off(minute: Minute) -> bool:
        ratio = (_quantile(minute, 0.5) or 0.0) / predicted_us
        return not 1 / (1 + error) <= ratio <= 1 + error

    state: Judgement = "unclear"
    if all(map(off, recent)):
        state = "missed"
    elif not any(map(off, recent)):
        state = "kept"
    return _Device(device, state, recent, (quantile(histogram, 0.5) or 0.0) / predicted_us, _since(busy, off))


def _every(
    limit: float,
    value: Callable[[Minute], float | None],
    over: Callable[[list[float]], float],
    device: str,
    minutes: Sequence[Minute],
    sustained: int,
) -> _Device | None:
    measured = [(m, v) for m in minutes if (v := value(m)) is not None]
    recent = measured[-sustained:]
    if len(recent) < sustained:
        return None
    above = [v > limit for _, v in recent]
    state: Judgement = "missed" if all(above) else "unclear" if any(above) else "kept"
    since = _since([m for m, _ in measured], lambda m: (value(m) or 0.0) > limit)
    return _Device(device, state, [m for m, _ in recent], over([v for _, v in recent]), since)


def _profile(kind: Kind, limit: float, judged: Sequence[_Device], running: int) -> list[Verdict]:
    if not judged or len(judged) <= SHARE * running:
        return []
    missed = [d for d in judged if d.state == "missed"]
    kept = [d for d in judged if d.state == "kept"]

    def verdict(scope: Scope, state: Judgement, of: Sequence[_Device], named: Sequence[_Device]) -> Verdict:
        return Verdict(
            kind=kind,
            scope=scope,
            state=state,
            measured=_together(kind, of),
            limit=limit,
            devices=tuple(d.device for d in named),
            judged=len(judged),
            running=running,
            inferences=sum(m.inferences for d in of for m in d.minutes),
            since_ms=min((d.since_ms for d in named), default=None),
            throttled=tuple(d.device for d in named if d.minutes[-1].throttled),
            hot=tuple((d.device, heat) for d in named if (heat := _heat(d)) >= HOT_C),
        )

    if len(missed) > SHARE * len(judged):
        return [verdict("profile", "missed", judged, missed)]
    majority: Judgement = "kept" if len(kept) > len(judged) / 2 else "unclear"
    if missed:
        others = [d for d in judged if d.state != "missed"]
        return [verdict("device", "missed", missed, missed), verdict("profile", majority, others, ())]
    found = [verdict("profile", majority, judged, ())]
    if len(kept) == len(judged):
        found.append(verdict("device", "kept", judged, ()))
    return found


def _together(kind: Kind, devices: Sequence[_Device]) -> float:
    """One figure for several devices: the p95 of all inferences together; else the median device."""
    if kind == "latency":
        histogram = _merged([m for d in devices for m in d.minutes])
        if histogram is not None:
            return quantile(histogram, 0.95) or 0.0
    return statistics.median(d.value for d in devices)


def lower_bound(histogram: Histogram, q: float) -> float:
    """What the q-quantile is above with 95 % confidence, in microseconds."""
    n = total(histogram) / DESIGN_EFFECT
    return (quantile(histogram, max(0.0, q - Z * math.sqrt(q * (1 - q) / n))) or 0.0) * (1 - BUCKET_ERROR)


def _since(minutes: Sequence[Minute], is_missed: Callable[[Minute], bool]) -> int:
    since = minutes[-1].at_ms
    for minute in reversed(minutes):
        if not is_missed(minute):
            break
        since = minute.at_ms
    return since


def _heat(device: _Device) -> float:
    return max((m.temp_c for m in device.minutes if m.temp_c is not None), default=-math.inf)


def _quantile(minute: Minute, q: float) -> float | None:
    return None if minute.latency is None else quantile(minute.latency, q)


def _merged(minutes: Sequence[Minute]) -> Histogram | None:
    try:
        return merge([m.latency for m in minutes if m.latency is not None])
    except HistogramError:  # ingest refuses such; a store from elsewhere may hold one
        return None

"""Fits a profile's calibration to what devices of its kind reported.

    reports -> those that can be believed (agreement.py) -> each kernel's time, the median over the devices
      -> per kind of operator, what is sustained and a smooth correction (kind_fit.py)
      -> how wrong that is on nets that were left out

Only the calibration nets are fitted to; no model that somebody deploys ever is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from edgepress_compression.calibrate.agreement import Doubt, disagreeing, impossible, without, wrong_setting
from edgepress_compression.calibrate.kind_fit import FittedKind, Plain, Sample, fit_kind, fit_plain
from edgepress_compression.calibrate.left_out import BlindNet, errors, whole_model
from edgepress_compression.calibrate.samples import (
    COMPLETE_MIN,
    Net,
    Times,
    median_of,
    net_operators,
    overheads,
    read_times,
    usual_us,
)
from edgepress_compression.errors import EdgepressError
from edgepress_compression.predict import runtime_layout
from edgepress_devices.calibrated import model_traffic
from edgepress_devices.calibration import (
    CalibratedMemory,
    CalibratedPower,
    Calibration,
    CrossValidation,
    KindFit,
    Rejected,
)
from edgepress_devices.microbench.nets import PLAN_VERSION
from edgepress_devices.prediction import predict
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.protocol import ProfilingReport, Reading

FOLDS: Final = 6
SHARE_RANGE: Final = (0.5, 1.5)  # of a net's time by its kernels'
_PRODUCTS, _OTHERS = "products", "others"  # what a kind is guessed by that was never measured


class CalibrationError(EdgepressError):
    """Reports that no calibration can be fitted to; `rejected` says of each device why."""

    def __init__(self, message: str, rejected: Sequence[Doubt] = ()) -> None:
        super().__init__(message)
        self.rejected = list(rejected)


class DeviceReport(msgspec.Struct, frozen=True, kw_only=True):
    device: str
    report: ProfilingReport


@dataclass(frozen=True)
class _Net:
    key: Net
    usual_us: float  # of the whole net
    kernels: Mapping[str, float]  # as the profile told them
    spread: Mapping[str, float]  # relative standard error


def fit(reports: Sequence[DeviceReport], profile: DeviceProfile) -> Calibration:
    """The newest report of each device, in the order given. Takes seconds.

    Raises CalibrationError when no device can be believed, or they timed too little.
    """
    newest = {one.device: one.report for one in reports if one.report.what == "device"}
    if not newest:
        raise CalibrationError('There is no report of calibration nets: send a device a job "device" first.')
    newest = {device: report for device, report in newest.items() if report.plan == PLAN_VERSION}
    if not newest:  # its nets had other layers: what they took says nothing about these
        raise CalibrationError(
            f"No report is of the calibration nets of this version (plan {PLAN_VERSION}): update the agents, "
            "and measure again."
        )
    layout = runtime_layout(profile)
    rejected = wrong_setting(newest)
    newest = without(rejected, newest)
    times = {device: read_times(report, layout) for device, report in newest.items()}
    for device, report in newest.items():
        why = impossible(times[device], profile, layout, report.threads)
        rejected += [] if why is None else [Doubt(device, why)]
    newest = without(rejected, newest)
    rejected += disagreeing({device: times[device] for device in newest})
    newest = without(rejected, newest)
    if not newest:
        told = "; ".join(f"{one.device}: {one.reason}" for one in rejected)
        raise CalibrationError(f"No report can be believed: {told}.", rejected)
    return _fit(newest, [times[device] for device in newest], profile, layout, rejected)


def _fit(
    reports: Mapping[str, ProfilingReport],
    times: Sequence[Times],
    profile: DeviceProfile,
    layout: str,
    rejected: Sequence[Doubt],
) -> Calibration:
    added = [found for one in times if (found := overheads(one, layout)) is not None]
    if not added:
        raise CalibrationError(
            f"Fewer than {COMPLETE_MIN} nets were timed kernel by kernel. Give the devices more seconds, or "
            "update their agent: its runtime may name kernels otherwise.",
            rejected,
        )
    profile_us = {kind: median_of([one.get(kind, 0.0) for one, _ in added]) for kind in ("fp32", "int8")}
    nets = _nets(times)
    run_us = median_of([run for _, run in added])
    samples = _samples(nets, layout, profile_us, run_us)
    fitted, usual = _kinds(samples)
    first = next(iter(reports.values()))
    calibration = Calibration(
        runtime=first.runtime,
        threads=first.threads,
        plan=first.plan,
        at_ms=time.time_ns() // 1_000_000,
        devices=list(reports),
        rejected=[Rejected(device=one.device[:100], reason=one.reason[:500]) for one in rejected],
        samples=len(samples),
        node_overhead_us=0.0,
        run_overhead_us=round(run_us, 3),
        profile_us={kind: round(us, 3) for kind, us in profile_us.items()},
        kinds={name: one.fit for name, one in fitted.items()} | usual,
        error=CrossValidation(operator_median=0.0, model_median=0.0, model_worst=0.0, n=0),
        power=_power(list(reports.values())),
        memory=_memory(list(reports.values())),
    )
    blind = list(_blind(calibration, fitted, usual, nets, profile, layout))
    calibration = msgspec.structs.replace(calibration, whole=whole_model(blind))
    error, of_kinds = errors(blind, calibration)
    kinds = {
        name: msgspec.structs.replace(one, error=of_kinds.get(name))
        for name, one in calibration.kinds.items()
    }
    return msgspec.structs.replace(calibration, kinds=kinds, error=error)


def _nets(times: Sequence[Times]) -> list[_Net]:
    """The median of the devices, net by net and kernel by kernel."""
    nets = []
    for key in dict.fromkeys(net for one in times for net in one.nets):
        having = [one for one in times if key in one.nets]
        names = dict.fromkeys(name for one in having for net, form, name in one.kernels if (net, form) == key)
        told = {
            name: [one.kernels[(*key, name)] for one in having if (*key, name) in one.kernels]
            for name in names
        }
        nets.append(
            _Net(
                key,
                median_of([usual_us(one, key) for one in having]),
                {name: median_of([us for us, _ in pairs]) for name, pairs in told.items()},
                {name: median_of([spread for _, spread in pairs]) for name, pairs in told.items()},
            )
        )
    return nets


def _samples(
    nets: Sequence[_Net], layout: str, profile_us: Mapping[str, float], run_us: float
) -> list[Sample]:
    samples = []
    for net in nets:
        operators = net_operators(*net.key, layout).operators
        traffic = model_traffic(operators)
        timed = [one for one in operators if one.name in net.kernels]
        added = {one.name: profile_us.get(one.dtype, 0.0) for one in timed}
        took = math.fsum(net.kernels[one.name] - added[one.name] for one in timed)
        # Together they take what the net takes, whose own time is known better; but the more they differ, the
        # less either is believed.
        share = (net.usual_us - run_us) / took if len(timed) == len(operators) and took > 0 else 1.0
        doubt = min(abs(math.log(share)), 1.0) if share > 0 else 1.0
        share = share if SHARE_RANGE[0] <= share <= SHARE_RANGE[1] else 1.0
        for one in timed:
            own = max(0.0, net.kernels[one.name] - added[one.name])
            scatter = math.hypot(net.spread[one.name], doubt)
            samples.append(Sample(one, net.key[0], traffic, added[one.name] + share * own, scatter))
    return samples


def _kinds(samples: Sequence[Sample]) -> tuple[dict[str, FittedKind], dict[str, KindFit]]:
    """(fits by kind, plain fits of all products and all others by type)"""
    general: dict[str, list[Sample]] = {}
    kinds: dict[str, list[Sample]] = {}
    for one in samples:
        general.setdefault(_general(one), []).append(one)
        kinds.setdefault(one.operator.kind, []).append(one)
    usual = {name: fit_plain(group) for name, group in general.items()}
    fitted = {name: fit_kind(group, usual[_general(group[0])]) for name, group in kinds.items()}
    return fitted, {name: _as_kind(one, len(general[name])) for name, one in usual.items()}


def _general(one: Sample) -> str:
    return f"{_PRODUCTS if one.operator.macs else _OTHERS} {one.operator.dtype}"


def _as_kind(one: Plain, samples: int) -> KindFit:
    return KindFit(
        operations_per_us=one.operations_per_us,
        bytes_per_us=one.bytes_per_us,
        overhead_us=one.overhead_us,
        samples=samples,
    )


def _blind(
    calibration: Calibration,
    fitted: Mapping[str, FittedKind],
    usual: Mapping[str, KindFit],
    nets: Sequence[_Net],
    profile: DeviceProfile,
    layout: str,
) -> Iterator[BlindNet]:
    """Every net predicted by a fit that knows nothing of it in any form; a sixth of the nets at a time."""
    names = sorted({net.key[0] for net in nets})
    for number in range(min(FOLDS, len(names))):
        gone = frozenset(names[number::FOLDS])
        kinds = dict(usual)
        for name, one in fitted.items():
            again = one.without(gone)
            if again is not None:
                kinds[name] = again
        of_others = msgspec.structs.replace(calibration, kinds=kinds)
        blind_profile = msgspec.structs.replace(profile, calibration=of_others)
        for net in (one for one in nets if one.key[0] in gone):
            operators = net_operators(*net.key, layout).operators
            told = predict(operators, blind_profile, weight_bytes=0, peak_activation_bytes=0)
            yield BlindNet(told, net.usual_us, net.kernels, model_traffic(operators))


def _power(reports: Sequence[ProfilingReport]) -> CalibratedPower | None:
    """Of the devices that measured both, with one sensor."""
    pairs = [
        (one.idle_mw, one.busy_mw) for one in reports if one.idle_mw is not None and one.busy_mw is not None
    ]
    if not pairs:
        return None
    kind = _source(pairs[0][0])
    alike = [pair for pair in pairs if _source(pair[0]) == _source(pair[1]) == kind]
    if not alike:
        return None
    idle, busy = median_of([a.value for a, _ in alike]), median_of([b.value for _, b in alike])
    if idle < 0 or busy < idle:  # a battery that charges, or noise larger than the load
        return None
    return CalibratedPower(idle_mw=idle, busy_mw=busy, method=kind[0], scope=kind[1])


def _source(reading: Reading) -> tuple[str, str]:
    return reading.method[:100] or "?", reading.scope[:100] or "?"


def _memory(reports: Sequence[ProfilingReport]) -> CalibratedMemory | None:
    told = [one.runtime_rss_bytes for one in reports if one.runtime_rss_bytes]
    return CalibratedMemory(runtime_bytes=int(median_of(told))) if told else None

"""Which of two sets of reports makes the better calibration: judged on the same nets, left out of both.

The nets are cut into FOLDS parts. For each part both sides are fitted to their reports without it, and both
predict the times that the newest reports tell of it. So a calibration is not praised for what it has seen.
"""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from edgepress_compression.calibrate.fit import CalibrationError, DeviceReport, fit
from edgepress_compression.calibrate.samples import Net, net_operators, read_times
from edgepress_compression.predict import runtime_layout
from edgepress_devices.prediction import predict
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.protocol import ProfilingReport

FOLDS: Final = 6

Truth = Mapping[Net, float]  # (net, form) -> p50 of one inference, us


def truth_of(reports: Sequence[DeviceReport], profile: DeviceProfile, believed: Collection[str]) -> Truth:
    """The median over the devices that are believed."""
    layout = runtime_layout(profile)
    told: dict[Net, list[float]] = {}
    for one in reports:
        if one.device in believed:
            for net, time in read_times(one.report, layout).nets.items():
                told.setdefault(net, []).append(time.p50_us)
    return {net: statistics.median(times) for net, times in told.items()}


def error_on(truth: Truth, profile: DeviceProfile) -> float | None:
    """Median relative error of what the profile, as it is, predicts; None without nets."""
    errors = _errors(truth, profile, {net for net, _ in truth})
    return statistics.median(errors) if errors else None


def error_left_out(reports: Sequence[DeviceReport], truth: Truth, profile: DeviceProfile) -> float | None:
    """Median relative error on the nets of ``truth``, fitted to ``reports`` without them.

    None: without them nothing can be fitted.
    """
    names = sorted({net for net, _ in truth})
    errors: list[float] = []
    for number in range(FOLDS):
        gone = set(names[number::FOLDS])
        kept = [DeviceReport(device=one.device, report=_without(one.report, gone)) for one in reports]
        try:
            blind = msgspec.structs.replace(profile, calibration=fit(kept, profile))
        except CalibrationError:
            return None
        errors += _errors(truth, blind, gone)
    return statistics.median(errors) if errors else None


def _errors(truth: Truth, profile: DeviceProfile, names: Collection[str]) -> list[float]:
    layout = runtime_layout(profile)
    errors = []
    for net, p50_us in truth.items():
        if net[0] in names:
            runs = net_operators(*net, layout)
            told = predict(
                runs.operators,
                profile,
                weight_bytes=runs.weight_bytes,
                peak_activation_bytes=runs.peak_activation_bytes,
            )
            errors.append(abs(told.latency_us / p50_us - 1))
    return errors


def _without(report: ProfilingReport, names: Collection[str]) -> ProfilingReport:
    return msgspec.structs.replace(
        report,
        nets=[one for one in report.nets if one.net not in names],
        kernels=[one for one in report.kernels if one.net not in names],
    )

"""Which devices can be believed: one report can be wrong, or meant to mislead.

What can be known depends on how many devices there are:
- any number: times that the profile's own peaks do not allow are impossible, and so are kernels whose sum has
  nothing to do with the whole net's time;
- three or more: the middle of them is right as long as fewer than half lie, so whoever is far from it is
  rejected and named;
- two: when they disagree, one of them is wrong and nothing tells which, so neither is believed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from edgepress_compression.calibrate.samples import Times, complete_nets, median_of, net_operators
from edgepress_devices.prediction import datasheet_type
from edgepress_devices.profile import DeviceProfile
from edgepress_devices.protocol import ProfilingReport
from edgepress_devices.roofline import roofline

FASTER_THAN_PEAK: Final = 2.0  # datasheets state base clocks; turbo clocks are up to twice as fast
IMPOSSIBLE_SHARE: Final = 0.1  # of the kernels that do enough work to tell
WORK_MIN: Final = 1_000_000  # operations
DEVIATES: Final = 1.6  # a factor: devices of one kind differ by heat and luck, but less
SCATTERS: Final = 0.35  # of the logarithm: kernels that disagree one by one though not on the whole
SUM_RANGE: Final = (0.5, 3.0)  # of a net's kernels by its whole time: the profile adds some
NETS_MIN: Final = 4


Kernel = tuple[str, str, str]  # net, form, name


class Doubt(NamedTuple):
    device: str
    reason: str


def wrong_setting(reports: Mapping[str, ProfilingReport]) -> list[Doubt]:
    """Devices that ran something else than most: times of two runtimes cannot be mixed."""
    kinds = Counter((one.runtime, one.threads, one.plan) for one in reports.values())
    usual = max(kinds, key=lambda kind: (kinds[kind], kind))
    doubts = []
    for device, one in reports.items():
        found = (one.runtime, one.threads, one.plan)
        if found != usual:
            told = [
                f"{name} {mine}, the others {theirs}"
                for name, mine, theirs in zip(("ran", "threads", "plan"), found, usual, strict=True)
                if mine != theirs
            ]
            doubts.append(Doubt(device, f"measured otherwise: {'; '.join(told)}"))
    return doubts


def impossible(times: Times, profile: DeviceProfile, layout: str, threads: int) -> str | None:
    """Why a single device's times cannot be true, in words."""
    if len(times.nets) < NETS_MIN:
        return f"{len(times.nets)} of the calibration nets were timed; {NETS_MIN} are needed"
    share = max(1.0, threads / profile.cpu.threads)
    total, fast, most = 0, 0, 0.0
    for net in times.nets:
        for one in net_operators(*net, layout).operators:
            timed = times.kernels.get((*net, one.name))
            if timed is None or one.macs == 0 or one.flops < WORK_MIN:
                continue
            peak = share * roofline(profile, datasheet_type(one.dtype)).operations_per_us
            factor = one.flops / timed[0] / peak
            total, most = total + 1, max(most, factor)
            fast += factor > FASTER_THAN_PEAK
    if total and fast > IMPOSSIBLE_SHARE * total:
        return (
            f"{fast} of {total} kernels were up to {most:.0f} times faster than the datasheet's peak allows; "
            "if the device is right, correct the peaks of the profile"
        )
    ratios = [
        sum(times.kernels[(*net, one.name)][0] for one in operators if (*net, one.name) in times.kernels)
        / max(times.nets[net].p50_us, 1e-3)
        for net in complete_nets(times, layout)
        if (operators := net_operators(*net, layout).operators)
        and times.nets[net].p50_us > 20 * len(operators)
    ]
    if ratios and not SUM_RANGE[0] <= median_of(ratios) <= SUM_RANGE[1]:
        return (
            f"its kernels together take {median_of(ratios):.2g} times what the whole nets take: "
            "one of the two is not true"
        )
    return None


def disagreeing(times: Mapping[str, Times]) -> list[Doubt]:
    """Devices that are far from the middle of all. Of two that disagree: both."""
    if len(times) < 2:
        return []
    logs = {
        device: {key: math.log(us) for key, (us, _) in one.kernels.items()} for device, one in times.items()
    }
    if len(times) == 2:
        (a, first), (b, second) = logs.items()
        gaps = _gaps(first, second)
        if not gaps.size or _agree(gaps):
            return []
        why = f"{_said(gaps)}; nothing tells which of the two is right: ask a third device"
        return [Doubt(a, f"disagrees with {b}: {why}"), Doubt(b, f"disagrees with {a}: {why}")]
    keys = {key for one in logs.values() for key in one}
    middle = {key: median_of([one[key] for one in logs.values() if key in one]) for key in keys}
    doubts = []
    for device, one in logs.items():
        gaps = _gaps(one, middle)
        if gaps.size and not _agree(gaps):
            doubts.append(Doubt(device, f"far from the other {len(times) - 1} devices: {_said(gaps)}"))
    return doubts


def _gaps(one: Mapping[Kernel, float], other: Mapping[Kernel, float]) -> np.ndarray:
    """Of logarithms, of the slower half: in the quick ones it is the profile itself that takes the time."""
    both = sorted((key for key in one if key in other), key=lambda key: other[key])
    return np.array([one[key] - other[key] for key in both[len(both) // 2 :]], float)


def _agree(gaps: np.ndarray) -> bool:
    scale = float(np.median(gaps))
    return abs(scale) <= math.log(DEVIATES) and float(np.median(np.abs(gaps - scale))) <= SCATTERS


def _said(gaps: np.ndarray) -> str:
    scale = math.exp(float(np.median(gaps)))
    if not 1 / DEVIATES <= scale <= DEVIATES:
        return f"{scale:.2g} times their times" if scale > 1 else f"{1 / scale:.2g} times as fast"
    spread = math.exp(float(np.median(np.abs(gaps - np.median(gaps)))))
    return f"kernels differ by a factor of {spread:.2g} in either direction"


def without(names: Sequence[Doubt], reports: Mapping[str, ProfilingReport]) -> dict[str, ProfilingReport]:
    gone = {one.device for one in names}
    return {device: report for device, report in reports.items() if device not in gone}

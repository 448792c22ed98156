"""From a device's report to samples: each kernel's time beside the operator that it ran.

The operators come from the nets' names: the server writes the same nets and asks its own onnxruntime what it
would run. Kernels that it knows nothing of (another version fuses otherwise) are left out and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from edgepress_compression.calibrate.gaussian_process import Floats
from edgepress_compression.graph.executed import Executed, executed
from edgepress_devices.microbench.nets import FORMS, NAMES, write_net
from edgepress_devices.operator import NumberType
from edgepress_devices.protocol import NetTime, ProfilingReport

SCATTER_MAX: Final = 0.3  # relative standard error: one visit alone has no interval
COMPLETE_MIN: Final = 4  # nets of which every kernel was timed
_ROUNDS: Final = 30

Net = tuple[str, str]  # name and form


@dataclass(frozen=True)
class Times:
    """One device's times. `kernels`: (net, form, kernel's name) -> (us, relative standard error)."""

    nets: Mapping[Net, NetTime]
    kernels: Mapping[tuple[str, str, str], tuple[float, float]]
    unknown: int  # kernels that no net of this plan has


@lru_cache(maxsize=256)
def net_operators(name: str, form: str, layout: str) -> Executed:
    """What a calibration net runs as; a quarter of a second for all of them."""
    return next(executed(write_net(name, one), layout=layout) for one in FORMS if one == form)


def read_times(report: ProfilingReport, layout: str) -> Times:
    """Of the calibration nets in a report."""
    known: dict[Net, NetTime] = {
        (one.net, one.form): one for one in report.nets if one.net in NAMES and one.form in FORMS
    }
    names = {net: {one.name for one in net_operators(*net, layout).operators} for net in known}
    kernels: dict[tuple[str, str, str], tuple[float, float]] = {}
    unknown = 0
    for one in report.kernels:
        net = (one.net, one.form)
        if net not in known or one.mean_us <= 0:
            continue
        if one.name in names[net]:
            scatter = math.hypot(one.ci95_us / 1.96 / one.mean_us, _unrest(known[net]))
            kernels[(*net, one.name)] = (one.mean_us, min(SCATTER_MAX, scatter))
        else:
            unknown += 1
    return Times(known, kernels, unknown)


def _unrest(net: NetTime) -> float:
    """How far the middle run is from the quick ones: on a busy machine a mean is not what the net takes."""
    return max(0.0, net.p50_us / net.p10_us - 1) if net.p10_us > 0 else SCATTER_MAX


def usual_us(times: Times, net: Net) -> float:
    """What a net takes with nothing else going on but what goes on with every net of this device.

    The quick runs of a net (10th percentile), and how far the middle run lies above them in the middle of all
    nets: minutes in which the machine was busy with other things count for no net.
    """
    ratios = [one.p50_us / one.p10_us for one in times.nets.values() if one.p10_us > 0]
    found = times.nets[net]
    return (
        min(found.p50_us, found.p10_us * median_of(ratios)) if ratios and found.p10_us > 0 else found.p50_us
    )


def complete_nets(times: Times, layout: str) -> list[Net]:
    """The nets of which every kernel that takes time was timed."""
    complete = []
    for net in times.nets:
        operators = net_operators(*net, layout).operators
        timed = sum((*net, one.name) in times.kernels for one in operators)
        if timed >= 0.9 * len(operators):
            complete.append(net)
    return complete


def overheads(times: Times, layout: str) -> tuple[dict[NumberType, float], float] | None:
    """({type: what the profile adds to a kernel of this type}, what a run takes beside its kernels), in us.

    The sum of a net's kernels exceeds its unprofiled time, as the profile itself takes time in each: least
    squares of relative errors over all nets, with wild nets weighing little (iteratively reweighted). None:
    too few nets were timed kernel by kernel.
    """
    types: tuple[NumberType, ...] = ("fp32", "int8")
    rows, gaps, scale = [], [], []
    for net in complete_nets(times, layout):
        operators = net_operators(*net, layout).operators
        timed = [one for one in operators if (*net, one.name) in times.kernels]
        rows.append([*(float(sum(one.dtype == kind for one in timed)) for kind in types), -1.0])
        total = sum(times.kernels[(*net, one.name)][0] for one in timed)
        gaps.append(total - times.nets[net].mean_us)  # means both, as kernels' times are
        scale.append(times.nets[net].mean_us)
    if len(rows) < COMPLETE_MIN:
        return None
    solved = _robust(np.array(rows, float), np.array(gaps, float), np.array(scale, float))
    adds = {kind: max(0.0, float(one)) for kind, one in zip(types, solved, strict=False)}
    return adds, max(0.0, float(solved[-1]))


def _robust(rows: Floats, gaps: Floats, scale: Floats) -> Floats:
    weights = 1 / scale
    solved: Floats = np.zeros(rows.shape[1])
    for _ in range(_ROUNDS):
        used = [axis for axis in range(rows.shape[1]) if np.any(rows[:, axis])]
        solved[used] = np.linalg.lstsq(rows[:, used] * weights[:, None], gaps * weights, rcond=None)[0]
        left = np.abs(rows @ solved - gaps) / scale
        weights = 1 / (scale * np.sqrt(np.maximum(left, 0.01)))
    return solved


def median_of(values: Sequence[float]) -> float:
    return float(np.median(np.asarray(values, float)))

"""What a timing found: whole nets and their kernels, over the runs of the visits that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from edgepress_devices.microbench.kernel_profile import KernelRuns
from edgepress_devices.microbench.run_statistics import mean_of_visits, median, quantile, without_outliers
from edgepress_devices.protocol import KernelTime, NetTime, Reading, SkippedNet

KERNEL_RESOLUTION_US: Final = 1.0  # the runtime's profile counts whole microseconds


class Look(NamedTuple):
    """What the board says between two visits; None = it cannot tell."""

    throttled: bool | None = None
    temp_c: float | None = None
    clock_mhz: float | None = None
    power_mw: Reading | None = None
    other_cpu_percent: float | None = None  # of the whole board, since the last look


@dataclass
class Timed:
    """What ``time_nets`` found; fields as in ``protocol.ProfilingReport``."""

    nets: list[NetTime] = field(default_factory=list)
    kernels: list[KernelTime] = field(default_factory=list)
    skipped: list[SkippedNet] = field(default_factory=list)
    throttled_runs: int = 0
    outliers: int = 0
    temp_c_before: float | None = None
    temp_c_after: float | None = None
    clock_mhz: float | None = None
    idle_mw: Reading | None = None
    busy_mw: Reading | None = None
    other_cpu_percent: float | None = None
    cut_short: bool = False
    reason: str | None = None
    seconds: float = 0.0


def net_time(net: str, form: str, visits_us: Sequence[Sequence[float]]) -> NetTime:
    """One net's time over the runs of its good visits, at least one run. A single run has no interval: its
    half width is given as the whole time.
    """
    kept = without_outliers(visits_us)
    values = [value for visit in kept for value in visit]
    mean = mean_of_visits(kept)
    return NetTime(
        net,
        form,
        quantile(values, 0.1),
        median(values),
        mean.mean,
        min(mean.ci95, mean.mean),
        len(values),
        sum(len(visit) for visit in visits_us) - len(values),
    )


def kernel_times(net: str, form: str, visits: Sequence[Sequence[KernelRuns]]) -> list[KernelTime]:
    """Times of one net's kernels, in the order in which they first ran."""
    runs: dict[tuple[str, str], list[list[float]]] = {}
    for visit in visits:
        for kernel in visit:
            runs.setdefault((kernel.name, kernel.op_type), []).append(kernel.runs_us)
    rows = []
    for (name, op_type), visits_us in runs.items():
        kept = without_outliers(visits_us, resolution=KERNEL_RESOLUTION_US)
        mean = mean_of_visits(kept)
        count = sum(len(visit) for visit in kept)
        rows.append(KernelTime(net, form, name, op_type, mean.mean, min(mean.ci95, mean.mean), count))
    return rows


def mean_reading(readings: Sequence[Reading]) -> Reading | None:
    """Mean of what was measured the same way as the first; estimates are no measurement. None for nothing."""
    measured = [reading for reading in readings if not reading.method.startswith("estimate")]
    if not measured:
        return None
    first = measured[0]
    like = [row.value for row in measured if (row.method, row.scope) == (first.method, first.scope)]
    return Reading(sum(like) / len(like), first.method, first.scope)

"""Metrics of profiles and of artifacts: counters since ever, gauges of the newest minutes.

``edgepress_...{profile}`` tells of all devices of a profile; summed up they are the fleet.
``edgepress_artifact_...{profile, model, artifact}`` tells of those that ran an artifact, while they ran it;
the profile is the one that the artifact was made for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepress_devices.metrics import BY_NAME, HISTOGRAMS, METRICS, Metric
from edgepress_server.ecosystem.families import Family
from edgepress_server.ecosystem.group_totals import DAY_MS, Totals
from edgepress_server.ecosystem.names import factor, histogram_plain, prometheus_name
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.keys import SeriesKey

RECENT_MS: Final = 120_000  # gauges speak of so long
GROUPS_MAX: Final = 200  # of a kind: those heard of last
SILENT_MS: Final = 7 * DAY_MS  # silent for longer: no longer shown
DIGEST_CHARS: Final = 12  # as people see it everywhere

_KINDS: Final = tuple(name for name in BY_NAME if name.startswith("errors_"))
_COUNTERS: Final = tuple(metric for metric in METRICS if metric.kind == "count" and metric.name not in _KINDS)
_GAUGES: Final = tuple(metric for metric in METRICS if metric.kind != "count")
_STATISTICS: Final = {"mean": "mean", "min": "least", "max": "most"}


@dataclass(frozen=True)
class FleetFigures:
    totals: Totals
    recent: Mapping[SeriesKey, Frame]  # minutes of the last RECENT_MS
    artifacts: Mapping[str, tuple[str, str]]  # artifact -> (model, profile)
    now_ms: int


def fleet_families(figures: FleetFigures) -> list[Family]:
    left_out = Family(
        "edgepress_metrics_groups_left_out", "gauge", f"Groups beyond the {GROUPS_MAX} heard of last, by kind"
    )
    families = []
    for kind, scope in (("profile", ""), ("artifact", "artifact")):
        keys, missing = _shown(figures, kind)
        groups = {key: _labels(figures, key) for key in keys}
        families += _counters(figures, groups, scope)
        families += _gauges(figures, groups, scope)
        families += _histograms(figures, groups, scope)
        left_out.add(missing, kind=kind)
    return [*families, left_out]


def _shown(figures: FleetFigures, kind: str) -> tuple[list[SeriesKey], int]:
    """Groups of this kind that are shown, and how many are not."""
    since = figures.now_ms - SILENT_MS
    heard = sorted(
        (-total.last_at, key)
        for key, total in figures.totals.items()
        if key.kind == kind and total.last_at >= since
    )
    return sorted(key for _, key in heard[:GROUPS_MAX]), max(0, len(heard) - GROUPS_MAX)


def _labels(figures: FleetFigures, key: SeriesKey) -> dict[str, str]:
    if key.kind == "profile":
        return {"profile": key.name}
    model, profile = figures.artifacts.get(key.name, ("", ""))
    return {"profile": profile, "model": model, "artifact": key.name[:DIGEST_CHARS]}


Groups = Mapping[SeriesKey, Mapping[str, str]]


def _counters(figures: FleetFigures, groups: Groups, scope: str) -> list[Family]:
    prefix = "_".join(filter(None, ("edgepress", scope)))
    samples = Family(f"{prefix}_samples", "counter", "Samples of telemetry stored")
    kinds = Family(f"{prefix}_errors_by_kind", "counter", "Failed requests by what was wrong")
    counters = [
        (metric, Family(prometheus_name(metric, scope=scope), "counter", metric.title))
        for metric in _COUNTERS
    ]
    for key, labels in groups.items():
        total = figures.totals[key]
        samples.add(total.samples, **labels)
        for metric, family in counters:
            value = total.value(metric.name)
            family.add(None if value is None else value * factor(metric), **labels)
        for name in _KINDS:
            kinds.add(total.value(name), **labels, kind=name.removeprefix("errors_"))
    return [samples, kinds, *(family for _, family in counters)]


def _gauges(figures: FleetFigures, groups: Groups, scope: str) -> list[Family]:
    families: list[tuple[Metric, str, Family]] = []
    for metric in _GAUGES:
        for statistic in ("mean",) if metric.kind == "flag" else _STATISTICS:
            words = "share" if metric.kind == "flag" else _STATISTICS[statistic]
            name = prometheus_name(metric, scope=scope, statistic=statistic)
            about = f"{metric.title}: {words} of the last {RECENT_MS // 1000} s"
            families.append((metric, statistic, Family(name, "gauge", about)))
    for key, labels in groups.items():
        frame = figures.recent.get(key)
        if frame is None or not len(frame):
            continue
        row = frame.grouped(np.zeros(len(frame), np.int64), RECENT_MS)
        for metric, statistic, family in families:
            family.add(_statistic(row, metric, statistic), **labels)
    return [family for *_, family in families]


def _statistic(row: Frame, metric: Metric, statistic: str) -> float:
    figure = {"mean": row.mean, "min": row.lowest, "max": row.highest}[statistic]
    return float(figure(metric.name)[0]) * factor(metric)


def _histograms(figures: FleetFigures, groups: Groups, scope: str) -> list[Family]:
    families = []
    for name, title in HISTOGRAMS.items():
        family = Family(
            "_".join(filter(None, ("edgepress", scope, histogram_plain(name), "microseconds"))),
            "histogram",
            f"{title}, of every request; the sum is worked out from the buckets, within 1.1 %",
        )
        for key, labels in groups.items():
            family.add_histogram(figures.totals[key].histograms.get(name), **labels)
        families.append(family)
    return families

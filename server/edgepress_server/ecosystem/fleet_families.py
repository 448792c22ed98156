"""Metrics of the fleet by profile, model and artifact: counters since ever, gauges of the newest minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepress_devices.metrics import BY_NAME, HISTOGRAMS, METRICS, Metric
from edgepress_server.ecosystem.families import Family
from edgepress_server.ecosystem.names import factor, histogram_plain, prometheus_name
from edgepress_server.ecosystem.profile_totals import DAY_MS, Totals
from edgepress_server.store.series.frame import Frame

RECENT_MS: Final = 120_000  # gauges speak of so long
GROUPS_MAX: Final = 200  # (profile, artifact): those heard of last
GROUP_SILENT_MS: Final = 7 * DAY_MS  # silent for longer: no longer shown
DIGEST_CHARS: Final = 12  # as people see it everywhere

_KINDS: Final = tuple(name for name in BY_NAME if name.startswith("errors_"))
_COUNTERS: Final = tuple(metric for metric in METRICS if metric.kind == "count" and metric.name not in _KINDS)
_GAUGES: Final = tuple(metric for metric in METRICS if metric.kind != "count")
_STATISTICS: Final = ("mean", "min", "max")


@dataclass(frozen=True)
class FleetFigures:
    totals: Totals
    recent: Mapping[str, Frame]  # profile -> minutes of the last RECENT_MS
    models: Mapping[str, str]  # artifact -> model
    now_ms: int


def fleet_families(figures: FleetFigures) -> list[Family]:
    groups, left_out = _groups(figures)
    families = [
        *_counter_families(figures, groups),
        *_gauge_families(figures, groups),
        *_histogram_families(figures, groups),
    ]
    silent = Family(
        "edgepress_metrics_groups_left_out",
        "gauge",
        f"Pairs of profile and artifact beyond the {GROUPS_MAX} that were heard of last",
    )
    silent.add(left_out)
    return [*families, silent]


def _groups(figures: FleetFigures) -> tuple[list[tuple[str, str]], int]:
    """(profile, artifact) of those that are shown, and how many are not."""
    since = figures.now_ms - GROUP_SILENT_MS
    heard = sorted(
        (
            (-total.last_at, profile, artifact)
            for profile, by_artifact in figures.totals.items()
            for artifact, total in by_artifact.items()
            if total.last_at >= since
        ),
    )
    shown = sorted((profile, artifact) for _, profile, artifact in heard[:GROUPS_MAX])
    return shown, len(heard) - len(shown)


def _labels(figures: FleetFigures, profile: str, artifact: str) -> dict[str, str]:
    model = figures.models.get(artifact, "")
    return {"profile": profile, "model": model, "artifact": artifact[:DIGEST_CHARS]}


def _counter_families(figures: FleetFigures, groups: list[tuple[str, str]]) -> list[Family]:
    samples = Family("edgepress_samples", "counter", "Samples of telemetry stored")
    kinds = Family("edgepress_errors_by_kind", "counter", "Failed requests by what was wrong")
    counters = [(metric, Family(prometheus_name(metric), "counter", metric.title)) for metric in _COUNTERS]
    for profile, artifact in groups:
        total = figures.totals[profile][artifact]
        labels = _labels(figures, profile, artifact)
        samples.add(total.samples, **labels)
        for metric, family in counters:
            family.add(_scaled(metric, total.value(metric.name)), **labels)
        for name in _KINDS:
            kinds.add(total.value(name), **labels, kind=name.removeprefix("errors_"))
    return [samples, kinds, *(family for _, family in counters)]


def _scaled(metric: Metric, value: float | None) -> float | None:
    return None if value is None else value * factor(metric)


def _gauge_families(figures: FleetFigures, groups: list[tuple[str, str]]) -> list[Family]:
    shown = set(groups)
    families: list[tuple[Metric, str, Family]] = []
    for metric in _GAUGES:
        statistics = ("mean",) if metric.kind == "flag" else _STATISTICS
        families += (
            (
                metric,
                statistic,
                Family(
                    prometheus_name(metric, statistic=statistic),
                    "gauge",
                    f"{metric.title}: {_words(metric, statistic)} of the last {RECENT_MS // 1000} s",
                ),
            )
            for statistic in statistics
        )
    for profile, frame in figures.recent.items():
        rows = frame.grouped(np.zeros(len(frame), np.int64), RECENT_MS, by_artifact=True)
        for i, code in enumerate(rows.artifact):
            artifact = rows.artifacts.get(int(code), "")
            if (profile, artifact) not in shown:
                continue
            labels = _labels(figures, profile, artifact)
            for metric, statistic, family in families:
                family.add(_statistic(rows, metric, statistic, i), **labels)
    return [family for *_, family in families]


def _words(metric: Metric, statistic: str) -> str:
    if metric.kind == "flag":
        return "share"
    return {"mean": "mean", "min": "least", "max": "most"}[statistic]


def _statistic(rows: Frame, metric: Metric, statistic: str, i: int) -> float:
    figure = {"mean": rows.mean, "min": rows.lowest, "max": rows.highest}[statistic]
    return float(figure(metric.name)[i]) * factor(metric)


def _histogram_families(figures: FleetFigures, groups: list[tuple[str, str]]) -> list[Family]:
    families = []
    for name, title in HISTOGRAMS.items():
        family = Family(
            f"edgepress_{histogram_plain(name)}_microseconds",
            "histogram",
            f"{title}, of every request; the sum is worked out from the buckets, within 1.1 %",
        )
        for profile, artifact in groups:
            histogram = figures.totals[profile][artifact].histograms.get(name)
            family.add_histogram(histogram, **_labels(figures, profile, artifact))
        families.append(family)
    return families

"""Telemetry as charts and lists show it: series of one device, the fleet as a whole, rows for export.

Quantiles always come from merged histograms: a p99 over ten minutes or a hundred devices is that of all their
inferences together, never an average of p99s.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edgepress_devices.histogram import HistogramError, merge, quantile
from edgepress_devices.protocol import Histogram, Sample
from edgepress_server.store.database import Database
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.keys import FLEET, SeriesKey
from edgepress_server.store.series.read import SeriesRead

Metric = Literal[
    "latency_p50_us",
    "latency_p95_us",
    "latency_p99_us",
    "inferences_per_s",
    "errors_per_s",
    "rss_bytes",
    "mem_used_bytes",
    "cpu_percent",
    "temp_c",
    "power_mw",
    "energy_mj",
    "battery_percent",
    "throttled",
]
METRICS: Final[tuple[Metric, ...]] = get_args(Metric)
_QUANTILES: Final = {"latency_p50_us": 0.50, "latency_p95_us": 0.95, "latency_p99_us": 0.99}
_RATES: Final = {"inferences_per_s": "inferences", "errors_per_s": "errors"}
_MOST: Final = ("rss_bytes", "mem_used_bytes", "temp_c")

MINUTE_MS: Final = 60_000
POINTS_WANTED: Final = 600
POINTS_MAX: Final = 5000
_UNIT_MS: Final = {0: 1000, MINUTE_MS: MINUTE_MS, 60 * MINUTE_MS: 60 * MINUTE_MS}


@dataclass(frozen=True)
class Series:
    t: list[int]  # Unix ms: where each step begins
    step_ms: int
    series: dict[Metric, list[float | None]]  # None: nothing was measured in that step
    methods: dict[str, str]  # power_mw, energy_mj -> where the newest figure came from


@dataclass(frozen=True)
class Rates:
    """A group of devices now. Latency: of this minute and the one before; else: newest samples."""

    total: int
    online: int
    p50_us: float | None
    p95_us: float | None
    p99_us: float | None
    inferences_per_s: float | None
    power_mw: float | None  # sum over the devices that tell
    power_devices: int  # how many tell
    power_estimated: int  # how many of those estimate


@dataclass(frozen=True)
class Fleet:
    all: Rates
    offline: int
    registered: int
    revoked: int
    by_profile: dict[str, Rates]


class TelemetryRead:
    def __init__(self, database: Database, series: SeriesRead) -> None:
        self._database = database
        self._series = series

    def latest(self, device: str | None = None) -> dict[str, Sample]:
        """Device -> its newest sample; of one device if asked."""
        if device is None:
            return self._series.latest()
        sample = self._series.latest_of(device)
        return {} if sample is None else {device: sample}

    def series(
        self, device: str, metrics: Sequence[Metric], from_ms: int, to_ms: int, step_ms: int | None = None
    ) -> Series:
        """Metrics of a device in steps. Ranges up to an hour, of the last day, come from samples, those up to
        two days from minutes, longer ones from hours.

        The step may come out larger than asked for: at least a second, a minute or an hour, at most
        POINTS_MAX points.
        """
        histograms = ("latency_us",) if any(metric in _QUANTILES for metric in metrics) else ()
        frame = self._series.frame(SeriesKey("device", device), from_ms, to_ms, histograms=histograms)
        unit_ms = _UNIT_MS[frame.span_ms]
        span_ms = max(1, to_ms - from_ms)
        wanted_ms = max(step_ms or -(-span_ms // POINTS_WANTED), -(-span_ms // POINTS_MAX))
        step_ms = -(-wanted_ms // unit_ms) * unit_ms
        first = from_ms // step_ms * step_ms
        starts = np.arange(first, max(to_ms, first + 1), step_ms)
        steps = frame.steps(step_ms)
        place = (steps.at - first) // step_ms
        inside = (place >= 0) & (place < len(starts))
        values: dict[Metric, list[float | None]] = {}
        for metric in metrics:
            column = np.full(len(starts), np.nan)
            column[place[inside]] = _figure(steps, metric)[inside]
            values[metric] = [None if np.isnan(v) else round(v, 3) for v in column.tolist()]
        methods = {name: how for name, (how, _) in self._methods(device).items() if name in metrics}
        return Series(starts.tolist(), step_ms, values, methods)

    def _methods(self, device: str) -> dict[str, tuple[str, str]]:
        return self._series.readings([device]).get(device, {})

    def fleet(self) -> Fleet:
        """All devices together and by profile."""
        with self._database.snapshot():
            devices = self._database.rows(
                "SELECT name, profile, online, enrolled_at, revoked_at FROM devices ORDER BY name"
            )
            latest = self._series.latest()
            there = [row for row in devices if row["revoked_at"] is None]
            profiles = sorted({row["profile"] for row in there})
            now = self._database.now_ms()
            frames = self._series.frames(
                [FLEET, *(SeriesKey("profile", profile) for profile in profiles)],
                now - 2 * MINUTE_MS + 1,
                now + MINUTE_MS,
                span="minute",
                histograms=("latency_us",),
            )
        enrolled = [row for row in there if row["enrolled_at"] is not None]
        return Fleet(
            all=_rates(there, latest, frames[FLEET]),
            offline=sum(1 for row in enrolled if not row["online"]),
            registered=len(there) - len(enrolled),
            revoked=len(devices) - len(there),
            by_profile={
                profile: _rates(
                    [row for row in there if row["profile"] == profile],
                    latest,
                    frames[SeriesKey("profile", profile)],
                )
                for profile in profiles
            },
        )

    def export(self, device: str | None, from_ms: int, to_ms: int) -> Iterator[tuple[str, Sample]]:
        """(device, sample), by device and time."""
        return self._series.export(device, from_ms, to_ms)


def _figure(steps: Frame, metric: str) -> NDArray[np.float64]:
    if metric in _QUANTILES:
        return steps.quantile("latency_us", _QUANTILES[metric])
    if metric in _RATES:
        return steps.rate(_RATES[metric])
    if metric in _MOST:
        return steps.highest(metric)
    if metric == "throttled":
        return np.ceil(steps.mean(metric))  # 1 where it was at any time
    return steps.mean(metric)


def quantiles_us(histograms: Sequence[Histogram], qs: Sequence[float]) -> list[float | None]:
    """Quantiles of the merged histograms, to 0.1 us; None where nothing was measured."""
    try:
        merged = merge(histograms)
        values = [None if merged is None else quantile(merged, q) for q in qs]
    except HistogramError:  # ingest refuses such; a store from elsewhere may hold one
        return [None] * len(qs)
    return [None if value is None else round(value, 1) for value in values]


def _rates(devices: Sequence[sqlite3.Row], latest: dict[str, Sample], lately: Frame) -> Rates:
    online = [latest[row["name"]] for row in devices if row["online"] and row["name"] in latest]
    histograms = [h for h in lately.histograms["latency_us"] if h is not None]
    p50, p95, p99 = quantiles_us(histograms, (0.50, 0.95, 0.99))
    power = [sample.power_mw for sample in online if sample.power_mw is not None]
    speeds = [1000 * sample.inferences / sample.interval_ms for sample in online if sample.interval_ms]
    return Rates(
        total=len(devices),
        online=sum(1 for row in devices if row["online"]),
        p50_us=p50,
        p95_us=p95,
        p99_us=p99,
        inferences_per_s=round(sum(speeds), 3) if speeds else None,
        power_mw=round(sum(reading.value for reading in power), 1) if power else None,
        power_devices=len(power),
        power_estimated=sum(1 for reading in power if reading.method.startswith("estimate")),
    )

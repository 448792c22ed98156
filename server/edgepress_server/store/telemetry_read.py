"""Telemetry as it is looked at: newest samples, series for charts, the fleet as a whole, rows for export.

Quantiles always come from merged histograms: a p99 over ten minutes or a hundred devices is that of all their
inferences together, never an average of p99s.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, get_args

import msgspec

from edgepress_devices.histogram import HistogramError, merge, quantile
from edgepress_devices.protocol import Histogram, Reading, Sample
from edgepress_server.store.database import Database

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

SAMPLES_RANGE_MS: Final = 3600 * 1000  # single samples up to an hour, minutes beyond
SAMPLES_KEPT_MS: Final = 24 * 3600 * 1000  # see telemetry.HOT_MS: older ones are only there as minutes
MINUTE_MS: Final = 60_000
POINTS_WANTED: Final = 600
POINTS_MAX: Final = 5000
_PAGE_ROWS: Final = 1000

_histogram = msgspec.msgpack.Decoder(Histogram)


@dataclass(frozen=True)
class Series:
    t: list[int]  # Unix ms: where each step begins
    step_ms: int
    series: dict[Metric, list[float | None]]  # None: nothing was measured in that step
    methods: dict[str, str]  # power_mw, energy_mj -> where the newest figure came from


@dataclass
class _Step:
    """What fell into one step of a chart."""

    histograms: list[Histogram] = field(default_factory=list)
    inferences: int = 0
    errors: int = 0
    covered_ms: int = 0
    most: dict[str, float] = field(default_factory=dict)  # rss_bytes, mem_used_bytes, temp_c, throttled
    sums: dict[str, float] = field(default_factory=dict)  # cpu_percent, power_mw, energy_mj
    counts: dict[str, int] = field(default_factory=dict)
    battery_percent: float | None = None

    def at_most(self, name: str, value: float | None) -> None:
        if value is not None:
            self.most[name] = max(value, self.most.get(name, value))

    def add(self, name: str, value: float | None, count: int = 1) -> None:
        if value is not None and count > 0:
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + count

    @cached_property
    def quantiles(self) -> dict[str, float | None]:
        """All three from one merge, once everything was added."""
        found = quantiles_us(self.histograms, tuple(_QUANTILES.values()))
        return dict(zip(_QUANTILES, found, strict=True))

    def value(self, metric: str) -> float | None:
        if metric in _QUANTILES:
            return self.quantiles[metric]
        if metric in ("inferences_per_s", "errors_per_s"):
            count = self.inferences if metric == "inferences_per_s" else self.errors
            return round(1000 * count / self.covered_ms, 3) if self.covered_ms else None
        if metric == "battery_percent":
            return self.battery_percent
        if metric in self.counts:
            return round(self.sums[metric] / self.counts[metric], 3)
        return self.most.get(metric)


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
    def __init__(self, database: Database) -> None:
        self._database = database

    def latest(self, device: str | None = None) -> dict[str, Sample]:
        """Device -> its newest sample; of one device if asked."""
        rows = self._database.rows(
            "SELECT device, sample FROM latest WHERE ? IS NULL OR device = ?", (device, device)
        )
        return {row["device"]: msgspec.json.decode(row["sample"], type=Sample) for row in rows}

    # --- series ---------------------------------------------------------------------------------------

    def series(
        self, device: str, metrics: Sequence[Metric], from_ms: int, to_ms: int, step_ms: int | None = None
    ) -> Series:
        """Metrics of a device in steps. Ranges up to an hour, of the last day, come from samples, others
        from minutes.

        The step may come out larger than asked for: at least a second (samples) or a minute, at most
        POINTS_MAX points.
        """
        span_ms = max(1, to_ms - from_ms)
        fresh = from_ms >= self._database.now_ms() - SAMPLES_KEPT_MS
        from_samples = fresh and span_ms <= SAMPLES_RANGE_MS
        unit_ms = 1000 if from_samples else MINUTE_MS
        wanted_ms = max(step_ms or -(-span_ms // POINTS_WANTED), -(-span_ms // POINTS_MAX))
        step_ms = -(-wanted_ms // unit_ms) * unit_ms
        first = from_ms // step_ms * step_ms
        starts = list(range(first, max(to_ms, first + 1), step_ms))
        steps: dict[int, _Step] = {}
        histograms = any(metric in _QUANTILES for metric in metrics)
        read = self._read_samples if from_samples else self._read_minutes
        methods = read(device, first, to_ms, step_ms, steps, histograms)
        values = {
            metric: [steps[t].value(metric) if t in steps else None for t in starts] for metric in metrics
        }
        return Series(
            starts, step_ms, values, {name: how for name, how in methods.items() if name in metrics}
        )

    def _read_samples(
        self, device: str, from_ms: int, to_ms: int, step_ms: int, steps: dict[int, _Step], histograms: bool
    ) -> dict[str, str]:
        methods: dict[str, str] = {}
        rows = self._database.rows(
            "SELECT * FROM samples WHERE device = ? AND at >= ? AND at < ? ORDER BY at",
            (device, from_ms, to_ms),
        )
        for row in rows:
            step = steps.setdefault(row["at"] // step_ms * step_ms, _Step())
            if histograms and row["latency_us"] is not None:
                step.histograms.append(_histogram.decode(row["latency_us"]))
            step.inferences += row["inferences"]
            step.errors += row["errors"]
            step.covered_ms += row["interval_ms"]
            for name in ("rss_bytes", "mem_used_bytes", "temp_c", "throttled"):
                step.at_most(name, row[name])
            for name in ("cpu_percent", "power_mw", "energy_mj"):
                step.add(name, row[name])
            if row["battery_percent"] is not None:
                step.battery_percent = row["battery_percent"]
            _note_methods(methods, row)
        return methods

    def _read_minutes(
        self, device: str, from_ms: int, to_ms: int, step_ms: int, steps: dict[int, _Step], histograms: bool
    ) -> dict[str, str]:
        methods: dict[str, str] = {}
        now = self._database.now_ms()
        last_minute = -1
        rows = self._database.rows(
            "SELECT * FROM minutes WHERE device = ? AND minute >= ? AND minute < ? ORDER BY minute",
            (device, from_ms // MINUTE_MS * MINUTE_MS, to_ms),
        )
        for row in rows:
            step = steps.setdefault(row["minute"] // step_ms * step_ms, _Step())
            if histograms and row["latency_us"] is not None:
                step.histograms.append(_histogram.decode(row["latency_us"]))
            step.inferences += row["inferences"]
            step.errors += row["errors"]
            if row["minute"] != last_minute:  # two artifacts may share a minute
                step.covered_ms += min(MINUTE_MS, max(1, now - row["minute"]))
                last_minute = row["minute"]
            step.at_most("rss_bytes", row["rss_bytes_max"])
            step.at_most("mem_used_bytes", row["mem_used_bytes_max"])
            step.at_most("temp_c", row["temp_c_max"])
            step.at_most("throttled", row["throttled"])
            step.add("cpu_percent", row["cpu_percent_sum"], row["cpu_count"])
            step.add("power_mw", row["power_mw_sum"], row["power_count"])
            step.add("energy_mj", row["energy_mj_sum"], row["energy_count"])
            _note_methods(methods, row)
        return methods

    # --- fleet ----------------------------------------------------------------------------------------

    def fleet(self) -> Fleet:
        """All devices together and by profile."""
        since = self._database.now_ms() // MINUTE_MS * MINUTE_MS - MINUTE_MS
        with self._database.snapshot():
            devices = self._database.rows(
                "SELECT name, profile, online, enrolled_at, revoked_at FROM devices ORDER BY name"
            )
            latest = self.latest()
            minutes = self._database.rows(
                "SELECT m.device, m.latency_us FROM latest l JOIN minutes m ON m.device = l.device "
                "WHERE m.minute >= ? AND m.latency_us IS NOT NULL",
                (since,),
            )
        histograms: dict[str, list[Histogram]] = {}
        for row in minutes:
            histograms.setdefault(row["device"], []).append(_histogram.decode(row["latency_us"]))
        there = [row for row in devices if row["revoked_at"] is None]
        profiles = sorted({row["profile"] for row in there})
        enrolled = [row for row in there if row["enrolled_at"] is not None]
        return Fleet(
            all=_rates(there, latest, histograms),
            offline=sum(1 for row in enrolled if not row["online"]),
            registered=len(there) - len(enrolled),
            revoked=len(devices) - len(there),
            by_profile={
                profile: _rates([row for row in there if row["profile"] == profile], latest, histograms)
                for profile in profiles
            },
        )

    # --- export ---------------------------------------------------------------------------------------

    def export(self, device: str | None, from_ms: int, to_ms: int) -> Iterator[tuple[str, Sample]]:
        """(device, sample), by device and time. Read in pages, so that a slow reader holds nothing."""
        names = (
            [device]
            if device is not None
            else [row["device"] for row in self._database.rows("SELECT device FROM latest ORDER BY device")]
        )
        for name in names:
            at, number = from_ms, -1
            while True:
                rows = self._database.rows(
                    "SELECT * FROM samples WHERE device = ? AND at < ? AND (at, id) > (?, ?) ORDER BY at, "
                    "id LIMIT ?",
                    (name, to_ms, at, number, _PAGE_ROWS),
                )
                for row in rows:
                    yield name, _sample(row)
                if len(rows) < _PAGE_ROWS:
                    break
                at, number = rows[-1]["at"], rows[-1]["id"]


def quantiles_us(histograms: Sequence[Histogram], qs: Sequence[float]) -> list[float | None]:
    """Quantiles of the merged histograms, to 0.1 us; None where nothing was measured."""
    try:
        merged = merge(histograms)
        values = [None if merged is None else quantile(merged, q) for q in qs]
    except HistogramError:  # ingest refuses such; a store from elsewhere may hold one
        return [None] * len(qs)
    return [None if value is None else round(value, 1) for value in values]


def _rates(
    devices: Sequence[sqlite3.Row], latest: dict[str, Sample], histograms: dict[str, list[Histogram]]
) -> Rates:
    online = [latest[row["name"]] for row in devices if row["online"] and row["name"] in latest]
    merged = [histogram for row in devices for histogram in histograms.get(row["name"], [])]
    p50, p95, p99 = quantiles_us(merged, (0.50, 0.95, 0.99))
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


def _note_methods(methods: dict[str, str], row: sqlite3.Row) -> None:
    if row["power_method"] is not None:
        methods["power_mw"] = row["power_method"]
    if row["energy_method"] is not None:
        methods["energy_mj"] = row["energy_method"]


def _sample(row: sqlite3.Row) -> Sample:
    def reading(name: str) -> Reading | None:
        value = row[f"{name}_m{'w' if name == 'power' else 'j'}"]
        return None if value is None else Reading(value, row[f"{name}_method"], row[f"{name}_scope"])

    return Sample(
        at_ms=row["at"],
        interval_ms=row["interval_ms"],
        artifact=row["artifact"],
        inferences=row["inferences"],
        errors=row["errors"],
        latency_us=None if row["latency_us"] is None else _histogram.decode(row["latency_us"]),
        rss_bytes=row["rss_bytes"],
        mem_used_bytes=row["mem_used_bytes"],
        mem_total_bytes=row["mem_total_bytes"],
        cpu_percent=row["cpu_percent"],
        temp_c=row["temp_c"],
        throttled=None if row["throttled"] is None else bool(row["throttled"]),
        power_mw=reading("power"),
        energy_mj=reading("energy"),
        battery_percent=row["battery_percent"],
        agent_cpu_percent=row["agent_cpu_percent"],
        disk_free_bytes=row["disk_free_bytes"],
    )

"""What models saw and said, by the hour: counts in the bins of the artifact's baseline, which add up.

Devices send counts about once a minute. They are added to two rows of the hour: the device's and that of all
devices together. So the drift of a fleet is that of its merged counts, never a mean of devices' figures.

A device names features and bins; only those that the artifact's baseline has are taken, so nobody can make a
row grow. Artifacts without a baseline have no rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from edgepress_compression.artifact.baseline import Baseline
from edgepress_devices.protocol import ModelStats, Sample
from edgepress_server.store.baselines import Baselines
from edgepress_server.store.database import Database

HOUR_MS: Final = 3_600_000
DEVICE_KEPT_MS: Final = 30 * 24 * HOUR_MS
FLEET_KEPT_MS: Final = 2 * 365 * 24 * HOUR_MS
FLEET: Final = ""
COUNT_MAX: Final = 10**9  # of one message: what is larger is no count of a few minutes
_PRUNE_EVERY_MS: Final = 60_000
_PRUNE_ROWS: Final = 2000


class FeatureTotals(msgspec.Struct, array_like=True):
    counts: list[int]
    mean_sum: float = 0.0  # of mean times requests, where a mean came
    mean_requests: int = 0


class ModelTotals(msgspec.Struct, array_like=True):
    """Sums over one hour or more; merging adds."""

    window_ms: int = 0
    looked_at: int = 0
    features: dict[str, FeatureTotals] = {}
    classes: list[int] = []
    confidence: list[int] = []

    def add(self, stats: ModelStats, baseline: Baseline) -> None:
        """What of one message fits the baseline."""
        self.window_ms += min(stats.window_ms, COUNT_MAX)
        self.looked_at += min(stats.looked_at, COUNT_MAX)
        bins = {feature.name: len(feature.counts) for feature in baseline.features}
        for drift in stats.features:
            if bins.get(drift.name) != len(drift.counts) or max(drift.counts) > COUNT_MAX:
                continue
            requests = sum(drift.counts)
            totals = self.features.setdefault(drift.name, FeatureTotals([0] * len(drift.counts)))
            totals.counts = _added(totals.counts, drift.counts)
            if drift.mean is not None:
                totals.mean_sum += drift.mean * requests
                totals.mean_requests += requests
        answer = baseline.answer
        if answer is None:
            return
        for kept, came, wanted in (
            ("classes", stats.class_counts, len(answer.classes)),
            ("confidence", stats.confidence_counts, len(answer.confidence)),
        ):
            if came and len(came) == wanted and max(came) <= COUNT_MAX:
                setattr(self, kept, _added(getattr(self, kept), came))

    def merge(self, other: ModelTotals) -> None:
        self.window_ms += other.window_ms
        self.looked_at += other.looked_at
        for name, came in other.features.items():
            mine = self.features.setdefault(name, FeatureTotals([0] * len(came.counts)))
            mine.counts = _added(mine.counts, came.counts)
            mine.mean_sum += came.mean_sum
            mine.mean_requests += came.mean_requests
        self.classes = _added(self.classes, other.classes)
        self.confidence = _added(self.confidence, other.confidence)


@dataclass(frozen=True)
class HourTotals:
    hour: int  # Unix ms at which it begins
    artifact: str
    totals: ModelTotals


class ModelStatsHours:
    """The write side is called by whoever stores telemetry, in its transaction."""

    def __init__(self, database: Database, baselines: Baselines) -> None:
        self._database = database
        self._baselines = baselines
        self._prune_due = 0

    def add(self, device: str, sample: Sample) -> None:
        """Add what came with a sample, if anything did. Raises StoreError, DiskFullError."""
        stats, artifact = sample.model, sample.artifact
        if stats is None or artifact is None or not stats.looked_at:
            return
        baseline = self._baselines.of(artifact)
        if baseline is None:
            return
        hour = sample.at_ms - sample.at_ms % HOUR_MS
        with self._database.transaction() as connection:
            for whose in (device, FLEET):
                key = (whose, artifact, hour)
                row = self._database.row(
                    "SELECT totals FROM model_stats WHERE device = ? AND artifact = ? AND hour = ?", key
                )
                totals = ModelTotals() if row is None else _decode(row["totals"])
                totals.add(stats, baseline)
                connection.execute(
                    "INSERT INTO model_stats (device, artifact, hour, totals) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT (device, artifact, hour) DO UPDATE SET totals = excluded.totals",
                    (*key, msgspec.msgpack.encode(totals)),
                )
            self._prune()

    def of_device(
        self, device: str, from_ms: int, to_ms: int, artifact: str | None = None
    ) -> Sequence[HourTotals]:
        """The device's hours that touch the range, ascending; of one artifact if asked."""
        return self._read(device, from_ms, to_ms, artifact)

    def of_artifact(self, artifact: str, from_ms: int, to_ms: int) -> Sequence[HourTotals]:
        """As `of_device`, of all devices that ran it."""
        return self._read(FLEET, from_ms, to_ms, artifact)

    def _read(self, device: str, from_ms: int, to_ms: int, artifact: str | None) -> Sequence[HourTotals]:
        rows = self._database.rows(
            "SELECT hour, artifact, totals FROM model_stats WHERE device = ? AND (? IS NULL OR artifact = ?)"
            " AND hour > ? AND hour < ? ORDER BY hour",
            (device, artifact, artifact, from_ms - HOUR_MS, to_ms),
        )
        return [HourTotals(row["hour"], row["artifact"], _decode(row["totals"])) for row in rows]

    def _prune(self) -> None:
        now = self._database.now_ms()
        if now < self._prune_due:
            return
        self._prune_due = now + _PRUNE_EVERY_MS
        with self._database.transaction() as connection:
            for condition, kept_ms in (("device <> ''", DEVICE_KEPT_MS), ("device = ''", FLEET_KEPT_MS)):
                connection.execute(
                    "DELETE FROM model_stats WHERE (device, artifact, hour) IN (SELECT device, artifact, hour"  # noqa: S608 - constants above
                    f" FROM model_stats WHERE hour < ? AND {condition} LIMIT {_PRUNE_ROWS})",
                    (now - kept_ms,),
                )


def merged(hours: Iterable[HourTotals]) -> ModelTotals:
    """All of them as one: of one artifact, or bins would not be the same."""
    whole = ModelTotals()
    for hour in hours:
        whole.merge(hour.totals)
    return whole


def _decode(blob: bytes) -> ModelTotals:
    return msgspec.msgpack.decode(blob, type=ModelTotals)


def _added(a: list[int], b: Sequence[int]) -> list[int]:
    if not a:
        return list(b)
    return [x + y for x, y in zip(a, b, strict=True)] if b else a

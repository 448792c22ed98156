"""The fleet on one page, worked out in one go: what `api.telemetry_overview` answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from edgepress_devices.protocol import Sample
from edgepress_server.store import Store
from edgepress_server.store.fleet_pages import ArtifactRow, DeviceRow, RolloutRow
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.keys import FLEET, SeriesKey
from edgepress_server.telemetry_query import figures
from edgepress_server.telemetry_query.engine import figure
from edgepress_server.telemetry_query.movers import Seen
from edgepress_server.telemetry_query.plan import HOUR_MS, MINUTE_MS, Plan
from edgepress_server.telemetry_query.problems import AWAY_MS, Other, Problems, Scene, problems
from edgepress_server.telemetry_query.source import Source

NOW_MINUTES: Final = 2  # whole ones
SPARK_MINUTES: Final = 60
USUAL_MS: Final = 24 * HOUR_MS
VERSIONS_MAX: Final = 10
RUNNING_MAX: Final = 20
ROLLOUTS_MAX: Final = 10
OTHERS_MAX: Final = 50
QUARANTINE_MS: Final = HOUR_MS

NOW: Final = (
    "p50_us",
    "p95_us",
    "p99_us",
    "error_ratio",
    "rss_bytes",
    "mem_ratio",
    "cpu_percent",
    "temp_c",
    "throttled",
    "energy_mj",
)
SPARKS: Final = (*NOW, "power_mw")
_STATUSES: Final = ("online", "offline", "registered", "revoked")


@dataclass(frozen=True)
class AgentVersion:
    version: str  # "others" where there are many
    devices: int
    online: int


@dataclass(frozen=True)
class RunningRow:
    digest: str
    model: str | None  # None: an artifact this server does not know
    recipe: str | None
    release: int | None  # counter of the newest that names it
    devices: int
    online: int
    p95_us: float | None
    error_ratio: float | None
    inferences_per_s: float | None


@dataclass(frozen=True)
class Sparklines:
    t: list[int]
    step_ms: int
    series: dict[str, list[float | None]]


@dataclass(frozen=True)
class Overview:
    """All of the page but the heat map, which is made of it for any figure."""

    at: int  # Unix ms
    devices: dict[str, int]
    agents: list[AgentVersion]
    running: list[RunningRow]
    running_left_out: int
    rollouts: list[RolloutRow]
    now: dict[str, float | None]
    usual: dict[str, float | None]
    sparklines: Sparklines
    movers: Seen
    problems: Problems
    rows: Sequence[DeviceRow]  # without revoked ones
    latest: Mapping[str, Sample]
    models: Mapping[str, str]  # digest -> model
    texts: dict[str, str] = field(default_factory=dict)  # answers that were made of it, by heat map


def overview(store: Store, source: Source, seen: Seen) -> Overview:
    """Reads the live rows of the fleet, the newest samples, and what stands about devices."""
    now_ms = store.now_ms()
    pages = store.fleet_pages
    with store.database.snapshot():
        everyone = pages.devices()
        artifacts = pages.artifacts()
        releases = pages.releases_by_artifact()
        rollouts = pages.rollouts_under_way(ROLLOUTS_MAX)
        latest = store.series_read.latest()
        heard_at = store.series_read.heard_at()
        clocks = {name: (row.offset_ms, row.since_at) for name, row in store.series_read.clocks().items()}
        quarantined = {
            row["device"]: (row["n"], row["first"], row["reason"])
            for row in pages.quarantined_since(now_ms - QUARANTINE_MS)
        }
        others = list(_others(store))
    there = [device for device in everyone if device.status != "revoked"]
    running, left_out = _running(source, there, artifacts, releases, now_ms)
    spark = _fleet_minutes(source, now_ms)
    return Overview(
        at=now_ms,
        devices=_counts(everyone),
        agents=_versions(there),
        running=running,
        running_left_out=left_out,
        rollouts=rollouts,
        now={**_now(spark, now_ms), **_power(there, latest, heard_at, now_ms)},
        usual=_usual(source, now_ms),
        sparklines=_sparklines(spark, now_ms),
        movers=seen,
        problems=problems(
            Scene(now_ms, there, artifacts, latest, heard_at, seen.now, quarantined, clocks, others)
        ),
        rows=there,
        latest=latest,
        models={digest: row.model for digest, row in artifacts.items()},
    )


def _counts(devices: Sequence[DeviceRow]) -> dict[str, int]:
    counted = Counter(device.status for device in devices)
    found = {status: counted.get(status, 0) for status in _STATUSES}
    return {"total": len(devices) - found["revoked"], **found}


def _versions(devices: Sequence[DeviceRow]) -> list[AgentVersion]:
    heard = [device for device in devices if device.agent_version is not None]
    everyone = Counter(device.agent_version or "" for device in heard)
    online = Counter(device.agent_version or "" for device in heard if device.status == "online")
    ordered = sorted(everyone, key=lambda version: (-everyone[version], version))
    found = [AgentVersion(each, everyone[each], online[each]) for each in ordered[:VERSIONS_MAX]]
    rest = ordered[VERSIONS_MAX:]
    if rest:
        found.append(
            AgentVersion("others", sum(everyone[each] for each in rest), sum(online[each] for each in rest))
        )
    return found


def _running(
    source: Source,
    devices: Sequence[DeviceRow],
    artifacts: Mapping[str, ArtifactRow],
    releases: Mapping[str, int],
    now_ms: int,
) -> tuple[list[RunningRow], int]:
    everyone = Counter(device.running for device in devices if device.running is not None)
    online = Counter(device.running for device in devices if device.status == "online")
    ordered = sorted(everyone, key=lambda digest: (-everyone[digest], digest or ""))
    from_ms, to_ms = _whole_minutes(now_ms)
    keys = {digest: SeriesKey("artifact", digest) for digest in ordered[:RUNNING_MAX] if digest is not None}
    frames = source.frames(list(keys.values()), from_ms, to_ms, span="minute", histograms=("latency_us",))
    found = []
    for digest, key in keys.items():
        told = figures.whole(frames[key], ("p95_us", "error_ratio", "inferences"))
        artifact = artifacts.get(digest)
        found.append(
            RunningRow(
                digest=digest,
                model=None if artifact is None else artifact.model,
                recipe=None if artifact is None else artifact.recipe,
                release=releases.get(digest),
                devices=everyone[digest],
                online=online[digest],
                p95_us=told["p95_us"],
                error_ratio=told["error_ratio"],
                inferences_per_s=_per_s(told["inferences"], to_ms - from_ms),
            )
        )
    return found, max(0, len(ordered) - RUNNING_MAX)


def _whole_minutes(now_ms: int) -> tuple[int, int]:
    to_ms = now_ms // MINUTE_MS * MINUTE_MS
    return to_ms - NOW_MINUTES * MINUTE_MS, to_ms


def _fleet_minutes(source: Source, now_ms: int) -> Frame:
    to_ms = now_ms // MINUTE_MS * MINUTE_MS
    return source.frame(
        FLEET, to_ms - SPARK_MINUTES * MINUTE_MS, to_ms, span="minute", histograms=("latency_us",)
    )


def _per_s(count: float | None, span_ms: int) -> float | None:
    return None if count is None else figure(count * 1000 / span_ms)


def _now(minutes: Frame, now_ms: int) -> dict[str, float | None]:
    from_ms, to_ms = _whole_minutes(now_ms)
    told = figures.whole(minutes.between(from_ms, to_ms), (*NOW, "inferences", "errors"))
    return {
        **{name: told[name] for name in NOW},
        "inferences_per_s": _per_s(told["inferences"], to_ms - from_ms),
        "errors_per_s": _per_s(told["errors"], to_ms - from_ms),
    }


def _usual(source: Source, now_ms: int) -> dict[str, float | None]:
    to_ms = now_ms // HOUR_MS * HOUR_MS
    hours = source.frame(FLEET, to_ms - USUAL_MS, to_ms, span="hour", histograms=("latency_us",))
    told = figures.whole(hours, (*NOW, "inferences", "errors"))
    span_ms = max(1, len(set(hours.at.tolist()))) * HOUR_MS
    return {
        **{name: told[name] for name in NOW},
        "inferences_per_s": _per_s(told["inferences"], span_ms),
        "errors_per_s": _per_s(told["errors"], span_ms),
        "power_mw": None,
        "power_devices": None,
        "power_estimated": None,
    }


def _sparklines(minutes: Frame, now_ms: int) -> Sparklines:
    to_ms = now_ms // MINUTE_MS * MINUTE_MS
    made = Plan("minute", to_ms - SPARK_MINUTES * MINUTE_MS, to_ms, MINUTE_MS)
    series = figures.over_time(minutes, made, (*SPARKS, "inferences", "errors"))
    for count in ("inferences", "errors"):
        series[f"{count}_per_s"] = [_per_s(value, MINUTE_MS) for value in series.pop(count)]
    return Sparklines(list(range(made.from_ms, made.to_ms, MINUTE_MS)), MINUTE_MS, series)


def _power(
    devices: Sequence[DeviceRow], latest: Mapping[str, Sample], heard_at: Mapping[str, int], now_ms: int
) -> dict[str, float | None]:
    """The sum over the devices that tell: those that are there now."""
    readings = [
        sample.power_mw
        for device in devices
        if device.status == "online"
        and (sample := latest.get(device.name)) is not None
        and sample.power_mw is not None
        and now_ms - heard_at.get(device.name, 0) <= AWAY_MS
    ]
    return {
        "power_mw": round(sum(reading.value for reading in readings), 1) if readings else None,
        "power_devices": len(readings),
        "power_estimated": sum(1 for reading in readings if reading.method.startswith("estimate")),
    }


def _others(store: Store) -> Iterator[Other]:
    for incident in store.alerts.firing()[:OTHERS_MAX]:
        if incident.silenced:
            continue
        kind, _, name = incident.first_subject.partition(":")
        yield Other(
            "alert",
            incident.severity,
            incident.subjects,
            [name] if kind == "device" else [],
            incident.profile,
            incident.model,
            incident.artifact,
            incident.since,
            incident.sentence,
            f"/alerts/{incident.id}",
        )
    for finding in store.findings.list(over=False, limit=OTHERS_MAX):
        yield Other(
            "finding",
            "warning",
            len(finding.devices),
            finding.devices,
            finding.profile,
            finding.model,
            finding.digest,
            finding.since,
            finding.sentence,
            f"/findings/{finding.id}",
        )
    for row in store.fleet_pages.rollouts_under_way(OTHERS_MAX):
        if row.state == "paused":
            yield Other(
                "rollout",
                "warning",
                row.failed,
                [],
                None,
                row.model,
                None,
                row.since,
                f"The rollout of {row.model}, release {row.release}, is paused: {row.committed} of "
                f"{row.devices} devices run it, {row.failed} failed.",
                f"/rollouts/{row.id}",
            )

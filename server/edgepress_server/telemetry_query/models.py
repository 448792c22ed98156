"""What a model's artifacts do in the fleet: over time, before and after each release, and as predicted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgepress_server.store.fleet_pages import ArtifactRow, PredictedRow, ReleaseRow
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.keys import SeriesKey
from edgepress_server.telemetry_query.device_list import ListedDevice
from edgepress_server.telemetry_query.figures import (
    OF_A_SERIES,
    OVER_TIME,
    histograms_of,
    over_time,
    told,
    whole,
)
from edgepress_server.telemetry_query.plan import DAY_MS, HOUR_MS, MINUTES_KEPT_MS, Plan
from edgepress_server.telemetry_query.source import Source

ARTIFACTS_MAX: Final = 20
RELEASES_MAX: Final = 10
LOOK_BACK_MS: Final = MINUTES_KEPT_MS  # for releases
_HISTOGRAMS: Final = histograms_of((*OF_A_SERIES, *OVER_TIME))


@dataclass(frozen=True)
class ArtifactTelemetry:
    row: ArtifactRow
    release: int | None  # counter of the newest that names it
    devices: int  # that say they run it now
    online: int
    figures: dict[str, float | None]
    series: dict[str, list[float | None]]
    predicted: PredictedRow | None
    ratio: float | None  # predicted by measured p50


@dataclass(frozen=True)
class ProfileDevices:
    profile: str
    devices: int
    online: int
    running: dict[str, int]  # digest -> devices


@dataclass(frozen=True)
class ReleasedOn:
    """A release on one profile: the artifact before, against the one that it brought."""

    profile: str
    digest: str
    previous: str | None  # digest; None: it was the first
    first_at: int | None  # hour in which it first answered, Unix ms; None: it never did
    before: dict[str, float | None] | None  # the previous artifact, in the day before
    after: dict[str, float | None] | None  # this one, in its first day


@dataclass(frozen=True)
class Released:
    row: ReleaseRow
    profiles: list[ReleasedOn]


@dataclass(frozen=True)
class ModelTelemetry:
    plan: Plan
    t: list[int]
    artifacts: list[ArtifactTelemetry]
    profiles: list[ProfileDevices]
    releases: list[Released]
    left_out: int  # artifacts beyond ARTIFACTS_MAX


def model_telemetry(
    source: Source,
    made: Plan,
    artifacts: Sequence[ArtifactRow],
    devices: Sequence[ListedDevice],
    releases: Sequence[ReleaseRow],
    release_of: Mapping[str, int],
    predictions: Mapping[tuple[str, str], PredictedRow],
    now_ms: int,
) -> ModelTelemetry:
    """Of these artifacts; ``devices``: all; ``releases``: newest first; predictions by (profile, digest)."""
    digests = {row.digest for row in artifacts}
    running = [
        device for device in devices if device.row.running in digests and device.row.status != "revoked"
    ]
    everyone = Counter(device.row.running for device in running)
    online = Counter(device.row.running for device in running if device.row.status == "online")
    keys = {row.digest: SeriesKey("artifact", row.digest) for row in artifacts}
    frames = source.frames(
        list(keys.values()), made.from_ms, made.to_ms, span=made.tier, histograms=_HISTOGRAMS
    )
    there = [row for row in artifacts if len(frames[keys[row.digest]]) or everyone[row.digest]]
    there.sort(key=lambda row: (-everyone[row.digest], -len(frames[keys[row.digest]]), row.digest))
    return ModelTelemetry(
        plan=made,
        t=list(range(made.from_ms, made.to_ms, made.step_ms)),
        artifacts=[
            _artifact(
                row,
                frames[keys[row.digest]],
                made,
                release_of.get(row.digest),
                everyone[row.digest],
                online[row.digest],
                predictions.get((row.profile, row.digest)),
            )
            for row in there[:ARTIFACTS_MAX]
        ],
        profiles=_profiles(running),
        releases=_releases(source, releases[: RELEASES_MAX + 1], now_ms),
        left_out=max(0, len(there) - ARTIFACTS_MAX),
    )


def _artifact(
    row: ArtifactRow,
    frame: Frame,
    made: Plan,
    release: int | None,
    devices: int,
    online: int,
    predicted: PredictedRow | None,
) -> ArtifactTelemetry:
    figures = told(frame, devices)
    p50_us = figures["p50_us"]
    ratio = predicted.latency_us / p50_us if predicted is not None and p50_us else None
    return ArtifactTelemetry(row, release, devices, online, figures, over_time(frame, made), predicted, ratio)


def _profiles(running: Sequence[ListedDevice]) -> list[ProfileDevices]:
    found: dict[str, list[ListedDevice]] = {}
    for device in running:
        found.setdefault(device.row.profile, []).append(device)
    return [
        ProfileDevices(
            profile,
            len(devices),
            sum(1 for device in devices if device.row.status == "online"),
            dict(Counter(device.row.running or "" for device in devices).most_common()),
        )
        for profile, devices in sorted(found.items())
    ]


def _releases(source: Source, releases: Sequence[ReleaseRow], now_ms: int) -> list[Released]:
    if not releases:
        return []
    first = max(now_ms - LOOK_BACK_MS, min(row.created_at for row in releases) - DAY_MS)
    digests = list(dict.fromkeys(digest for row in releases for digest in row.artifacts.values()))
    keys = [SeriesKey("artifact", digest) for digest in digests]
    hours = source.frames(keys, first // HOUR_MS * HOUR_MS, now_ms + 1, span="hour", histograms=_HISTOGRAMS)
    frames = {key.name: hours[key] for key in keys}
    found = []
    for number, row in enumerate(releases[:RELEASES_MAX]):
        older = releases[number + 1 :]
        found.append(
            Released(
                row,
                [
                    _released_on(
                        profile,
                        digest,
                        next((each.artifacts[profile] for each in older if profile in each.artifacts), None),
                        row.created_at,
                        frames,
                    )
                    for profile, digest in sorted(row.artifacts.items())
                ],
            )
        )
    return found


def _released_on(
    profile: str, digest: str, previous: str | None, created_at: int, frames: Mapping[str, Frame]
) -> ReleasedOn:
    """Rows of artifacts are kept apart, so whole hours tell the one from the other exactly."""
    mine = frames[digest]
    mine = mine.between(created_at // HOUR_MS * HOUR_MS, 2**62)
    if len(mine) == 0:
        return ReleasedOn(profile, digest, previous, None, None, None)
    first_at = int(mine.at.min())
    before = None
    if previous is not None and previous != digest:
        earlier = frames[previous].between(first_at - DAY_MS, first_at + HOUR_MS)
        before = whole(earlier) if len(earlier) else None
    after = whole(mine.between(first_at, first_at + DAY_MS))
    return ReleasedOn(profile, digest, previous, first_at, before, after)

"""Open problems of the fleet, like ones together: what is wrong, where, since when, with which model.

Devices of one profile and model with the same problem are one entry, whatever their number. The limits are
those of the rules that the server comes with; alerts that people set up are listed beside them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol
from urllib.parse import quote

from edgepress_devices.protocol import Sample
from edgepress_server.store.fleet_pages import ArtifactRow, DeviceRow
from edgepress_server.telemetry_query.movers import Figures
from edgepress_server.telemetry_query.words import figure_in_words, length, many

Severity = Literal["critical", "warning", "info"]
Kind = Literal[
    "offline",
    "silent",
    "throttled",
    "disk",
    "errors",
    "drift",
    "clock",
    "quarantine",
    "alert",
    "finding",
    "rollout",
]

AWAY_MS: Final = 5 * 60_000
DISK_LOW_BYTES: Final = 500e6
DISK_FULL_BYTES: Final = 100e6
ERRORS: Final = 0.01  # of the requests of ten minutes
ERRORS_MANY: Final = 0.10
DRIFT_PSI: Final = 0.25  # the convention for a significant shift
SHARE_CRITICAL: Final = 0.1  # of a profile's devices away
NAMES_SHOWN: Final = 20
LISTED: Final = 50
_RANK: Final[Mapping[str, int]] = {"critical": 0, "warning": 1, "info": 2}


@dataclass(frozen=True)
class Problem:
    kind: Kind
    severity: Severity
    count: int  # devices, or whatever it is about
    devices: list[str]  # the first NAMES_SHOWN
    profile: str | None
    model: str | None
    digest: str | None
    since: int | None  # of the first, Unix ms; None: not known
    sentence: str
    link: str | None  # of the page that shows it


@dataclass(frozen=True)
class Other:
    """A problem that somebody else found: an alert, a finding, a rollout that stands still."""

    kind: Kind
    severity: Severity
    count: int
    devices: Sequence[str]
    profile: str | None
    model: str | None
    digest: str | None
    since: int
    sentence: str
    link: str


@dataclass(frozen=True)
class Scene:
    """All that problems are read from, as of ``now_ms``."""

    now_ms: int
    devices: Sequence[DeviceRow]
    artifacts: Mapping[str, ArtifactRow]
    latest: Mapping[str, Sample]
    heard_at: Mapping[str, int]  # device -> when its newest sample came, Unix ms
    figures: Mapping[str, Figures]  # of the last ten minutes
    quarantined: Mapping[str, tuple[int, int, str]]  # device -> how many, first at, a reason
    clocks: Mapping[str, tuple[int, int]]  # device -> offset in ms, since
    others: Sequence[Other] = ()


@dataclass(frozen=True)
class Problems:
    total: int
    list: list[Problem]
    of_device: dict[str, int]  # 1 warning, 2 critical, of those that have any


@dataclass
class _Case:
    """Devices with the same problem."""

    severity: Severity = "warning"
    names: list[str] = field(default_factory=list)
    since: int | None = None
    worst: tuple[float, str] | None = None  # how bad, in words


class Note(Protocol):
    def __call__(
        self,
        kind: Kind,
        device: DeviceRow,
        since: int | None,
        severity: Severity = "warning",
        worst: tuple[float, str] | None = None,
    ) -> None: ...


def problems(scene: Scene) -> Problems:
    """Severest first, then those of most devices."""
    cases: dict[tuple[Kind, str, str | None, str | None], _Case] = {}
    of_device: dict[str, int] = {}

    def note(
        kind: Kind,
        device: DeviceRow,
        since: int | None,
        severity: Severity = "warning",
        worst: tuple[float, str] | None = None,
    ) -> None:
        artifact = scene.artifacts.get(device.running or "")
        model = artifact.model if artifact is not None else None
        digest = device.running if kind in ("errors", "drift") else None
        case = cases.setdefault((kind, device.profile, model, digest), _Case())
        case.names.append(device.name)
        if since is not None:
            case.since = since if case.since is None else min(case.since, since)
        if severity == "critical":
            case.severity = "critical"
        if worst is not None and (case.worst is None or worst[0] > case.worst[0]):
            case.worst = worst
        of_device[device.name] = max(of_device.get(device.name, 0), 2 if severity == "critical" else 1)

    enrolled: dict[str, int] = {}
    for device in scene.devices:
        if device.status in ("online", "offline"):
            enrolled[device.profile] = enrolled.get(device.profile, 0) + 1
            _look(scene, device, note)
    found = [
        _problem(kind, profile, model, digest, case, enrolled[profile], scene.now_ms)
        for (kind, profile, model, digest), case in cases.items()
    ]
    found += [
        Problem(**{**vars(other), "devices": list(other.devices[:NAMES_SHOWN])}) for other in scene.others
    ]
    for other in scene.others:
        for name in other.devices:
            of_device[name] = max(of_device.get(name, 0), 2 if other.severity == "critical" else 1)
    found.sort(key=lambda one: (_RANK[one.severity], -one.count, one.since or 0, one.kind))
    return Problems(len(found), found[:LISTED], of_device)


def _look(scene: Scene, device: DeviceRow, note: Note) -> None:
    now = scene.now_ms
    if (spoilt := scene.quarantined.get(device.name)) is not None:
        n, first, reason = spoilt
        note("quarantine", device, first, worst=(n, f"{many(n, 'batch')} refused: {reason}"))
    if (wrong := scene.clocks.get(device.name)) is not None:
        note("clock", device, wrong[1], worst=(abs(wrong[0]), f"by {length(abs(wrong[0]))}"))
    if device.status == "offline":
        seen_at = device.seen_at if device.seen_at is not None else device.created_at
        if now - seen_at > AWAY_MS:
            note("offline", device, seen_at, worst=(now - seen_at, length(now - seen_at)))
        return
    sample, heard_at = scene.latest.get(device.name), scene.heard_at.get(device.name)
    if sample is None or heard_at is None or now - heard_at > AWAY_MS:
        note("silent", device, heard_at)
        return
    if sample.throttled:
        note("throttled", device, None)
    if sample.disk_free_bytes is not None and sample.disk_free_bytes < DISK_LOW_BYTES:
        full = sample.disk_free_bytes < DISK_FULL_BYTES
        left = f"{figure_in_words('_bytes', sample.disk_free_bytes)} left"
        note("disk", device, None, "critical" if full else "warning", (-sample.disk_free_bytes, left))
    figures = scene.figures.get(device.name, {})
    ratio = figures.get("error_ratio", 0.0)
    if ratio >= ERRORS:
        words = f"{figure_in_words('_ratio', ratio)} of the requests of ten minutes"
        note("errors", device, None, "critical" if ratio >= ERRORS_MANY else "warning", (ratio, words))
    drift = max(figures.get("input_psi", 0.0), figures.get("output_psi", 0.0))
    if drift >= DRIFT_PSI:
        note("drift", device, None, worst=(drift, f"PSI {drift:.2f}"))


def _problem(
    kind: Kind,
    profile: str,
    model: str | None,
    digest: str | None,
    case: _Case,
    enrolled: int,
    now_ms: int,
) -> Problem:
    n = len(case.names)
    severity = case.severity
    if kind == "offline" and n >= 2 and n / enrolled >= SHARE_CRITICAL:
        severity = "critical"
    who = case.names[0] if n == 1 else f"{n} devices of {profile}"
    are = "is" if n == 1 else "are"
    have = "has" if n == 1 else "have"
    worst = case.worst[1] if case.worst is not None else ""
    at_worst = worst if n == 1 else f"the worst {worst}"
    told = {
        "offline": f"{who} {are} offline, {'for' if n == 1 else 'the first for'} {worst}",
        "silent": f"{who} {are} online and {have} sent no telemetry"
        + (f" for {length(now_ms - case.since)}" if case.since is not None else ""),
        "throttled": f"{who} {are} throttled",
        "disk": f"{who} {have} little disk left: {at_worst}",
        "errors": f"Requests fail on {who}: {at_worst}",
        "drift": f"Inputs or answers of {who} drift from the baseline: {at_worst}",
        "clock": f"The clock of {who} is wrong, {at_worst}; times are corrected",
        "quarantine": f"Telemetry of {who} cannot be used: {at_worst}",
    }[kind]
    running = f" ({model})" if model is not None and kind not in ("quarantine", "clock") else ""
    return Problem(
        kind=kind,
        severity=severity,
        count=n,
        devices=case.names[:NAMES_SHOWN],
        profile=profile,
        model=model,
        digest=digest,
        since=case.since,
        sentence=f"{told}{running}.",
        link=f"/devices/{quote(case.names[0])}" if n == 1 else _list_link(kind, profile),
    )


def _list_link(kind: Kind, profile: str) -> str:
    query = f'profile = "{profile}"'
    if kind == "offline":
        query += " and status = offline"
    return f"/devices?where={quote(query)}"

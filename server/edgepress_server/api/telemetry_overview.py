"""The fleet on one page, in one answer."""

from __future__ import annotations

import threading
import time
from typing import Annotated, Final, Literal

import msgspec
from flask import Response, current_app, request
from pydantic import Field

from edgepress_server.api.answers import Answer, Asked, section
from edgepress_server.api.auth import needs
from edgepress_server.api.telemetry_desk import desk
from edgepress_server.telemetry_query.figures import title
from edgepress_server.telemetry_query.heat import HEAT, heat, heat_named
from edgepress_server.telemetry_query.movers import Mover
from edgepress_server.telemetry_query.overview import Overview
from edgepress_server.telemetry_query.problems import Kind, Severity

api = section("overview", "The fleet on one page.")


class OverviewQuery(Asked):
    heat: Annotated[str, Field(max_length=40)] = Field(
        "latency_p95_us", description=f"What colours the heat map: {', '.join(one.name for one in HEAT)}"
    )


class DeviceCounts(Answer):
    total: int = Field(description="Without revoked ones")
    online: int
    offline: int
    registered: int
    revoked: int


class AgentAnswer(Answer):
    version: str = Field(description='"others": all further ones')
    devices: int
    online: int


class RunningArtifact(Answer):
    digest: str
    model: str | None = Field(description="null: an artifact this server does not know")
    recipe: str | None
    release: int | None = Field(description="Counter of the newest release that names it")
    devices: int = Field(description="That say they run it")
    online: int
    p95_us: float | None
    error_ratio: float | None
    inferences_per_s: float | None = Field(description="All devices together")


class RolloutUnderWay(Answer):
    id: str
    model: str
    release: int
    state: str
    since: int
    devices: int
    committed: int
    failed: int


class FleetFigures(Answer):
    """Of all devices together; null: nothing was measured."""

    p50_us: float | None
    p95_us: float | None
    p99_us: float | None
    error_ratio: float | None = Field(description="Failed by all requests, 0 to 1")
    rss_bytes: float | None = Field(description="Of an agent, mean")
    mem_ratio: float | None = Field(description="Used by all memory, 0 to 1")
    cpu_percent: float | None
    temp_c: float | None
    throttled: float | None = Field(description="Share of samples in which a device was throttled, 0 to 1")
    energy_mj: float | None = Field(description="Of an inference, mean")
    inferences_per_s: float | None = Field(description="All devices together")
    errors_per_s: float | None
    power_mw: float | None = Field(description="Sum over the devices that tell now")
    power_devices: int | None = Field(description="How many tell")
    power_estimated: int | None = Field(description="How many of those estimate")


class SparklinesAnswer(Answer):
    t: list[int]
    step_ms: int
    series: dict[str, list[float | None]] = Field(description="By figure; power_mw is the mean of a device")


class HeatGroupAnswer(Answer):
    profile: str
    names: list[str]
    status: str = Field(description="A letter a device: o online, f offline, r registered")
    values: list[float | None] = Field(description="Of its newest sample; null: offline, or not measured")
    problem: str = Field(description="A digit a device: 0 none, 1 warning, 2 critical")


class HeatAnswer(Answer):
    metric: str
    title: str
    unit: str
    low: float | None = Field(description="5th and 95th percentile of the values: ends of the colour scale")
    high: float | None
    groups: list[HeatGroupAnswer]
    left_out: int


class MoverAnswer(Answer):
    kind: Literal["device", "group"]
    device: str | None
    profile: str
    digest: str | None
    model: str | None
    metric: str = Field(description="p95_us, rss_bytes, power_mw, temp_c or error_ratio")
    title: str
    unit: str
    now: float = Field(description="Of the last ten whole minutes")
    usual: float = Field(description="Of the 24 whole hours that ended an hour ago or more")
    factor: float
    devices: int
    since: int | None = Field(description="null: for more than six hours")
    sentence: str


class MoversAnswer(Answer):
    at: int
    seen: int = Field(description="Devices looked at: a large fleet is looked at in slices")
    of: int
    list: list[MoverAnswer]


class ProblemAnswer(Answer):
    kind: Kind
    severity: Severity
    count: int = Field(description="Devices that have it")
    devices: list[str] = Field(description="The first 20")
    profile: str | None
    model: str | None
    digest: str | None
    since: int | None
    sentence: str
    link: str | None


class ProblemsAnswer(Answer):
    total: int
    list: list[ProblemAnswer]


class OverviewAnswer(Answer):
    age_ms: int = Field(description="Worked out every five seconds while somebody looks")
    at: int
    devices: DeviceCounts
    agents: list[AgentAnswer]
    running: list[RunningArtifact] = Field(description="Most devices first")
    running_left_out: int
    rollouts: list[RolloutUnderWay]
    now: FleetFigures = Field(description="Of the last two whole minutes")
    usual: FleetFigures = Field(description="Of the 24 hours before this one")
    sparklines: SparklinesAnswer = Field(description="The last 60 whole minutes")
    movers: MoversAnswer
    problems: ProblemsAnswer
    heat: HeatAnswer


_UNITS: Final = {"p95_us": "us", "rss_bytes": "B", "power_mw": "mW", "temp_c": "°C", "error_ratio": ""}


ASKED_S: Final = 60.0  # heat maps that were looked at since then are drawn before they are asked for
_asked: dict[str, float] = {}  # figure -> when it was asked for last
_asking = threading.Lock()


@api.get("/telemetry/overview", responses={200: OverviewAnswer, 304: None})
@needs("viewer")
def get_overview(query: OverviewQuery) -> Response:
    """The fleet on one page: counts, figures, heat map, what moved and what is wrong"""
    measure = heat_named(query.heat)
    refresh = desk().overview
    with _asking:
        _asked[measure.name] = time.monotonic()
        refresh.prepare = _prepare
    found, age_s = refresh.newest()
    tag = f"{found.at}-{measure.name}"
    if request.if_none_match.contains(tag):
        response = current_app.response_class(status=304)
    else:
        body = f'{{"age_ms":{round(age_s * 1000)},{overview_json(found, measure.name)[1:]}'
        response = current_app.response_class(body, mimetype="application/json")
    response.set_etag(tag)
    response.headers["Cache-Control"] = "no-cache, private"
    return response


def _prepare(found: Overview) -> None:
    with _asking:
        since = time.monotonic() - ASKED_S
        names = [name for name, at in _asked.items() if at >= since]
    for name in names:
        overview_json(found, name)


def overview_json(found: Overview, heat_metric: str) -> str:
    """The answer (an OverviewAnswer) without its age, made once for each overview and figure."""
    text = found.texts.get(heat_metric)
    if text is None:
        text = found.texts[heat_metric] = msgspec.json.encode(_plain(found, heat_metric)).decode()
    return text


def _plain(found: Overview, heat_metric: str) -> dict[str, object]:
    return {
        "at": found.at,
        "devices": found.devices,
        "agents": found.agents,
        "running": found.running,
        "running_left_out": found.running_left_out,
        "rollouts": found.rollouts,
        "now": found.now,
        "usual": found.usual,
        "sparklines": found.sparklines,
        "movers": {
            "at": found.movers.at,
            "seen": found.movers.seen,
            "of": found.movers.of,
            "list": [_mover(found, one).model_dump() for one in found.movers.movers],
        },
        "problems": {"total": found.problems.total, "list": found.problems.list},
        "heat": heat(heat_named(heat_metric), found.rows, found.latest, found.problems.of_device),
    }


def _mover(found: Overview, mover: Mover) -> MoverAnswer:
    return MoverAnswer(
        kind="group" if mover.device is None else "device",
        device=mover.device,
        profile=mover.profile,
        digest=mover.digest,
        model=found.models.get(mover.digest or ""),
        metric=mover.metric,
        title=title(mover.metric),
        unit=_UNITS[mover.metric],
        now=mover.now,
        usual=mover.usual,
        factor=mover.factor,
        devices=mover.devices,
        since=mover.since,
        sentence=mover.sentence,
    )

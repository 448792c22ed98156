"""Telemetry: newest figures, series for charts, the fleet, export."""

from __future__ import annotations

from typing import Annotated

from flask import Response, current_app
from pydantic import BeforeValidator, Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.api.export_formats import MIMETYPES, ExportFormat, written
from edgepress_server.api.sample_rows import SAMPLE_COLUMNS, sample_rows
from edgepress_server.api.samples import SampleAnswer
from edgepress_server.api.telemetry_desk import desk
from edgepress_server.api.telemetry_times import Time, read_range
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.series.keys import SeriesKey
from edgepress_server.store.telemetry_read import Rates
from edgepress_server.telemetry_query.device_series import NAMES_MAX, device_series, series_key
from edgepress_server.telemetry_query.plan import RANGE_MAX_MS, Tier

api = section("telemetry", "What the devices report.")

_HOUR_MS = 3600 * 1000
_DAY_MS = 24 * _HOUR_MS

Metrics = Annotated[
    list[Annotated[str, Field(max_length=80)]],
    BeforeValidator(lambda value: [part for text in value for part in str(text).split(",") if part]),
    Field(min_length=1, max_length=2 * NAMES_MAX),
]


class SeriesQuery(Asked):
    device: Annotated[str, Field(max_length=80)] | None = Field(None, description="Or `group`")
    group: Annotated[str, Field(max_length=120)] | None = Field(
        None, description="fleet, profile:ID or artifact:DIGEST: all its devices, merged"
    )
    metric: Metrics = Field(
        description="One or several, with commas: names of /telemetry/metrics; of counts also NAME_per_s; "
        "latency, queue, pre, post with _p50_us, _p90_us, _p95_us, _p99_us; error_ratio, mem_ratio, agreement"
    )
    from_: Time | None = Field(None, alias="from", description="Unix ms; default: an hour before `to`")
    to: Time | None = Field(None, description="Unix ms; default: now")
    step_ms: Annotated[int, Field(ge=1, le=RANGE_MAX_MS)] | None = Field(
        None, description="default: about 600 points"
    )


class ExportQuery(Asked):
    device: Annotated[str, Field(max_length=80)] | None = Field(None, description="default: all")
    from_: Time | None = Field(None, alias="from", description="Unix ms; default: a day before `to`")
    to: Time | None = Field(None, description="Unix ms; default: now")
    format: ExportFormat = "csv"


class Latest(RootModel[dict[str, SampleAnswer]]):
    pass


class SeriesAnswer(Answer):
    t: list[int] = Field(description="Unix ms: where each step begins")
    step_ms: int = Field(description="As used; may be larger than asked for")
    series: dict[str, list[float | None]] = Field(description="null: nothing was measured in that step")
    methods: dict[str, str] = Field(description="power_mw, energy_mj: where the newest figure came from")
    tier: Tier = Field(description="Which rows were read: single samples, minutes or hours")


class FleetDevices(Answer):
    total: int = Field(description="Without revoked ones")
    online: int
    offline: int
    registered: int
    revoked: int


class Latency(Answer):
    p50_us: float | None
    p95_us: float | None
    p99_us: float | None


class Group(Answer):
    devices: int
    online: int
    latency: Latency
    inferences_per_s: float | None
    power_mw: float | None = Field(description="Sum over the devices that tell")
    power_devices: int = Field(description="How many tell")
    power_estimated: int = Field(description="How many of those estimate")


class FleetAnswer(Answer):
    devices: FleetDevices
    latency: Latency = Field(description="Of all inferences of this minute and the one before, merged")
    inferences_per_s: float | None
    power_mw: float | None
    power_devices: int
    power_estimated: int
    by_profile: dict[str, Group]


@api.get("/telemetry/latest", responses={200: Latest})
@needs("viewer")
def get_latest() -> Response:
    """The newest sample of every device"""
    found = context().store.series_read.latest()
    return answer(Latest({name: SampleAnswer.of(sample) for name, sample in sorted(found.items())}))


@api.get("/telemetry/series", responses={200: SeriesAnswer})
@needs("viewer")
def get_series(query: SeriesQuery) -> Response:
    """Figures of one device, or of a group, over time

    Up to an hour of the last day in steps of at least a second, up to two days in minutes, anything else in
    hours; in minutes too where the step asks for it. Memory and temperature are the most of each step.
    """
    store = context().store
    if (query.device is None) == (query.group is None):
        raise InvalidInputError("series_of", "Name a `device` or a `group`, and not both.")
    now_ms = store.now_ms()
    from_ms, to_ms = read_range(query.from_, query.to, None, _HOUR_MS, now_ms)
    methods: dict[str, str] = {}
    if query.device is not None:
        store.devices.get(query.device)
        key = SeriesKey("device", query.device)
        methods = store.series_read.methods(query.device)
    else:
        key = series_key(query.group or "")
    found = device_series(desk().source, key, query.metric, from_ms, to_ms, query.step_ms, now_ms)
    return answer(
        SeriesAnswer.model_construct(
            t=found.t,
            step_ms=found.step_ms,
            series=found.series,
            methods={name: how for name, how in methods.items() if name in found.series},
            tier=found.tier,
        )
    )


@api.get("/telemetry/fleet", responses={200: FleetAnswer})
@needs("viewer")
def get_fleet() -> Response:
    """All devices together, and by profile"""
    fleet = context().store.telemetry_read.fleet()
    every = _group(fleet.all)
    body = FleetAnswer(
        devices=FleetDevices(
            total=fleet.all.total,
            online=fleet.all.online,
            offline=fleet.offline,
            registered=fleet.registered,
            revoked=fleet.revoked,
        ),
        latency=every.latency,
        inferences_per_s=every.inferences_per_s,
        power_mw=every.power_mw,
        power_devices=every.power_devices,
        power_estimated=every.power_estimated,
        by_profile={profile: _group(rates) for profile, rates in fleet.by_profile.items()},
    )
    return answer(body)


@api.get(
    "/telemetry/export",
    responses={
        200: {"content": {mimetype: {"schema": {"type": "string"}} for mimetype in MIMETYPES.values()}}
    },
)
@needs("viewer")
def export_telemetry(query: ExportQuery) -> Response:
    """Samples as CSV, JSON or Parquet, streamed; single samples are kept for 24 hours"""
    store = context().store
    if query.device is not None:
        store.devices.get(query.device)
    from_ms, to_ms = read_range(query.from_, query.to, None, _DAY_MS, store.now_ms())
    rows = sample_rows(store.series_read.export(query.device, from_ms, to_ms))
    response = current_app.response_class(
        written(query.format, SAMPLE_COLUMNS, rows), mimetype=MIMETYPES[query.format]
    )
    response.headers["Content-Disposition"] = f"attachment; filename=telemetry.{query.format}"
    return response


def _group(rates: Rates) -> Group:
    return Group(
        devices=rates.total,
        online=rates.online,
        latency=Latency(p50_us=rates.p50_us, p95_us=rates.p95_us, p99_us=rates.p99_us),
        inferences_per_s=rates.inferences_per_s,
        power_mw=rates.power_mw,
        power_devices=rates.power_devices,
        power_estimated=rates.power_estimated,
    )

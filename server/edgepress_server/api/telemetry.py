"""Telemetry: newest figures, series for charts, the fleet, export."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from flask import Response, current_app
from pydantic import BeforeValidator, Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.api.samples import SampleAnswer
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.telemetry_read import METRICS, Metric, Rates

api = section("telemetry", "What the devices report.")

TIME_MAX_MS = 2**43  # the year 2248
_HOUR_MS = 3600 * 1000
_DAY_MS = 24 * _HOUR_MS

Time = Annotated[int, Field(ge=0, le=TIME_MAX_MS, description="Unix ms")]
Metrics = Annotated[
    list[Metric],
    BeforeValidator(lambda value: [part for text in value for part in str(text).split(",") if part]),
    Field(min_length=1, max_length=2 * len(METRICS)),
]


class SeriesQuery(Asked):
    device: Annotated[str, Field(max_length=80)]
    metric: Metrics = Field(description=f"One or several, with commas: {', '.join(METRICS)}")
    from_: Time | None = Field(None, alias="from", description="Unix ms; default: an hour before `to`")
    to: Time | None = Field(None, description="Unix ms; default: now")
    step_ms: Annotated[int, Field(ge=1, le=_DAY_MS)] | None = Field(
        None, description="default: about 600 points"
    )


class ExportQuery(Asked):
    device: Annotated[str, Field(max_length=80)] | None = Field(None, description="default: all")
    from_: Time | None = Field(None, alias="from", description="Unix ms; default: a day before `to`")
    to: Time | None = Field(None, description="Unix ms; default: now")
    format: Literal["csv", "json"] = "csv"


class Latest(RootModel[dict[str, SampleAnswer]]):
    pass


class SeriesAnswer(Answer):
    t: list[int] = Field(description="Unix ms: where each step begins")
    step_ms: int = Field(description="As used; may be larger than asked for")
    series: dict[Metric, list[float | None]] = Field(description="null: nothing was measured in that step")
    methods: dict[Metric, str] = Field(description="power_mw, energy_mj: where the newest figure came from")


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
    found = context().store.telemetry_read.latest()
    return answer(Latest({name: SampleAnswer.of(sample) for name, sample in sorted(found.items())}))


@api.get("/telemetry/series", responses={200: SeriesAnswer})
@needs("viewer")
def get_series(query: SeriesQuery) -> Response:
    """Metrics of one device over time

    Up to an hour of the last day in steps of at least a second, anything else in steps of whole minutes.
    """
    store = context().store
    store.devices.get(query.device)
    from_ms, to_ms = _range(query.from_, query.to, _HOUR_MS)
    metrics = list(dict.fromkeys(query.metric))
    found = store.telemetry_read.series(query.device, metrics, from_ms, to_ms, query.step_ms)
    return answer(SeriesAnswer.model_validate(found))


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
        200: {
            "content": {
                "text/csv": {"schema": {"type": "string"}},
                "application/json": {"schema": {"type": "array", "items": {"type": "object"}}},
            }
        }
    },
)
@needs("viewer")
def export_telemetry(query: ExportQuery) -> Response:
    """Samples as CSV or JSON, streamed; single samples are kept for 24 hours"""
    store = context().store
    if query.device is not None:
        store.devices.get(query.device)
    from_ms, to_ms = _range(query.from_, query.to, _DAY_MS)
    rows = (
        {"device": name, **_flat(SampleAnswer.of(sample))}
        for name, sample in store.telemetry_read.export(query.device, from_ms, to_ms)
    )
    text, mimetype = (_csv(rows), "text/csv") if query.format == "csv" else (_json(rows), "application/json")
    response = current_app.response_class(text, mimetype=mimetype)
    response.headers["Content-Disposition"] = f"attachment; filename=telemetry.{query.format}"
    return response


def _range(from_ms: int | None, to_ms: int | None, default_ms: int) -> tuple[int, int]:
    to_ms = context().store.now_ms() + 1 if to_ms is None else to_ms
    from_ms = max(0, to_ms - default_ms) if from_ms is None else from_ms
    if from_ms >= to_ms:
        raise InvalidInputError("time_range", "`from` must lie before `to`; both are Unix milliseconds.")
    return from_ms, to_ms


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


def _flat(sample: SampleAnswer) -> dict[str, Any]:
    """One row: readings become three columns."""
    row: dict[str, Any] = {}
    for name, value in sample.model_dump(exclude={"power_mw", "energy_mj"}).items():
        row[name] = value
    for name, reading in (("power_mw", sample.power_mw), ("energy_mj", sample.energy_mj)):
        row[name] = reading.value if reading is not None else None
        row[f"{name}_method"] = reading.method if reading is not None else None
        row[f"{name}_scope"] = reading.scope if reading is not None else None
    return row


_COLUMNS = (
    "device",
    *(name for name in SampleAnswer.model_fields if name not in ("power_mw", "energy_mj")),
    *(f"{name}{suffix}" for name in ("power_mw", "energy_mj") for suffix in ("", "_method", "_scope")),
)


def _csv(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    line = io.StringIO()
    writer = csv.DictWriter(line, _COLUMNS)
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(value) for name, value in row.items()})
        if line.tell() > 16_384:
            yield line.getvalue()
            line.seek(0)
            line.truncate()
    yield line.getvalue()


def _cell(value: Any) -> Any:
    """A device chose the text of a method: a spreadsheet must not take it for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def _json(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    separator = "[\n"
    for row in rows:
        yield separator + json.dumps(row)
        separator = ",\n"
    yield "[]\n" if separator == "[\n" else "\n]\n"

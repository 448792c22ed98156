"""Free questions about telemetry: metric, group, range; and their answers as files."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Response, current_app
from pydantic import ConfigDict, Field

from edgepress_devices.metrics import HISTOGRAMS, METRICS
from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.api.export_formats import MIMETYPES, ExportFormat, written
from edgepress_server.api.parquet import Column
from edgepress_server.api.telemetry_desk import desk
from edgepress_server.api.telemetry_times import Time, read_range
from edgepress_server.telemetry_query import measures
from edgepress_server.telemetry_query.heat import HEAT
from edgepress_server.telemetry_query.measures import Aggregate
from edgepress_server.telemetry_query.plan import POINTS_MAX, RANGE_MAX_MS, Tier
from edgepress_server.telemetry_query.query import GROUPS, SERIES_MAX, Query, Result, question

api = section("telemetry queries", "Questions about what devices report: by metric, group and range.")

_HOUR_MS = 3_600_000
LABELS_MAX = 100


class TelemetryQuery(Asked):
    metric: Annotated[str, Field(max_length=80)] = Field(
        description="Of /telemetry/metrics; `latency`, `queue`, `pre`, `post` stand for the histograms"
    )
    aggregate: Annotated[str, Field(max_length=20)] | None = Field(
        None, description="mean, min, max, sum, rate, throughput, p50, p90, p95, p99, count or ratio"
    )
    group_by: Annotated[str, Field(max_length=80)] = Field(
        "none", description="none, device, profile, artifact, model or label:KEY"
    )
    where: Annotated[str, Field(max_length=2000)] = Field(
        "", description="Which devices, as they are now: the language of rollouts' targets"
    )
    artifact: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="Only what was measured while this ran: a digest, or 8 or more of its characters"
    )
    model: Annotated[str, Field(max_length=80)] | None = Field(
        None, description="Only what was measured while any artifact of this model ran"
    )
    from_: Time | None = Field(None, alias="from", description="Unix ms; default: `last_ms` before `to`")
    to: Time | None = Field(None, description="Unix ms; default: now")
    last_ms: Annotated[int, Field(ge=1000, le=RANGE_MAX_MS)] | None = Field(
        None, description="Length of the range; default: an hour. Not together with `from`"
    )
    step_ms: Annotated[int, Field(ge=1, le=RANGE_MAX_MS)] | None = Field(
        None, description="Default: about 300 points. The answer says which was used"
    )
    limit: Annotated[int, Field(ge=1, le=SERIES_MAX)] = SERIES_MAX


class TelemetryExportQuery(TelemetryQuery):
    format: ExportFormat = "csv"


class SeriesOfGroup(Answer):
    name: str = Field(description='Device, profile, digest, model or value of the label; "" for all, or none')
    title: str
    values: list[float | None] = Field(description="One a step; null: nothing was measured")
    total: float | None = Field(description="The same figure over the whole range, from sums and histograms")
    samples: int = Field(description="That the total rests on; of a histogram: what was timed")
    devices: int | None = Field(description="That measured it; null: merged as it came, which does not tell")


class QueryAnswer(Answer):
    model_config = ConfigDict(serialize_by_alias=True)

    metric: str
    aggregate: Aggregate
    group_by: str
    where: str
    artifact: str | None
    model: str | None
    title: str
    unit: str
    from_: int = Field(alias="from", description="As answered: the range covers whole steps")
    to: int
    step_ms: int
    tier: Tier = Field(description="Which rows were read: single samples, minutes or hours")
    t: list[int] = Field(description="Unix ms: where each step begins")
    series: list[SeriesOfGroup]
    left_out: int = Field(description="Groups beyond the limit; the largest are answered")
    left_out_devices: int
    devices: int = Field(description="That the question was about")
    notes: list[str] = Field(description="Sentences about the answer, such as why the step is another one")
    age_ms: int = Field(description="How old it is: slow answers are kept for 10 seconds")


class MetricAnswer(Answer):
    name: str
    unit: str
    kind: Literal["count", "gauge", "flag"]
    resolution: float
    low: float = Field(description="What is below is no measurement")
    high: float
    title: str
    aggregates: list[Aggregate]
    aggregate: Aggregate = Field(description="Meant where none is named")


class HistogramAnswer(Answer):
    name: str
    unit: str
    title: str
    aggregates: list[Aggregate]
    aggregate: Aggregate


class HeatMetric(Answer):
    name: str
    title: str
    unit: str


class MetricsAnswer(Answer):
    metrics: list[MetricAnswer]
    histograms: list[HistogramAnswer]
    group_by: list[str]
    labels: list[str] = Field(description="Keys that devices have, the commonest first, at most 100")
    heat: list[HeatMetric] = Field(description="What the heat map of the overview can show")
    series_max: int
    points_max: int


@api.get("/telemetry/metrics", responses={200: MetricsAnswer})
@needs("viewer")
def list_metrics() -> Response:
    """The catalogue: what devices can report, in which units, and what can be asked of it"""
    return answer(
        MetricsAnswer(
            metrics=[
                MetricAnswer(
                    name=metric.name,
                    unit=metric.unit,
                    kind=metric.kind,
                    resolution=metric.resolution,
                    low=metric.low,
                    high=metric.high,
                    title=metric.title,
                    aggregates=list(measures.aggregates(metric.name)),
                    aggregate=measures.aggregates(metric.name)[0],
                )
                for metric in METRICS
            ],
            histograms=[
                HistogramAnswer(
                    name=name,
                    unit="us",
                    title=title,
                    aggregates=list(measures.aggregates(name)),
                    aggregate=measures.aggregates(name)[0],
                )
                for name, title in HISTOGRAMS.items()
            ],
            group_by=[*GROUPS, "label:KEY"],
            labels=[key for key, _ in desk().directory.fleet().labels[:LABELS_MAX]],
            heat=[HeatMetric(name=one.name, title=one.title, unit=one.unit) for one in HEAT],
            series_max=SERIES_MAX,
            points_max=POINTS_MAX,
        )
    )


@api.get("/telemetry/query", responses={200: QueryAnswer})
@needs("viewer")
def query_telemetry(query: TelemetryQuery) -> Response:
    """One metric over time, of all devices or some, together or by group

    All parameters are in the address: whoever has it sees the same. The answer covers whole steps and equals
    what the single samples of its range add up to; quantiles come from merged histograms, within 1.09 %.
    """
    answered = desk().answers.ask(_question(query))
    result = answered.result
    asked = result.query
    return answer(
        QueryAnswer.model_construct(  # made here, of whole types: checking 100,000 numbers again takes time
            metric=asked.metric,
            aggregate=asked.aggregate,
            group_by=asked.group_by,
            where=asked.where,
            artifact=asked.artifact,
            model=asked.model,
            title=result.title,
            unit=result.unit,
            from_=result.from_ms,
            to=result.to_ms,
            step_ms=result.step_ms,
            tier=result.tier,
            t=result.t,
            series=[SeriesOfGroup.model_construct(**vars(one)) for one in result.series],
            left_out=result.left_out,
            left_out_devices=result.left_out_devices,
            devices=result.devices,
            notes=result.notes,
            age_ms=round(answered.age_s * 1000),
        )
    )


@api.get(
    "/telemetry/query/export",
    responses={
        200: {"content": {mimetype: {"schema": {"type": "string"}} for mimetype in MIMETYPES.values()}}
    },
)
@needs("viewer")
def export_query(query: TelemetryExportQuery) -> Response:
    """The answer to a question as CSV, JSON or Parquet: a row for each series and step that was measured"""
    result = desk().answers.ask(_question(query)).result
    blocks = written(query.format, _COLUMNS, _rows(result))
    response = current_app.response_class(blocks, mimetype=MIMETYPES[query.format])
    name = f"{result.query.metric}_{result.query.aggregate}.{query.format}"
    response.headers["Content-Disposition"] = f"attachment; filename={name}"
    return response


_COLUMNS = (
    Column("time_ms", "integer"),
    Column("series", "text"),
    Column("title", "text"),
    Column("metric", "text"),
    Column("aggregate", "text"),
    Column("unit", "text"),
    Column("value", "number"),
)


def _rows(result: Result) -> list[tuple[object, ...]]:
    return [
        (t, one.name, one.title, result.query.metric, result.query.aggregate, result.unit, value)
        for one in result.series
        for t, value in zip(result.t, one.values, strict=True)
        if value is not None
    ]


def _question(query: TelemetryQuery) -> Query:
    from_ms, to_ms = read_range(query.from_, query.to, query.last_ms, _HOUR_MS, context().store.now_ms())
    return question(
        metric=query.metric,
        aggregate=query.aggregate,
        group_by=query.group_by,
        from_ms=from_ms,
        to_ms=to_ms,
        step_ms=query.step_ms,
        where=query.where,
        artifact=query.artifact,
        model=query.model,
        limit=query.limit,
    )

"""What a model's artifacts do in the fleet."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import ConfigDict, Field

from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.artifacts import ArtifactPath
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.api.models import ModelPath
from edgepress_server.api.telemetry_desk import desk
from edgepress_server.api.telemetry_times import Time, read_range
from edgepress_server.store.fleet_pages import ArtifactRow
from edgepress_server.telemetry_query.figures import OF_A_SERIES, OVER_TIME
from edgepress_server.telemetry_query.models import (
    RELEASES_MAX,
    ArtifactTelemetry,
    ModelTelemetry,
    Released,
    model_telemetry,
)
from edgepress_server.telemetry_query.plan import MINUTE_MS, RANGE_MAX_MS, Tier, plan

api = section("model telemetry", "What a model's artifacts do in the fleet.")

_DAY_MS = 24 * 3_600_000

Figures = dict[str, float | None]
Curves = dict[str, list[float | None]]


class FieldQuery(Asked):
    from_: Time | None = Field(None, alias="from", description="Unix ms; default: a day before `to`")
    to: Time | None = Field(None, description="Unix ms; default: now")
    step_ms: Annotated[int, Field(ge=1, le=RANGE_MAX_MS)] | None = Field(
        None, description="Default: about 300 points"
    )


class ModelFieldQuery(FieldQuery):
    profile: Annotated[str, Field(max_length=80)] | None = Field(
        None, description="Only artifacts made for this profile"
    )


class PredictedAnswer(Answer):
    latency_us: float
    basis: str = Field(description="datasheet or calibration")
    error: float | None = Field(description="Relative, that the prediction itself claims")


class FieldMeasured(Answer):
    """What predictions are held against, of the range that was asked for."""

    p50_us: float
    p95_us: float
    devices: int = Field(description="That run it now")
    inferences: int
    rss_bytes: float | None
    energy_mj: float | None
    since_at: int
    until_at: int


class FieldArtifact(Answer):
    digest: str
    profile: str
    recipe: str
    bytes: int
    created_at: int
    release: int | None = Field(description="Counter of the newest that names it")
    devices: int = Field(description="That say they run it now")
    online: int
    figures: Figures = Field(description=f"devices, {', '.join(OF_A_SERIES)}")
    series: Curves = Field(description=f"{', '.join(OVER_TIME)}: a value a step")
    predicted: PredictedAnswer | None
    measured: FieldMeasured | None
    ratio: float | None = Field(description="Predicted by measured p50")


class FieldProfile(Answer):
    profile: str
    devices: int
    online: int
    running: dict[str, int] = Field(description="Digest -> devices, most first")


class ReleasedOnAnswer(Answer):
    profile: str
    digest: str
    previous: str | None = Field(description="Digest of the artifact that the release before had here")
    first_at: int | None = Field(description="Hour in which it first answered; null: it has not yet")
    before: Figures | None = Field(description="The previous artifact in the day before")
    after: Figures | None = Field(description="This artifact in its first day")


class FieldRelease(Answer):
    id: str
    counter: int
    created_at: int
    profiles: list[ReleasedOnAnswer]


class FieldAnswer(Answer):
    model_config = ConfigDict(serialize_by_alias=True)

    model: str
    from_: int = Field(alias="from")
    to: int
    step_ms: int
    tier: Tier
    t: list[int]
    artifacts: list[FieldArtifact] = Field(description="Those of most devices first, at most 20")
    profiles: list[FieldProfile]
    releases: list[FieldRelease] = Field(description=f"Newest first, at most {RELEASES_MAX}")
    left_out: int


@api.get("/models/<name>/telemetry", responses={200: FieldAnswer})
@needs("viewer")
def get_model_telemetry(path: ModelPath, query: ModelFieldQuery) -> Response:
    """A model in the fleet: its artifacts, before and after each release, predicted against measured"""
    store = context().store
    store.models.get(path.name)
    artifacts = [row for row in store.fleet_pages.artifacts().values() if row.model == path.name]
    if query.profile is not None:
        artifacts = [row for row in artifacts if row.profile == query.profile]
    return answer(_answer(path.name, artifacts, query, profile=query.profile))


@api.get("/artifacts/<digest>/telemetry", responses={200: FieldAnswer})
@needs("viewer")
def get_artifact_telemetry(path: ArtifactPath, query: FieldQuery) -> Response:
    """An artifact in the fleet"""
    store = context().store
    store.artifacts.get(path.digest)
    row = store.fleet_pages.artifacts()[path.digest]
    return answer(_answer(row.model, [row], query, digest=path.digest))


def _answer(
    model: str,
    artifacts: list[ArtifactRow],
    query: FieldQuery,
    *,
    profile: str | None = None,
    digest: str | None = None,
) -> FieldAnswer:
    store = context().store
    now_ms = store.now_ms()
    from_ms, to_ms = read_range(query.from_, query.to, None, _DAY_MS, now_ms)
    made = plan(
        from_ms,
        to_ms,
        query.step_ms,
        now_ms=now_ms,
        series=len(artifacts),
        grouped=True,
        least_ms=MINUTE_MS,
    )
    releases = store.fleet_pages.releases(model, RELEASES_MAX + 1)
    found = model_telemetry(
        desk().source,
        made,
        artifacts,
        desk().lists.newest().devices,
        releases,
        store.fleet_pages.releases_by_artifact(),
        store.fleet_pages.predictions(model),
        now_ms,
    )
    return FieldAnswer.model_construct(
        model=model,
        from_=made.from_ms,
        to=made.to_ms,
        step_ms=made.step_ms,
        tier=made.tier,
        t=found.t,
        artifacts=[_artifact(one, found) for one in found.artifacts],
        profiles=[FieldProfile.model_validate(one) for one in found.profiles],
        releases=[
            each
            for one in found.releases
            if (each := _release(one, profile, digest)).profiles or (profile is None and digest is None)
        ],
        left_out=found.left_out,
    )


def _artifact(one: ArtifactTelemetry, found: ModelTelemetry) -> FieldArtifact:
    row, told = one.row, one.figures
    measured = None
    if told["p50_us"] is not None and told["p95_us"] is not None:
        measured = FieldMeasured(
            p50_us=told["p50_us"],
            p95_us=told["p95_us"],
            devices=one.devices,
            inferences=round(told["inferences"] or 0),
            rss_bytes=told["rss_bytes"],
            energy_mj=told["energy_mj"],
            since_at=found.plan.from_ms,
            until_at=found.plan.to_ms,
        )
    return FieldArtifact.model_construct(
        digest=row.digest,
        profile=row.profile,
        recipe=row.recipe,
        bytes=row.bytes,
        created_at=row.created_at,
        release=one.release,
        devices=one.devices,
        online=one.online,
        figures=told,
        series=one.series,
        predicted=None if one.predicted is None else PredictedAnswer.model_validate(one.predicted),
        measured=measured,
        ratio=one.ratio,
    )


def _release(one: Released, profile: str | None, digest: str | None) -> FieldRelease:
    return FieldRelease(
        id=one.row.id,
        counter=one.row.counter,
        created_at=one.row.created_at,
        profiles=[
            ReleasedOnAnswer.model_validate(each)
            for each in one.profiles
            if profile in (None, each.profile) and digest in (None, each.digest)
        ],
    )

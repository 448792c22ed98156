"""What happened when: annotations for charts."""

from __future__ import annotations

from typing import Annotated

from flask import Response
from pydantic import Field

from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.api.telemetry_times import Time, read_range
from edgepress_server.store.annotations import About, AnnotationKind
from edgepress_server.telemetry_query.annotate import fewer

api = section("annotations", "What happened when: releases, rollouts, enrolments, alerts, findings.")

_DAY_MS = 24 * 3_600_000


class AnnotationsQuery(Asked):
    from_: Time | None = Field(None, alias="from", description="Unix ms; default: a day before `to`")
    to: Time | None = Field(None, description="Unix ms; default: now")
    device: Annotated[str, Field(max_length=80)] | None = Field(
        None, description="Only what concerns it: its own, and of the model that it runs"
    )
    model: Annotated[str, Field(max_length=80)] | None = None
    profile: Annotated[str, Field(max_length=80)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class AnnotationAnswer(Answer):
    at: int
    until: int | None = Field(description="null: a moment, or not over yet")
    kind: AnnotationKind
    subject: str = Field(description="Id or name; of several the first")
    title: str
    text: str
    model: str | None
    profile: str | None
    device: str | None
    count: int = Field(description="How many it stands for")
    severity: str | None = Field(description="Of alerts: info, warning or critical")


class AnnotationsAnswer(Answer):
    annotations: list[AnnotationAnswer] = Field(description="Ascending by time")
    merged: bool = Field(description="Some stand for several: there were more than `limit`")


@api.get("/telemetry/annotations", responses={200: AnnotationsAnswer})
@needs("viewer")
def list_annotations(query: AnnotationsQuery) -> Response:
    """Releases, stages of rollouts, enrolments, alerts and findings of a time"""
    store = context().store
    from_ms, to_ms = read_range(query.from_, query.to, None, _DAY_MS, store.now_ms())
    about = About(query.device, query.model, query.profile)
    found = store.annotations.find(from_ms, to_ms, about, (to_ms - from_ms) // query.limit)
    shown = fewer(found, query.limit, from_ms, to_ms)
    return answer(
        AnnotationsAnswer(
            annotations=[AnnotationAnswer.model_validate(one) for one in shown],
            merged=any(one.count > 1 for one in shown),
        )
    )

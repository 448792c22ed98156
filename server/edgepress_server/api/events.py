"""What changed: live, and as the log of who did what."""

from __future__ import annotations

from typing import Annotated, Any

from flask import Response, current_app, request
from pydantic import Field, RootModel

from edgepress_server.api.answers import Answer, Asked, answers, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.api.problems import ErrorBody

api = section("events", "What changed: live, and as the log of who did what.")


class EventsQuery(Asked):
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    telemetry: bool = Field(True, description="false: without those of kind telemetry")


class StreamQuery(Asked):
    after: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        None, description="Id to resume after; Last-Event-ID goes before it"
    )


class EventAnswer(Answer):
    id: int
    at: int
    kind: str = Field(
        description="device, profile, profiling, model, dataset, job, search, artifact, release, rollout, "
        "push, budget, finding, telemetry, person, server"
    )
    subject: str = Field(description="Name, id or digest of what changed")
    action: str
    actor: str | None = Field(description="A person; null: the server itself, or a device")
    data: dict[str, Any]


class EventList(RootModel[list[EventAnswer]]):
    pass


@api.get("/events", responses={200: EventList})
@needs("viewer")
def list_events(query: EventsQuery) -> Response:
    """The newest events, newest first"""
    found = context().store.events.newest(query.limit, telemetry=query.telemetry)
    return answers([EventAnswer.model_validate(event) for event in found])


@api.get(
    "/events/stream",
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}, 503: ErrorBody},
)
@needs("viewer")
def stream_events(query: StreamQuery) -> Response:
    """Events as they happen (server-sent events)

    `event: change` with an event as JSON; a comment every 15 seconds keeps the connection. After a break it
    resumes by Last-Event-ID; `event: missed` says that too much was missed: read everything anew.
    """
    header = request.headers.get("Last-Event-ID", "")
    after = int(header) if header.isascii() and header.isdigit() and len(header) < 17 else query.after
    response = current_app.response_class(context().fan.listen(after), mimetype="text/event-stream")
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"  # nginx would hold events back
    return response

"""Silences and maintenance windows: while one holds, what it fits fires and nobody is told."""

from __future__ import annotations

from typing import Annotated, Literal

from flask import Response
from pydantic import Field, RootModel

from edgepress_server.alerts.words import clock
from edgepress_server.api.answers import Answer, Asked, answer, answers, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.alert_silences import Repeats, Silence

api = section("alert silences", "While one holds, what it fits fires and nobody is told.")

UnixMs = Annotated[int, Field(ge=0, le=2**53)]


class SilencePath(Asked):
    id: Annotated[str, Field(max_length=40)]


class SilenceAsked(Asked):
    rule: Annotated[str, Field(max_length=63)] = Field(
        "", description="* stands for any characters; empty: every rule"
    )
    query: Annotated[str, Field(max_length=2000)] = Field(
        "", description="Which devices; empty: all, and what is no device"
    )
    starts_at: UnixMs | None = Field(None, description="null: now")
    ends_at: UnixMs | None = Field(None, description="Of windows that repeat: of the first")
    for_s: Annotated[int, Field(ge=1, le=10**8)] | None = Field(
        None, description="Instead of ends_at: how long"
    )
    repeats: Repeats = Field("no", description="A window at the same time of day, or of the week (UTC)")
    until: UnixMs | None = Field(None, description="Of windows that repeat; null: until somebody ends it")
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class SilenceAnswer(Answer):
    id: str
    rule: str
    query: str
    starts_at: int
    ends_at: int
    repeats: Repeats
    until: int | None
    reason: str
    created_by: str
    created_at: int
    ended_by: str | None
    ended_at: int | None
    state: Literal["holding", "coming", "over"]
    words: str


class Silences(RootModel[list[SilenceAnswer]]):
    pass


def _answer(silence: Silence) -> SilenceAnswer:
    now = context().store.now_ms()
    state: Literal["holding", "coming", "over"] = "coming"
    if silence.is_over(now):
        state = "over"
    elif silence.holds(now):
        state = "holding"
    return SilenceAnswer(**vars(silence), state=state, words=_words(silence, now))


def _words(silence: Silence, now: int) -> str:
    what = f"rule {silence.rule}" if silence.rule else "every rule"
    whom = f", where {silence.query}" if silence.query.strip() else ""
    when = f"{clock(silence.starts_at, now)} to {clock(silence.ends_at, now)}"
    again = "" if silence.repeats == "no" else f", {silence.repeats}"
    return f"{what}{whom}: {when}{again}; {silence.reason}"


@api.get("/alert-silences", responses={200: Silences})
@needs("viewer")
def list_alert_silences() -> Response:
    """Silences and maintenance windows, newest first"""
    return answers([_answer(silence) for silence in context().store.alerts.silences.list()])


@api.post("/alert-silences", responses={201: SilenceAnswer})
@needs("operator")
def add_alert_silence(body: SilenceAsked) -> Response:
    """Tell nobody for a while"""
    starts_at = body.starts_at if body.starts_at is not None else context().store.now_ms()
    if (body.ends_at is None) == (body.for_s is None):
        raise InvalidInputError("bad_silence", "Say when it ends: ends_at, or for_s, how long it lasts.")
    made = context().store.alerts.silences.add(
        rule=body.rule,
        query=body.query,
        starts_at=starts_at,
        ends_at=body.ends_at if body.ends_at is not None else starts_at + 1000 * (body.for_s or 0),
        repeats=body.repeats,
        until=body.until,
        reason=body.reason,
        actor=person().name,
    )
    return answer(_answer(made), 201)


@api.post("/alert-silences/<id>/end", responses={200: SilenceAnswer})
@needs("operator")
def end_alert_silence(path: SilencePath) -> Response:
    """End a silence before its time"""
    return answer(_answer(context().store.alerts.silences.end(path.id, actor=person().name)))

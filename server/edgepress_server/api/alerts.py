"""Alerts: what is wrong now, since when, who sees to it; and what was."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Response
from pydantic import Field

from edgepress_server.alerts.rule import Severity
from edgepress_server.alerts.words import unit
from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.store.alert_channels import NoticeState
from edgepress_server.store.alerts import Incident, IncidentState, StateName, StateRow

api = section("alerts", "What is wrong now, since when, who sees to it; and what was.")

Identity = Annotated[str, Field(max_length=40)]
RuleName = Annotated[str, Field(max_length=63)]
SubjectText = Annotated[
    str, Field(max_length=160, description="device:NAME, profile:NAME, artifact:DIGEST, fleet: or server:")
]
Offset = Annotated[int, Field(ge=0, le=10_000_000)]
Limit = Annotated[int, Field(ge=1, le=500)]


class AlertPath(Asked):
    id: Identity


class AlertsQuery(Asked):
    state: Literal["firing", "resolved", "all"] = "firing"
    severity: Severity | None = None
    rule: RuleName | None = None
    device: Annotated[str, Field(max_length=63, description="That fires in it, or did")] | None = None
    offset: Offset = 0
    limit: Limit = 100


class MembersQuery(Asked):
    offset: Offset = 0
    limit: Limit = 100


class HistoryQuery(Asked):
    alert: Identity | None = None
    rule: RuleName | None = None
    subject: SubjectText | None = None
    from_ms: Annotated[int, Field(ge=0, le=2**53, description="Unix ms")] = 0
    to_ms: Annotated[int, Field(ge=0, le=2**53)] = 2**53
    before: Annotated[int, Field(ge=0, le=2**53, description="An id: what is older than it")] = 2**53
    limit: Limit = 100


class AcknowledgeAsked(Asked):
    note: Annotated[str, Field(max_length=500)] = ""


class CountsAnswer(Answer):
    """Of the alerts that fire."""

    critical: int
    warning: int
    info: int
    acknowledged: int = Field(description="Of these somebody sees to")
    silenced: int = Field(description="Of these nobody is told")
    flapping: int


class AlertAnswer(Answer):
    id: str
    rule: str
    title: str
    severity: Severity
    state: IncidentState
    scope: dict[str, str] = Field(description="What its subjects share: profile, label:site ...")
    sentence: str = Field(description="What is wrong, with the figures, the time and the model")
    worst: float | None = Field(description="The value farthest beyond the limit, in the rule's unit")
    subjects: int = Field(description="Devices, or groups, that fire now")
    most_subjects: int
    first_subject: str
    model: str | None
    profile: str | None
    artifact: str | None
    rollout: str | None = Field(description="That brought most of them what they run, within the day before")
    opened_at: int
    since: int = Field(description="When it fired last, or resolved")
    updated_at: int
    resolved_at: int | None
    acknowledged_by: str | None
    acknowledged_at: int | None
    acknowledged_note: str
    flapping: bool = Field(description="It fires and resolves again and again; people are told once")
    silenced: bool
    runbook: str = Field(description="A page of the web UI, or an address")


class AlertPage(Answer):
    total: int = Field(description="That fit")
    firing: CountsAnswer
    alerts: list[AlertAnswer] = Field(description="Firing first, severest first, then the newest")


class MemberAnswer(Answer):
    subject: str
    device: str | None = Field(description="Its name, where the subject is a device")
    state: StateName
    since: int
    began_at: int
    value: float | None
    sentence: str


class MemberPage(Answer):
    total: int
    members: list[MemberAnswer]


class TransitionAnswer(Answer):
    id: int
    at: int
    rule: str
    subject: str = Field(description="Empty: of the alert as a whole")
    alert: str | None
    what: str = Field(
        description="pending, cleared, fired, again, resolving, resolved; of an alert: opened, grew, "
        "flapping, calm, "
        "reopened, acknowledged, unacknowledged, silenced, unsilenced"
    )
    value: float | None
    fire_at: float | None
    sentence: str
    actor: str | None


class HistoryAnswer(Answer):
    transitions: list[TransitionAnswer] = Field(description="Newest first")
    before: int | None = Field(description="For the next page; null: this was the last")


class NoticeAnswer(Answer):
    id: str
    channel: str
    what: str = Field(description="fired, more, repeated, resolved, flapping, calm")
    state: NoticeState
    attempts: int
    next_try_at: int
    answer: str = Field(description="What the receiver said, or why it could not be delivered")
    created_at: int
    ended_at: int | None


class AlertDetail(AlertAnswer):
    members: list[MemberAnswer] = Field(description="The first 100; the rest by /alerts/ID/members")
    timeline: list[TransitionAnswer] = Field(description="The newest 200, newest first")
    notices: list[NoticeAnswer] = Field(description="Newest first")
    metric: str = Field(description="For a chart; empty for absence")
    aggregate: str
    unit: str
    direction: Literal["above", "below"]
    fire_at: float | None = Field(description="The rule's limit now; null: the rule is gone")
    resolve_at: float | None
    note: str = Field(description="Of the rule")


def _alert(incident: Incident) -> AlertAnswer:
    return AlertAnswer.model_validate(incident)


def _member(row: StateRow) -> MemberAnswer:
    kind, _, name = row.subject.partition(":")
    return MemberAnswer(**{**vars(row), "device": name if kind == "device" else None})


def _transitions(**which: Any) -> list[TransitionAnswer]:
    found = context().store.alerts.history(**which)
    return [TransitionAnswer(**vars(each), alert=each.incident) for each in found]


@api.get("/alerts", responses={200: AlertPage})
@needs("viewer")
def list_alerts(query: AlertsQuery) -> Response:
    """What fires now; or what was"""
    alerts = context().store.alerts
    total, found = alerts.page(
        state=None if query.state == "all" else query.state,
        severity=query.severity,
        rule=query.rule,
        subject=None if query.device is None else f"device:{query.device}",
        offset=query.offset,
        limit=query.limit,
    )
    counts = CountsAnswer(**alerts.counts())
    return answer(AlertPage(total=total, firing=counts, alerts=[_alert(each) for each in found]))


@api.get("/alerts/summary", responses={200: CountsAnswer})
@needs("viewer")
def get_alert_counts() -> Response:
    """How many alerts fire"""
    return answer(CountsAnswer(**context().store.alerts.counts()))


@api.get("/alerts/<id>", responses={200: AlertDetail})
@needs("viewer")
def get_alert(path: AlertPath) -> Response:
    """One alert: its devices, its story, who was told"""
    return answer(_detail(path.id))


def _detail(identity: str) -> AlertDetail:
    alerts = context().store.alerts
    incident = alerts.get(identity)
    kept = alerts.rules.find(incident.rule)
    rule = None if kept is None else kept.rule
    return AlertDetail(
        **_alert(incident).model_dump(),
        members=[_member(row) for row in alerts.members(identity)],
        timeline=_transitions(incident=identity, limit=200),
        notices=[NoticeAnswer.model_validate(notice) for notice in alerts.channels.notices(identity)],
        metric="" if rule is None else rule.metric,
        aggregate="" if rule is None else rule.aggregate,
        unit="" if rule is None else unit(rule),
        direction="above" if rule is None else rule.direction,
        fire_at=None if rule is None else rule.fire_at,
        resolve_at=None if rule is None else rule.resolves_at,
        note="" if rule is None else rule.note,
    )


@api.get("/alerts/<id>/members", responses={200: MemberPage})
@needs("viewer")
def list_alert_members(path: AlertPath, query: MembersQuery) -> Response:
    """The devices or groups of an alert, those that fire the longest first"""
    alerts = context().store.alerts
    incident = alerts.get(path.id)
    found = alerts.members(path.id, query.offset, query.limit)
    return answer(MemberPage(total=incident.subjects, members=[_member(row) for row in found]))


@api.post("/alerts/<id>/acknowledge", responses={200: AlertDetail})
@needs("operator")
def acknowledge_alert(path: AlertPath, body: AcknowledgeAsked) -> Response:
    """Somebody sees to it: nobody is told again until it is over"""
    context().store.alerts.acknowledge(path.id, body.note.strip(), actor=person().name)
    return answer(_detail(path.id))


@api.post("/alerts/<id>/unacknowledge", responses={200: AlertDetail})
@needs("operator")
def unacknowledge_alert(path: AlertPath) -> Response:
    """Nobody sees to it any more"""
    context().store.alerts.take_back(path.id, actor=person().name)
    return answer(_detail(path.id))


@api.get("/alert-history", responses={200: HistoryAnswer})
@needs("viewer")
def list_alert_history(query: HistoryQuery) -> Response:
    """Every transition with the values that decided, newest first"""
    found = _transitions(
        incident=query.alert,
        rule=query.rule,
        subject=query.subject,
        from_ms=query.from_ms,
        to_ms=query.to_ms,
        before=query.before,
        limit=query.limit,
    )
    before = found[-1].id if len(found) == query.limit else None
    return answer(HistoryAnswer(transitions=found, before=before))

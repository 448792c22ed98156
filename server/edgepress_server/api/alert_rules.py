"""Alert rules: what is watched, what they would have said, and the pages that say what to do."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from flask import Response
from pydantic import Field, RootModel

from edgepress_server.alerts import dry_run, runbooks
from edgepress_server.alerts.rule import (
    Absent,
    Against,
    Aggregate,
    Direction,
    Per,
    Rule,
    RuleKind,
    Severity,
    check,
)
from edgepress_server.alerts.words import unit
from edgepress_server.api.alerts import RuleName, api
from edgepress_server.api.answers import Answer, Asked, answer, answers, nothing
from edgepress_server.api.auditing import changes_nothing
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.store.alert_rules import KeptRule

Metric = Annotated[str, Field(max_length=40)]


class RulePath(Asked):
    name: RuleName


class RunbookPath(Asked):
    name: Annotated[str, Field(max_length=63)]


class TestQuery(Asked):
    hours: Annotated[int, Field(ge=1, le=7 * 24)] = 24


class AlsoBody(Asked):
    metric: Metric
    direction: Direction
    value: float


class BaselineBody(Asked):
    against: Against = Field("own", description="own past, the other devices of the profile now, or predicted")
    hours: int = Field(24, description="6 to 336: how far back its own past goes")
    deviations: float = Field(3.0, description="And beyond this many robust standard deviations; 0: not asked")


class RuleAsked(Asked):
    """See docs/alerts.md. A field that a kind has no use for is left alone."""

    title: Annotated[str, Field(min_length=1, max_length=80)]
    kind: RuleKind
    severity: Severity = "warning"
    enabled: bool = True
    metric: Metric = Field("", description="Of /telemetry/metrics; restarts for rate; a check for server")
    aggregate: Aggregate = "mean"
    window_s: int = Field(300, description="60 to 604800")
    direction: Direction = "above"
    fire_at: float = 0.0
    resolve_at: float | None = Field(None, description="null: as fire_at, without hysteresis")
    for_s: int = Field(0, description="How long it is beyond fire_at before it fires")
    resolve_for_s: int = Field(60, description="How long it is within resolve_at before it resolves")
    least: int = Field(1, description="Samples (histograms: inferences) in the window below which nothing is said")
    also: Annotated[list[AlsoBody], Field(max_length=3, description="Further conditions, all of them")] = []
    baseline: BaselineBody | None = Field(None, description="For kind baseline; fire_at is a ratio to it")
    absent: Absent = "offline"
    query: Annotated[str, Field(max_length=2000, description="Which devices; empty: all")] = ""
    per: Per = "device"
    group_by: Annotated[list[Annotated[str, Field(max_length=80)]], Field(max_length=3)] = Field(
        ["profile"], description="profile, artifact, model, label:KEY: what is one alert"
    )
    channels: Annotated[list[Annotated[str, Field(max_length=63)]], Field(max_length=50)] = Field(
        [], description="empty: all"
    )
    repeat_s: int = Field(14400, description="Told again while it fires; 0: never")
    runbook: Annotated[str, Field(max_length=300)] = ""
    note: Annotated[str, Field(max_length=2000)] = ""


class NamedRuleAsked(RuleAsked):
    name: RuleName


class RuleAnswer(NamedRuleAsked):
    unit: str = Field(description="Of fire_at and resolve_at")
    words: str = Field(description="The rule in one sentence")
    shipped: bool = Field(description="It came with the server")
    changed: bool = Field(description="It came with the server and is not as it came")
    runbook_link: str
    firing: int = Field(description="Alerts of this rule that fire now")
    updated_at: int
    actor: str | None


class Rules(RootModel[list[RuleAnswer]]):
    pass


class WouldHaveFired(Answer):
    subject: str
    from_ms: int
    to_ms: int | None = Field(description="null: it would fire still")
    worst: float
    sentence: str


class TestAnswer(Answer):
    from_ms: int
    to_ms: int
    step_ms: int = Field(description="How often the rule was asked; between two of these it may have blinked")
    subjects: int = Field(description="That it was asked about")
    without_data: int = Field(description="Of these had too little data at every step")
    times: int = Field(description="How often it would have fired, over all subjects")
    firings: list[WouldHaveFired] = Field(description="The newest 200")
    words: str = Field(description="The same in one sentence")
    now: list[WouldHaveFired] = Field(description="Those that would fire now")


class RunbookAnswer(Answer):
    name: str
    title: str
    text: str = Field(description="Markdown: what it means, how to look, what to do")


class Runbooks(RootModel[list[RunbookAnswer]]):
    pass


def _rule(name: str, body: RuleAsked) -> Rule:
    fields: dict[str, Any] = body.model_dump(exclude={"name"})
    return check(msgspec.convert({**fields, "name": name}, Rule, strict=False))


def _answer(kept: KeptRule, firing: dict[str, int]) -> RuleAnswer:
    rule = kept.rule
    return RuleAnswer(
        **msgspec.to_builtins(rule),
        unit=unit(rule),
        words=dry_run.words.rule_words(rule),
        shipped=kept.shipped is not None,
        changed=kept.is_changed,
        runbook_link=rule.runbook_link,
        firing=firing.get(rule.name, 0),
        updated_at=kept.updated_at,
        actor=kept.actor,
    )

"""Alert rules: what is watched, what they would have said, and the pages that say what to do."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from flask import Response
from pydantic import Field, RootModel

from edgepress_devices.metrics import BY_NAME, HISTOGRAMS, METRICS
from edgepress_devices.metrics import Metric as CatalogueMetric
from edgepress_server.alerts import runbooks
from edgepress_server.alerts.dry_run import dry_run
from edgepress_server.alerts.rule import (
    COUNTED,
    DRIFT_METRICS,
    KINDS,
    QUANTILES,
    SERVER_CHECKS,
    SEVERITIES,
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
from edgepress_server.alerts.words import rule_words, unit
from edgepress_server.api.alerts import RuleName
from edgepress_server.api.answers import Answer, Asked, answer, answers, nothing, section
from edgepress_server.api.auditing import changes_nothing
from edgepress_server.api.auth import needs, person
from edgepress_server.api.context import context
from edgepress_server.errors import ConflictError
from edgepress_server.store.alert_rules import KeptRule

api = section("alert rules", "What is watched, what it would have said, and what to do about it.")

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
    against: Against = Field(
        "own", description="own past, the other devices of the profile now, or predicted"
    )
    hours: int = Field(24, description="6 to 336: how far back its own past goes")
    deviations: float = Field(
        3.0, description="And beyond this many robust standard deviations; 0: not asked"
    )


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
    least: int = Field(
        1, description="Samples (histograms: inferences) in the window below which nothing is said"
    )
    also: Annotated[list[AlsoBody], Field(max_length=3)] = Field(
        [], description="Further conditions, all of them"
    )
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
    worst: float | None = Field(description="null: of an absence")
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


class EnableAsked(Asked):
    enabled: bool


class MetricChoice(Answer):
    name: str
    title: str
    unit: str
    aggregates: list[Aggregate]


class ServerChoice(Answer):
    name: str
    title: str
    unit: str


class ChoicesAnswer(Answer):
    kinds: list[RuleKind]
    severities: list[Severity]
    metrics: list[MetricChoice] = Field(description="For threshold and baseline")
    rates: list[MetricChoice] = Field(description="For rate; the unit is of one hour")
    drift: list[MetricChoice]
    server: list[ServerChoice]
    channels: list[str]


def _choices() -> ChoicesAnswer:
    plain = [
        MetricChoice(name=m.name, title=m.title, unit=m.unit, aggregates=_aggregates(m)) for m in METRICS
    ]
    histograms = [
        MetricChoice(name=name, title=title, unit="µs", aggregates=list(QUANTILES))  # type: ignore[arg-type]
        for name, title in HISTOGRAMS.items()
    ]
    return ChoicesAnswer(
        kinds=list(KINDS),
        severities=list(SEVERITIES),
        metrics=[*histograms, *plain],
        rates=[
            *(MetricChoice(name=n, title=t, unit="/h", aggregates=[]) for n, t in COUNTED.items()),
            *(
                MetricChoice(name=m.name, title=m.title, unit=f"{m.unit}/h", aggregates=[])
                for m in METRICS
                if m.kind != "flag"
            ),
        ],
        drift=[
            MetricChoice(name=name, title=BY_NAME[name].title, unit="", aggregates=["mean", "max"])
            for name in DRIFT_METRICS
        ],
        server=[ServerChoice(name=n, title=t, unit=u) for n, (t, u) in SERVER_CHECKS.items()],
        channels=[channel.name for channel in context().store.alerts.channels.list()],
    )


def _aggregates(metric: CatalogueMetric) -> list[Aggregate]:
    found: list[Aggregate] = ["mean", "min", "max"]
    if metric.kind == "count":
        found += ["sum", "per_s"]
    if metric.name.startswith("errors"):
        found.append("ratio")
    return found


def _rule(name: str, body: RuleAsked) -> Rule:
    fields: dict[str, Any] = body.model_dump(exclude={"name"})
    return check(msgspec.convert({**fields, "name": name}, Rule, strict=False))


def _answer(kept: KeptRule, firing: dict[str, int]) -> RuleAnswer:
    rule = kept.rule
    return RuleAnswer(
        **msgspec.to_builtins(rule),
        unit=unit(rule),
        words=rule_words(rule),
        shipped=kept.shipped is not None,
        changed=kept.is_changed,
        runbook_link=rule.runbook_link,
        firing=firing.get(rule.name, 0),
        updated_at=kept.updated_at,
        actor=kept.actor,
    )


def _firing() -> dict[str, int]:
    counted: dict[str, int] = {}
    for incident in context().store.alerts.firing():
        counted[incident.rule] = counted.get(incident.rule, 0) + 1
    return counted


def _test(rule: Rule, hours: int) -> TestAnswer:
    found = dry_run(context().store, context().settings, rule, hours)
    return TestAnswer(
        **{**vars(found), "firings": [WouldHaveFired(**vars(each)) for each in found.firings]},
        now=[WouldHaveFired(**vars(each)) for each in found.now],
    )


@api.get("/alert-rules", responses={200: Rules})
@needs("viewer")
def list_alert_rules() -> Response:
    """Every rule, by name"""
    firing = _firing()
    return answers([_answer(kept, firing) for kept in context().store.alerts.rules.list()])


@api.get("/alert-rules/choices", responses={200: ChoicesAnswer})
@needs("viewer")
def list_alert_rule_choices() -> Response:
    """What rules can be made of: for a form"""
    return answer(_choices())


@api.get("/alert-rules/<name>", responses={200: RuleAnswer})
@needs("viewer")
def get_alert_rule(path: RulePath) -> Response:
    """One rule"""
    return answer(_answer(context().store.alerts.rules.get(path.name), _firing()))


@api.post("/alert-rules", responses={201: RuleAnswer})
@needs("admin")
def add_alert_rule(body: NamedRuleAsked) -> Response:
    """Make a rule"""
    rules = context().store.alerts.rules
    rule = _rule(body.name, body)
    if rules.find(rule.name) is not None:
        raise ConflictError("rule_exists", f"There is an alert rule {rule.name} already. Change that one.")
    return answer(_answer(rules.put(rule, actor=person().name), _firing()), 201)


@api.put("/alert-rules/<name>", responses={200: RuleAnswer})
@needs("admin")
def set_alert_rule(path: RulePath, body: RuleAsked) -> Response:
    """Put another rule in the place of the one with this name"""
    rules = context().store.alerts.rules
    rules.get(path.name)
    return answer(_answer(rules.put(_rule(path.name, body), actor=person().name), _firing()))


@api.post("/alert-rules/<name>/enable", responses={200: RuleAnswer})
@needs("admin")
def enable_alert_rule(path: RulePath, body: EnableAsked) -> Response:
    """Switch a rule on or off"""
    kept = context().store.alerts.rules.enable(path.name, body.enabled, actor=person().name)
    return answer(_answer(kept, _firing()))


@api.post("/alert-rules/<name>/reset", responses={200: RuleAnswer})
@needs("admin")
def reset_alert_rule(path: RulePath) -> Response:
    """Set a rule back to what came with the server"""
    kept = context().store.alerts.rules.reset(path.name, actor=person().name)
    return answer(_answer(kept, _firing()))


@api.delete("/alert-rules/<name>", responses={204: None})
@needs("admin")
def remove_alert_rule(path: RulePath) -> Response:
    """Remove a rule; what fires by it is over"""
    context().store.alerts.rules.remove(path.name, actor=person().name)
    return nothing()


@api.get("/alert-rules/<name>/test", responses={200: TestAnswer})
@needs("viewer")
def test_alert_rule(path: RulePath, query: TestQuery) -> Response:
    """What a rule would have done with what is stored"""
    return answer(_test(context().store.alerts.rules.get(path.name).rule, query.hours))


@api.post("/alert-rules/test", responses={200: TestAnswer})
@needs("viewer")
@changes_nothing
def try_alert_rule(query: TestQuery, body: NamedRuleAsked) -> Response:
    """The same of a rule that is not saved"""
    return answer(_test(_rule(body.name, body), query.hours))


@api.get("/runbooks", responses={200: Runbooks})
@needs("viewer")
def list_runbooks() -> Response:
    """What alerts mean, how to look and what to do"""
    return answers([RunbookAnswer.model_validate(each) for each in runbooks.runbooks()])


@api.get("/runbooks/<name>", responses={200: RunbookAnswer})
@needs("viewer")
def get_runbook(path: RunbookPath) -> Response:
    """One page"""
    return answer(RunbookAnswer.model_validate(runbooks.get(path.name)))

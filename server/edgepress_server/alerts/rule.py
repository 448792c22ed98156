"""What an alert rule says, and whether it makes sense.

A rule computes one value for each of its subjects, and compares it:

    kind        value                                                     compared with
    threshold   `metric` over `window_s`, by `aggregate`                  `fire_at`, `resolve_at`, in its unit
    rate        events an hour, or the change of a gauge an hour          the same, an hour
    drift       as threshold, of input_psi, input_ks, output_psi, ...     the same
    baseline    the same figure over what is usual: 1.5 = half more       the same, a ratio
    absence     seconds since the device was heard of                     `fire_at`, in seconds
    server      a check of the server's own: disk, ingest, certificate    the same

It fires when the value has been beyond `fire_at` for `for_s`, and resolves when it has been within
`resolve_at` for `resolve_for_s`. Between the two nothing changes. A window with fewer than `least` samples
(histograms: inferences) has no value, which is not zero: it neither fires nor resolves anything.
"""

from __future__ import annotations

import re
from typing import Final, Literal, get_args

import msgspec

from edgepress_devices.metrics import BY_NAME, HISTOGRAMS
from edgepress_server.errors import InvalidInputError
from edgepress_server.rollout.query import parse

RuleKind = Literal["threshold", "rate", "drift", "baseline", "absence", "server"]
Severity = Literal["info", "warning", "critical"]
Aggregate = Literal["mean", "min", "max", "sum", "per_s", "p50", "p90", "p95", "p99", "ratio"]
Per = Literal["device", "profile", "artifact", "fleet"]
Direction = Literal["above", "below"]
Absent = Literal["offline", "telemetry"]
Against = Literal["own", "profile", "predicted"]

KINDS: Final[tuple[RuleKind, ...]] = get_args(RuleKind)
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)  # ascending
QUANTILES: Final[dict[str, float]] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
DRIFT_METRICS: Final = ("input_psi", "input_ks", "output_psi", "output_ks")
COUNTED: Final = {"restarts": "Restarts of the agent"}
"""What rules of kind rate may count beside the catalogue of metrics."""
SERVER_CHECKS: Final[dict[str, tuple[str, str]]] = {  # name -> title, unit
    "disk_free_percent": ("Free room on the store's disk", "%"),
    "ingest_late_s": ("Telemetry behind by", "s"),
    "quarantined_per_hour": ("Quarantined batches an hour", ""),
    "certificate_days": ("Days until the server's certificate ends", "d"),
    "authority_days": ("Days until the certificate authority ends", "d"),
    "root_days": ("Days until the TUF root expires", "d"),
    "release_days": ("Days until a release on devices expires", "d"),
    "roles_down": ("Roles of the server that are down", ""),
    "notices_failed": ("Alert notices that could not be delivered in an hour", ""),
}
WINDOW_MAX_S: Final = 7 * 24 * 3600
RULES_MAX: Final = 200
ALSO_MAX: Final = 3
LIMIT_MAX: Final = 1e15


class Also(msgspec.Struct, frozen=True):
    """A further condition: the newest mean of a metric within the window."""

    metric: str
    direction: Direction
    value: float


class Baseline(msgspec.Struct, frozen=True):
    """What is usual. own: median of the subject's hours; profile: of the devices of its profile now;
    predicted: the p50 that was predicted for the artifact on the profile."""

    against: Against = "own"
    hours: int = 24
    deviations: float = (
        3.0  # and beyond this many robust standard deviations (1.4826 MAD) of it; 0: not asked
    )


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    title: str
    kind: RuleKind
    severity: Severity = "warning"
    enabled: bool = True
    metric: str = ""  # of the catalogue; or a histogram, COUNTED, SERVER_CHECKS by kind
    aggregate: Aggregate = "mean"
    window_s: int = 300
    direction: Direction = "above"
    fire_at: float = 0.0
    resolve_at: float | None = None  # None: fire_at
    for_s: int = 0
    resolve_for_s: int = 60
    least: int = 1
    also: tuple[Also, ...] = ()
    baseline: Baseline | None = None
    absent: Absent = "offline"
    query: str = ""  # which devices; "" = all that are enrolled
    per: Per = "device"
    group_by: tuple[str, ...] = ("profile",)  # profile, artifact, model, label:KEY: what is one incident
    channels: tuple[str, ...] = ()  # () = all
    repeat_s: int = 4 * 3600  # told again while it fires; 0: never
    runbook: str = ""  # a page of ours by name, or an address; "" = the page with the rule's name
    note: str = ""

    @property
    def resolves_at(self) -> float:
        return self.fire_at if self.resolve_at is None else self.resolve_at

    @property
    def runbook_link(self) -> str:
        """Of the web UI, or the address that was given."""
        page = self.runbook or self.name
        return page if page.startswith(("http://", "https://")) else f"/runbooks/{page}"

    @property
    def histogram(self) -> str | None:
        return self.metric if self.metric in HISTOGRAMS else None

    def is_beyond(self, value: float, limit: float) -> bool:
        return value > limit if self.direction == "above" else value < limit


def check(rule: Rule) -> Rule:
    """The rule itself. Raises InvalidInputError, which names the field and what is allowed."""
    if not NAME.fullmatch(rule.name):
        raise _bad("name", "1 to 63 of a-z, 0-9 and '-', not '-' at either end")
    if not rule.title.strip():
        raise _bad("title", "a few words")
    _check_metric(rule)
    _check_limits(rule)
    _check_scope(rule)
    if rule.runbook and not (NAME.fullmatch(rule.runbook) or re.match(r"https?://\S+$", rule.runbook)):
        raise _bad(
            "runbook", "the name of a page (edgepress alert runbook lists them), or an http(s) address"
        )
    return rule


def _check_metric(rule: Rule) -> None:
    if rule.kind == "absence":
        return
    if rule.kind == "server":
        if rule.metric not in SERVER_CHECKS:
            raise _bad("metric", f"for a rule about the server one of {', '.join(SERVER_CHECKS)}")
        return
    if rule.kind == "rate":
        _check_rate(rule)
        return
    _check_figure(rule)
    if (rule.kind == "baseline") != (rule.baseline is not None):
        raise _bad("baseline", "what to compare with, for rules of kind baseline and only for those")
    if rule.baseline is not None:
        _check_baseline(rule, rule.baseline)


def _check_rate(rule: Rule) -> None:
    if rule.metric in COUNTED:
        if rule.per != "device":
            raise _bad("per", f"device, for {rule.metric}")
    elif rule.metric not in BY_NAME or BY_NAME[rule.metric].kind == "flag":
        raise _bad("metric", "for a rate a count or a gauge of GET /telemetry/metrics, or restarts")


def _check_figure(rule: Rule) -> None:
    metric, aggregate = rule.metric, rule.aggregate
    if metric not in BY_NAME and metric not in HISTOGRAMS:
        raise _bad("metric", "one of GET /telemetry/metrics")
    if (metric in HISTOGRAMS) != (aggregate in QUANTILES):
        raise _bad("aggregate", f"p50, p90, p95 or p99 for {', '.join(HISTOGRAMS)}, and only for those")
    if rule.kind == "drift" and (metric not in DRIFT_METRICS or aggregate not in ("mean", "max")):
        raise _bad("metric", f"for drift one of {', '.join(DRIFT_METRICS)}, by mean or max")
    if aggregate == "ratio" and metric != "errors" and not metric.startswith("errors_"):
        raise _bad("aggregate", "ratio (to all requests) only for errors and errors_*")
    if aggregate in ("per_s", "sum") and BY_NAME[metric].kind != "count":
        raise _bad("aggregate", f"mean, min or max for {metric}, which is no count")


def _check_baseline(rule: Rule, baseline: Baseline) -> None:
    if not 6 <= baseline.hours <= 14 * 24:
        raise _bad("baseline.hours", "6 to 336")
    if not 0 <= baseline.deviations <= 100:
        raise _bad("baseline.deviations", "0 to 100")
    if baseline.against == "predicted" and (rule.metric, rule.aggregate) != ("latency_us", "p50"):
        raise _bad("baseline.against", "predicted for latency_us by p50 only, which is what is predicted")
    if baseline.against != "own" and rule.per != "device":
        raise _bad("baseline.against", "own, for rules that are not per device")


def _check_limits(rule: Rule) -> None:
    for name, value in (("fire_at", rule.fire_at), ("resolve_at", rule.resolves_at)):
        if not abs(value) <= LIMIT_MAX:  # nan, too
            raise _bad(name, f"a number of at most {LIMIT_MAX:g}")
    _check_order(rule)
    _check_times(rule)
    if len(rule.also) > ALSO_MAX:
        raise _bad("also", f"at most {ALSO_MAX} further conditions")
    for also in rule.also:
        if also.metric not in BY_NAME:
            raise _bad("also.metric", "one of GET /telemetry/metrics that is no histogram")
        if not abs(also.value) <= LIMIT_MAX:
            raise _bad("also.value", f"a number of at most {LIMIT_MAX:g}")


def _check_order(rule: Rule) -> None:
    if rule.kind == "absence" and (rule.fire_at < 30 or rule.direction != "above" or rule.per != "device"):
        raise _bad("fire_at", "at least 30 seconds above, per device, for absence")
    if rule.is_beyond(rule.resolves_at, rule.fire_at):
        raise _bad("resolve_at", f"{rule.fire_at:g} or {'less' if rule.direction == 'above' else 'more'}")
    if rule.kind == "baseline" and rule.fire_at <= 0:
        raise _bad("fire_at", "a ratio to what is usual, above 0")


def _check_times(rule: Rule) -> None:
    for name, value, most in (
        ("window_s", rule.window_s, WINDOW_MAX_S),
        ("for_s", rule.for_s, 7 * 24 * 3600),
        ("resolve_for_s", rule.resolve_for_s, 24 * 3600),
        ("repeat_s", rule.repeat_s, 30 * 24 * 3600),
    ):
        if not 0 <= value <= most:
            raise _bad(name, f"0 to {most}")
    if rule.window_s < 60:
        raise _bad("window_s", "60 or more: devices are looked at by the minute")
    if 0 < rule.repeat_s < 300:
        raise _bad("repeat_s", "0 (never) or at least 300")
    if not 1 <= rule.least <= 1_000_000_000:
        raise _bad("least", "1 or more")


def _check_scope(rule: Rule) -> None:
    if rule.query.strip():
        parse(rule.query)
    if rule.kind in ("server",) and (rule.query.strip() or rule.per != "fleet"):
        raise _bad("per", "fleet and no query, for a rule about the server")
    past = rule.kind == "baseline" or (rule.kind == "rate" and _is_gauge(rule.metric))
    if rule.per != "device" and rule.query.strip() and past:
        raise _bad("query", "none, for a rule about a group and its own past; or per device")
    if len(rule.group_by) > 3:
        raise _bad("group_by", "at most 3")
    for key in rule.group_by:
        if key not in ("profile", "artifact", "model") and not re.fullmatch(r"label:[a-z0-9._-]{1,63}", key):
            raise _bad("group_by", "profile, artifact, model or label:KEY")


def _is_gauge(metric: str) -> bool:
    return metric in BY_NAME and BY_NAME[metric].kind == "gauge"


def _bad(field: str, allowed: str) -> InvalidInputError:
    return InvalidInputError("bad_rule", f"{field} of an alert rule is to be: {allowed}.")


def encode(rule: Rule) -> str:
    return msgspec.json.encode(rule).decode()


def decode(text: str) -> Rule:
    return msgspec.json.decode(text, type=Rule)

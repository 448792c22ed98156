"""Rules, values and incidents in words: what people read on pages, in mails and in the history."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Final

from edgepress_devices.metrics import BY_NAME, HISTOGRAMS
from edgepress_server.alerts.rule import COUNTED, SERVER_CHECKS, Rule

_LARGER: Final = {  # unit -> what it is called from some size on
    "µs": ((1e6, "s"), (1e3, "ms")),
    "ms": ((1e3, "s"),),
    "B": ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")),
    "mW": ((1e3, "W"),),
    "mJ": ((1e3, "J"),),
}


def unit(rule: Rule) -> str:
    """Of what the rule compares: values, fire_at, resolve_at."""
    if rule.kind == "absence":
        return "s"
    if rule.kind == "baseline":
        return "times"
    if rule.kind == "server":
        return SERVER_CHECKS[rule.metric][1]
    if rule.aggregate == "ratio" and rule.kind != "rate":
        return "ratio"
    own = _own_unit(rule.metric)
    if rule.kind == "rate":
        return f"{own}/h"
    return f"{own}/s" if rule.aggregate == "per_s" else own


def _own_unit(metric: str) -> str:
    if metric in HISTOGRAMS:
        return "µs"
    if metric in COUNTED:
        return ""
    return BY_NAME[metric].unit if BY_NAME[metric].kind != "flag" else "ratio"


def amount(value: float, of: str) -> str:
    """A value in its unit, as people say it: 41.2 ms, 5.0 %, 512 MB."""
    if not math.isfinite(value):
        return "no value"
    for end, words in (("/h", " an hour"), ("/s", " a second")):
        if of.endswith(end):
            return amount(value, of.removesuffix(end)) + words
    if of in _SAID:
        return _SAID[of](value)
    for size, name in _LARGER.get(of, ()):
        if abs(value) >= size:
            return f"{_short(value / size)} {name}"
    return f"{_short(value)} {of}".rstrip()


def _short(value: float) -> str:
    """Three significant digits, whole above 100."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def length(seconds: float) -> str:
    for size, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (seconds >= size and seconds % size == 0):
            return f"{_short(seconds / size)} {name}"
    return f"{seconds:.0f} s"


def clock(at_ms: int, now_ms: int) -> str:
    """Time of day (UTC), with the date where it was another day."""
    at = time.gmtime(at_ms / 1000)
    same_day = at[:3] == time.gmtime(now_ms / 1000)[:3]
    return time.strftime("%H:%M" if same_day else "%Y-%m-%d %H:%M", at) + " UTC"


def figure(rule: Rule) -> str:
    """What the rule looks at: "p95 of Latency", "Errors of all requests", "Free room on the store's disk"."""
    if rule.kind == "absence":
        return "silence" if rule.absent == "telemetry" else "absence"
    if rule.kind == "server":
        return _phrase(SERVER_CHECKS[rule.metric][0])
    title = _phrase(HISTOGRAMS.get(rule.metric) or COUNTED.get(rule.metric) or BY_NAME[rule.metric].title)
    if rule.metric in HISTOGRAMS:
        return f"{rule.aggregate} of {title}"
    if rule.kind == "rate":
        return title if rule.metric in COUNTED or BY_NAME[rule.metric].kind == "count" else f"{title}, change"
    how = {
        "mean": "",
        "sum": "",
        "per_s": "",
        "ratio": ", of all requests",
        "min": ", least",
        "max": ", most",
    }
    return title + how[rule.aggregate]


def _phrase(title: str) -> str:
    """A title within a sentence: "Latency" -> "latency", "CPU" as it is."""
    return title if title[1:2].isupper() else title[:1].lower() + title[1:]


def limit(rule: Rule, at: float | None = None) -> str:
    return f"{rule.direction} {amount(rule.fire_at if at is None else at, unit(rule))}"


def observed(rule: Rule, value: float | None, usual: float | None = None) -> str:
    """What is seen about one subject: "p95 of Latency 41.2 ms over 5 min, above 30 ms"."""
    if rule.kind == "absence":
        what = "offline" if rule.absent == "offline" else "online, but without telemetry"
        return f"{what} for longer than {length(rule.fire_at)}"
    if rule.kind == "server":
        return f"{figure(rule)}: {'no value' if value is None else amount(value, unit(rule))}, {limit(rule)}"
    said = "no value" if value is None else amount(value, unit(rule))
    if rule.kind == "baseline" and usual is not None and value is not None:
        own = _own_unit(rule.metric)
        said = f"{amount(value * usual, own)}, {amount(value, 'times')} the usual {amount(usual, own)}"
    return f"{figure(rule)} {said} over {length(rule.window_s)}, {limit(rule)}"


def rule_words(rule: Rule) -> str:
    """The rule in one sentence."""
    whom = {"device": "a device", "profile": "a profile", "artifact": "an artifact", "fleet": "the fleet"}
    if rule.kind == "absence":
        said = f"Fires when a device is {observed(rule, None)}"
    else:
        over = "" if rule.kind == "server" else f" over {length(rule.window_s)}"
        than = "what is usual" if rule.kind == "baseline" else ""
        of = "" if rule.kind == "server" else f" of {whom[rule.per]}"
        said = f"Fires when {figure(rule)}{of}{over} is {limit(rule)} {than}".rstrip()
        if rule.for_s:
            said += f" for {length(rule.for_s)}"
    for also in rule.also:
        title = _phrase(BY_NAME[also.metric].title)
        said += f", and {title} is {also.direction} {amount(also.value, _own_unit(also.metric))}"
    if rule.query.strip():
        said += f", where {rule.query.strip()}"
    if rule.resolve_at is not None and rule.kind != "absence":
        back = "below" if rule.direction == "above" else "above"
        said += f"; resolves {back} {amount(rule.resolves_at, unit(rule))}"
    return f"{said}."


def subject_name(subject: str) -> str:
    kind, _, name = subject.partition(":")
    match kind:
        case "device":
            return name
        case "profile":
            return f"profile {name}"
        case "artifact":
            return f"artifact {name[:12]}"
        case "fleet":
            return "the fleet"
    return "this server"


_SAID: Final[dict[str, Callable[[float], str]]] = {
    "s": length,
    "d": lambda days: f"{days:.0f} days" if abs(days) >= 2 else f"{days * 24:.0f} hours",
    "ratio": lambda share: f"{_short(100 * share)} %",
}


def incident_sentence(
    rule: Rule,
    subjects: Sequence[str],
    worst: str,
    *,
    scope: dict[str, str],
    began_at: int,
    now_ms: int,
    model: str | None,
    release: int | None,
    rollout: str | None,
) -> str:
    """``subjects``: those that fire; ``worst``: what is observed about the worst of them."""
    if len(subjects) == 1:
        said = f"{subject_name(subjects[0])}: {worst}"
    else:
        shared = " and ".join(
            f"{key} {name[:12] if key == 'artifact' else name}" for key, name in scope.items()
        )
        noun = {"device": "devices", "profile": "profiles", "artifact": "artifacts"}[rule.per]
        said = f"{len(subjects)} {noun}{' of ' + shared if shared else ''}: {worst}"
        said += f" ({subject_name(subjects[0])} is the worst)" if rule.kind != "absence" else ""
    said += f", since {clock(began_at, now_ms)}"
    if rollout is not None:
        said += f", after the rollout {rollout}"
    if model is not None:
        said += f"; model {model}" + (f" release {release}" if release else "")
    return said

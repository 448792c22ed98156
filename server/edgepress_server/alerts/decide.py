"""Where a rule stands about one subject. Pure; the engine asks it at every look.

ok --beyond--> pending --beyond for `for_s`--> firing --within--> resolving --within for `resolve_for_s`--> ok
               pending --between, within----> ok      (cleared: it never fired)
                                              resolving --between, beyond--> firing
any --gone (removed, revoked, no longer meant)------> ok

between  neither beyond `fire_at` nor within `resolve_at`: what fires goes on, what pends is over
unknown  no value: nothing changes, and its time does not count as time beyond or within. What pends is over
         after UNKNOWN_MS of it, what fires after STALE_MS: it is then not known, and no longer claimed.

Silences are not seen here: what is silenced fires, and nobody is told (notices.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

from edgepress_server.alerts.rule import Rule

Verdict = Literal["beyond", "between", "within", "unknown", "gone"]
State = Literal["ok", "pending", "firing", "resolving"]
UNKNOWN_MS: Final = 120_000
STALE_MS: Final = 3_600_000


@dataclass(frozen=True)
class Standing:
    state: State = "ok"
    since: int = 0  # Unix ms: of this state
    began_at: int = 0  # of the breach
    data_at: int = 0  # when there was last a value


OK: Final = Standing()


def verdict(rule: Rule, value: float | None) -> Verdict:
    """Of one value; None: there is none."""
    if value is None or math.isnan(value):
        return "unknown"
    if rule.is_beyond(value, rule.fire_at):
        return "beyond"
    return "between" if rule.is_beyond(value, rule.resolves_at) else "within"


def wait_ms(rule: Rule) -> int:
    """How long it is beyond before it fires; of being offline the limit is that time itself."""
    offline = rule.kind == "absence" and rule.absent == "offline"
    return int(1000 * (rule.fire_at if offline else rule.for_s))


def step(rule: Rule, old: Standing, seen: Verdict, now_ms: int) -> Standing:
    """The standing after one look."""
    if seen == "gone":
        return OK
    if seen == "unknown":
        return _unknown(old, now_ms)
    state, since, began_at = old.state, old.since, old.began_at
    if old.state == "ok":
        return _pend(rule, now_ms) if seen == "beyond" else OK
    if old.state == "pending":
        if seen != "beyond":
            return OK
        if now_ms - began_at >= wait_ms(rule):
            state, since = "firing", now_ms
    elif seen != "within":
        state, since = ("firing", since if old.state == "firing" else now_ms)
    elif old.state == "firing":
        state, since = "resolving", now_ms
    if state == "resolving" and now_ms - since >= 1000 * rule.resolve_for_s:
        return OK
    return Standing(state, since, began_at, now_ms)


def _pend(rule: Rule, now_ms: int) -> Standing:
    state: State = "pending" if wait_ms(rule) > 0 else "firing"
    return Standing(state, now_ms, now_ms, now_ms)


def _unknown(old: Standing, now_ms: int) -> Standing:
    if old.state == "ok":
        return OK
    longest = UNKNOWN_MS if old.state == "pending" else STALE_MS
    return OK if now_ms - old.data_at > longest else old

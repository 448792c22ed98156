"""Where a rule stands about a subject, over every history that values can make."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_server.alerts.decide import OK, STALE_MS, UNKNOWN_MS, Standing, step, verdict
from edgepress_server.alerts.rule import Rule, check
from edgepress_server.errors import InvalidInputError

LOOK_MS = 10_000
HOT = Rule(
    name="hot", title="Hot", kind="threshold", metric="temp_c", fire_at=80.0, resolve_at=75.0, for_s=60,
    resolve_for_s=30,
)  # fmt: skip

values = st.one_of(st.none(), st.floats(min_value=60, max_value=95), st.just(math.nan))
rules = st.builds(
    lambda direction, gap, for_s, resolve_for_s: check(
        msgspec.structs.replace(
            HOT,
            direction=direction,
            resolve_at=80 - gap if direction == "above" else 80 + gap,
            for_s=for_s,
            resolve_for_s=resolve_for_s,
        )
    ),
    st.sampled_from(["above", "below"]),
    st.sampled_from([0, 5, 10]),
    st.sampled_from([0, 10, 60, 300]),
    st.sampled_from([0, 10, 60, 300]),
)


def run(rule: Rule, *seen: float | None) -> list[str]:
    """States after each look, LOOK_MS apart."""
    standing, states = OK, []
    for number, value in enumerate(seen):
        standing = step(rule, standing, verdict(rule, value), number * LOOK_MS)
        states.append(standing.state)
    return states


@given(rules, st.lists(values, max_size=60))
def test_what_fires_has_been_beyond_for_long_enough_and_resolves_only_within(
    rule: Rule, seen: list[float | None]
) -> None:
    """A machine that only remembers all values agrees with the one that remembers four numbers."""
    standing = OK
    firing = False
    for number, value in enumerate(seen):
        now = number * LOOK_MS
        was, standing = standing, step(rule, standing, verdict(rule, value), now)
        assert standing.state == "ok" or standing.began_at <= standing.since <= now
        is_firing = standing.state in ("firing", "resolving")
        if is_firing and not firing:
            assert verdict(rule, value) == "beyond"  # never by silence
            began = standing.began_at // LOOK_MS
            between = [verdict(rule, v) for v in seen[began : number + 1]]
            assert now - standing.began_at >= 1000 * rule.for_s
            assert set(between) <= {"beyond", "unknown"} and between[0] == "beyond"
        if firing and not is_firing:
            long_ago = now - was.data_at > STALE_MS
            assert verdict(rule, value) == "within" or long_ago
            if not long_ago and rule.resolve_for_s:
                assert was.state == "resolving" and now - was.since >= 1000 * rule.resolve_for_s
                since = [verdict(rule, v) for v in seen[was.since // LOOK_MS : number + 1]]
                assert set(since) <= {"within", "unknown"}
        firing = is_firing


@given(rules, st.lists(values, max_size=40), st.integers(0, 40))
def test_it_goes_on_after_a_restart_as_if_there_had_been_none(
    rule: Rule, seen: list[float | None], cut: int
) -> None:
    standing = OK
    for number, value in enumerate(seen):
        if number == cut:  # what is in the database is all there is
            standing = Standing(standing.state, standing.since, standing.began_at, standing.data_at)
        standing = step(rule, standing, verdict(rule, value), number * LOOK_MS)
    again = OK
    for number, value in enumerate(seen):
        again = step(rule, again, verdict(rule, value), number * LOOK_MS)
    assert standing == again


def test_a_short_peak_never_fires() -> None:
    assert run(HOT, 85, 85, 85, 70, 85, 85) == ["pending"] * 3 + ["ok"] + ["pending"] * 2


def test_between_the_two_limits_nothing_changes() -> None:
    hot = [85.0] * 7
    assert run(HOT, *hot)[-1] == "firing"
    assert run(HOT, *hot, 77, 79.9, 75.1)[-3:] == ["firing"] * 3
    assert run(HOT, *hot, 70, 70, 77, 70, 70, 70, 70)[-7:] == [
        "resolving", "resolving", "firing", "resolving", "resolving", "resolving", "ok",
    ]  # fmt: skip


def test_missing_data_is_not_zero() -> None:
    cold = msgspec.structs.replace(HOT, direction="below", fire_at=5.0, resolve_at=6.0, for_s=0)
    assert run(cold, None, None, None) == ["ok"] * 3  # no value is not below 5
    firing = [85.0] * 7
    assert run(HOT, *firing, *[None] * 30)[-1] == "firing"  # nor within 75
    assert run(HOT, 85, None, 85, 85, 85, 85, 85)[-1] == "firing"
    long = UNKNOWN_MS // LOOK_MS + 2
    assert run(HOT, 85, *[None] * long, 85)[-2:] == ["ok", "pending"]  # it does not wait for ever


def test_what_is_unknown_for_an_hour_is_claimed_no_more() -> None:
    seen: list[float | None] = [85.0] * 7 + [None] * (STALE_MS // LOOK_MS + 1)
    assert run(HOT, *seen)[-2:] == ["firing", "ok"]


def test_who_is_not_there_any_more_is_over_at_once() -> None:
    firing = Standing("firing", 0, 0, 0)
    assert step(HOT, firing, "gone", 10) == OK


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "Hot!"}, "name"),
        ({"title": " "}, "title"),
        ({"metric": "heat"}, "metric"),
        ({"aggregate": "p95"}, "aggregate"),
        ({"metric": "latency_us"}, "aggregate"),
        ({"aggregate": "ratio"}, "aggregate"),
        ({"aggregate": "per_s"}, "aggregate"),
        ({"resolve_at": 85.0}, "resolve_at"),
        ({"direction": "below", "resolve_at": 79.0}, "resolve_at"),
        ({"window_s": 5}, "window_s"),
        ({"window_s": 10**9}, "window_s"),
        ({"for_s": -1}, "for_s"),
        ({"repeat_s": 5}, "repeat_s"),
        ({"least": 0}, "least"),
        ({"kind": "baseline"}, "baseline"),
        ({"kind": "drift"}, "metric"),
        ({"kind": "server"}, "metric"),
        ({"kind": "absence", "fire_at": 5.0, "resolve_at": None}, "fire_at"),
        ({"group_by": ("colour",)}, "group_by"),
        ({"group_by": ("label:site", "profile", "model", "artifact")}, "group_by"),
        ({"runbook": "javascript:alert(1)"}, "runbook"),
        ({"query": "site ="}, "character"),
        ({"fire_at": math.nan, "resolve_at": None}, "fire_at"),
        ({"fire_at": math.inf, "resolve_at": None}, "fire_at"),
    ],
)
def test_a_rule_that_cannot_be_meant_is_refused_by_field(change: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        check(msgspec.structs.replace(HOT, **change))

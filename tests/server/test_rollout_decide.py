"""The rules of a rollout, from plain values: tables for what devices report and for what each stage does."""

from dataclasses import replace
from typing import Any

import pytest

from edgepress_devices.protocol import State
from edgepress_server.rollout.decide import decide
from edgepress_server.rollout.devices import DeviceFacts, observe
from edgepress_server.rollout.facts import (
    Action,
    Begin,
    Cell,
    GiveBack,
    GoTo,
    NextWave,
    Note,
    Promote,
    RollBack,
    RolloutFacts,
    Settled,
    TakeBack,
    Tell,
    Unreach,
    Wait,
)
from edgepress_server.store.rollout_policy import Policy, read_policy

A, B = "a" * 64, "b" * 64
NOW = 1_800_000_000_000  # 2027-01-15 08:00 UTC
HOUR = 3_600_000


def told(state: str, report: State | None = None, **more: object) -> DeviceFacts:
    facts = DeviceFacts("pi", A, state, want_counter=5, report=report)  # type: ignore[arg-type]
    return replace(facts, **more)  # type: ignore[arg-type]


def says(step: str, want: int = 5, running: str | None = None, reason: str | None = None) -> State:
    return State(online=True, step=step, want=want, running=running, reason=reason)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("claim", "device", "expected"),
    [
        ("has not reported", told("wanted"), ("wanted", "")),
        ("fetches", told("wanted", says("fetching")), ("fetching", "")),
        ("tries", told("fetching", says("trial")), ("trial", "")),
        ("runs it", told("trial", says("committed", running=A)), ("committed", "")),
        ("runs it under a renewed want", told("trial", says("committed", 9, A)), ("committed", "")),
        ("runs something else", told("trial", says("committed", running=B)), ("trial", "")),
        ("ran it before it was told", told("wanted", says("committed", 4, A)), ("wanted", "")),
        ("failed an earlier want", told("wanted", says("rejected", 4)), ("wanted", "")),
        ("rejected it", told("trial", says("rejected", reason="slow")), ("failed", "rejected: slow")),
        ("failed without a word", told("fetching", says("failed")), ("failed", "failed")),
        (
            "rolled back later",
            told("committed", says("rolled_back", reason="x")),
            ("failed", "rolled back: x"),
        ),
        ("idles after the commit", told("committed", says("idle", running=A)), ("committed", "")),
        ("made it after all", told("failed", says("committed", running=A)), ("committed", "")),
        ("came back after it was given up", told("unreached", says("fetching")), ("fetching", "")),
        ("stays away", told("unreached", says("idle", 4)), ("unreached", "")),
        ("waits for its second try", told("waiting", says("rejected")), ("waiting", "")),
        ("was revoked on the way", told("fetching", revoked=True), ("skipped", "revoked")),
        ("was revoked afterwards", told("committed", revoked=True), ("committed", "")),
        ("belongs to another", told("wanted", superseded=True), ("skipped", "another rollout took over")),
        (
            "fails for another",
            told("committed", says("rejected", 9), superseded=True),
            ("committed", ""),
        ),
    ],
)
def test_a_device_that(claim: str, device: DeviceFacts, expected: tuple[str, str]) -> None:
    assert observe(device) == expected, claim


# --- stages -----------------------------------------------------------------------------------------------


def cells(**states: int) -> list[Cell]:
    """``canary_committed=1, wave1_waiting=3, wave1_wanted_away=2`` as cells of profile p."""
    found = []
    for name, n in states.items():
        stage, state, *away = name.split("_")
        wave = 0 if stage == "canary" else int(stage.removeprefix("wave"))
        found.append(Cell("p", wave, state, not away, n))  # type: ignore[arg-type]
    return found


def rollout(state: str, policy: dict[str, Any] | Policy | None = None, **more: Any) -> RolloutFacts:
    states = more.pop("states", {})
    wave = more.pop("wave", 0 if state in ("draft", "signed", "canary") else 1)
    begun = None if state in ("draft", "signed") else NOW - HOUR
    return RolloutFacts(
        "r1",
        state,  # type: ignore[arg-type]
        read_policy(policy),
        cells(**states),
        stage_since=NOW - HOUR,
        **{"wave": wave, "begun_at": begun, "release_id": "rel", **more},
    )


def acts(actions: list[Action]) -> list[str]:
    return [type(each).__name__ for each in actions]


WAVES = {"waves": [{"percent": 10}, {"percent": 50, "soak_s": 60, "approve": True}, {"percent": 100}]}


def test_a_draft_waits_for_its_signature_and_says_how_to_sign() -> None:
    (wait,) = decide(rollout("draft", release="awaiting_signature", states={"canary_waiting": 1}), NOW)
    assert isinstance(wait, Wait) and "edgepress keys export rel" in wait.sentence
    assert acts(decide(rollout("draft", states={"canary_waiting": 1}), NOW)) == ["GoTo"]


def test_without_canaries_the_first_wave_comes_first() -> None:
    assert decide(rollout("draft", states={"wave1_waiting": 2}), NOW)[0] == NextWave(1)


@pytest.mark.parametrize(
    ("claim", "policy", "more", "said"),
    [
        ("a person", {"approve_canary": True}, {}, "edgepress rollout approve r1"),
        ("its time", {"start_at_ms": NOW + HOUR}, {}, "starts at 2027-01-15 09:00 UTC"),
        ("deltas", {"delta": "only"}, {"deltas_pending": 2}, "2 deltas are being made"),
    ],
)
def test_the_first_stage_waits_for(
    claim: str, policy: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    (wait,) = decide(rollout("signed", policy, states={"canary_waiting": 1}, **more), NOW)
    assert isinstance(wait, Wait) and said in wait.sentence, claim
    approved = rollout("signed", policy, states={"canary_waiting": 1}, approved=frozenset({0}))
    later = decide(approved, NOW + 2 * HOUR)
    assert acts(later) == ["Begin", "GoTo"]


def test_a_withdrawn_release_pauses_with_its_reason() -> None:
    facts = rollout("ramp", release="withdrawn", withdrawn_reason="bad labels", states={"wave1_waiting": 5})
    assert decide(facts, NOW) == [GoTo("paused", "release rel was withdrawn: bad labels", "paused")]


@pytest.mark.parametrize(
    ("claim", "policy", "states", "expected"),
    [
        ("canaries are told", {}, {"canary_waiting": 1, "wave1_waiting": 9}, [Tell(1, 0)]),
        ("one at it is waited for", {}, {"canary_trial": 1, "wave1_waiting": 9}, "waits for 1 canary of p"),
        (
            "one that is away is replaced by one that is there",
            {},
            {"canary_wanted_away": 1, "wave1_waiting": 9},
            "Promote",
        ),
        (
            "one that is away is waited for where nobody is there",
            {},
            {"canary_wanted_away": 1, "wave1_waiting_away": 9},
            "not reached yet",
        ),
        (
            "a profile none of whose canaries committed gets another one",
            {"max_failed": 1},
            {"canary_failed": 1, "wave1_waiting_away": 9},
            "Promote",
        ),
        ("it settles first", {}, {"canary_committed": 1, "wave1_waiting": 9}, [Settled()]),
        (
            "three are asked for, two are not enough",
            {"canary_per_profile": 3},
            {"canary_committed": 2, "canary_wanted_away": 1, "wave1_waiting_away": 9},
            "not reached yet",
        ),
    ],
)
def test_canaries(claim: str, policy: dict[str, Any], states: dict[str, int], expected: object) -> None:
    actions = decide(rollout("canary", policy, states=states), NOW)
    if isinstance(expected, list):
        assert actions == expected, claim
    elif expected == "Promote":
        assert [type(each) for each in actions] == [Promote], claim
    else:
        (wait,) = actions
        assert isinstance(wait, Wait) and str(expected) in wait.sentence, claim


def test_canaries_that_pass_say_so_and_the_first_wave_comes() -> None:
    facts = rollout("canary", states={"canary_committed": 1, "wave1_waiting": 9}, settled_at=NOW)
    assert decide(facts, NOW) == [
        NextWave(1, "the canary stage passed: 1 of 1 committed"),
        GoTo("ramp"),
    ]


def test_after_its_timeout_the_canary_stage_goes_on_with_one_or_pauses_without_any() -> None:
    some = {"canary_committed": 1, "canary_wanted_away": 2, "wave1_waiting_away": 9}
    policy = {"canary_per_profile": 3, "stage_timeout_s": 3600}
    assert acts(decide(rollout("canary", policy, states=some), NOW)) == ["Settled"]
    none = {"canary_wanted_away": 3, "wave1_waiting_away": 9}
    assert decide(rollout("canary", policy, states=none), NOW) == [
        GoTo("paused", "no canary of p was reached in 60 min", "paused")
    ]


@pytest.mark.parametrize(
    ("claim", "facts", "expected"),
    [
        (
            "a wave waits for a person",
            rollout("ramp", WAVES, wave=2, begun_at=None, states={"wave2_waiting": 4}),
            "wave 2 of 3 waits for a person",
        ),
        (
            "a wave that was approved begins",
            rollout(
                "ramp", WAVES, wave=2, begun_at=None, approved=frozenset({2}), states={"wave2_waiting": 4}
            ),
            [Begin("wave 2 of 3 begins")],
        ),
        (
            "only devices of waves so far are told",
            rollout("ramp", WAVES, states={"canary_waiting": 1, "wave1_waiting": 2, "wave2_waiting": 5}),
            [Tell(3, 1)],
        ),
        (
            "sleepers do not hold a wave that somebody of it settled",
            rollout("ramp", WAVES, states={"wave1_committed": 1, "wave1_wanted_away": 8, "wave2_waiting": 5}),
            [Settled()],
        ),
        (
            "a wave that sleeps as a whole is waited for",
            rollout(
                "ramp", WAVES, states={"canary_committed": 1, "wave1_wanted_away": 8, "wave2_waiting": 5}
            ),
            "8 devices not reached yet",
        ),
        (
            "a wave is watched",
            rollout(
                "ramp",
                WAVES,
                wave=2,
                settled_at=NOW - 30_000,
                states={"wave2_committed": 4, "wave3_waiting": 5},
            ),
            "watched until",
        ),
        (
            "and then passes",
            rollout(
                "ramp",
                WAVES,
                wave=2,
                settled_at=NOW - 60_000,
                states={"wave2_committed": 4, "wave3_waiting": 5},
            ),
            [NextWave(3, "wave 2 of 3 passed: 4 of 4 committed")],
        ),
        (
            "the last wave waits for everybody",
            rollout("ramp", states={"wave1_committed": 4, "wave1_wanted_away": 1}),
            "1 device not reached yet",
        ),
        (
            "or until its timeout",
            rollout("ramp", {"stage_timeout_s": 3600}, states={"wave1_committed": 4, "wave1_wanted_away": 1}),
            [Unreach("not reached in 60 min", 1)],
        ),
        (
            "with nobody committed it is paused",
            rollout(
                "ramp",
                {"max_failed": 9},
                states={"wave1_failed": 2},
                failed=[("one", "rejected: slow"), ("two", "")],
            ),
            [GoTo("paused", "no device committed; 2 failed: one rejected: slow; two failed", "paused")],
        ),
        (
            "the end is soaked",
            rollout("ramp", settled_at=NOW, states={"wave1_committed": 2}),
            [Note("passed", "the ramp passed: 2 of 2 committed"), GoTo("soak")],
        ),
        (
            "who is at it too long pauses it",
            rollout("ramp", {"stage_timeout_s": 3600}, states={"wave1_trial": 2}),
            [GoTo("paused", "the ramp has not passed in 60 min: waits for 2 devices of the ramp", "paused")],
        ),
    ],
)
def test_waves(claim: str, facts: RolloutFacts, expected: object) -> None:
    actions = decide(facts, NOW)
    if isinstance(expected, list):
        assert actions == expected, claim
    else:
        (wait,) = actions
        assert isinstance(wait, Wait) and str(expected) in wait.sentence, claim


@pytest.mark.parametrize(
    ("claim", "policy", "more", "expected"),
    [
        ("no more than the rate", {"rate_per_minute": 10}, {"told_lately": 7}, [Tell(3, 1, True)]),
        ("none when the rate is used up", {"rate_per_minute": 10}, {"told_lately": 10}, NOW + 5000),
        ("no more than room is for", {"max_in_flight": 4}, {}, [Tell(2, 1, True)]),
        ("as many as the fleet can download", {}, {"download_slots": 5}, [Tell(5, 1, True)]),
        ("nobody outside the hours", {"hours": ["22:00-06:00"]}, {}, NOW + 14 * HOUR),
        ("in the hours", {"hours": ["08:00-09:00"]}, {}, [Tell(20, 1)]),
        (
            "in the hours of another zone",
            {"hours": ["16:00-18:00"], "timezone": "Asia/Tokyo"},
            {},
            [Tell(20, 1)],
        ),
    ],
)
def test_at_once_are_told(claim: str, policy: dict[str, Any], more: dict[str, Any], expected: object) -> None:
    facts = rollout(
        "ramp", policy, states={"wave1_waiting": 20, "wave1_fetching": 2}, next_slot_at=NOW + 5000, **more
    )
    actions = decide(facts, NOW)
    if isinstance(expected, list):
        assert actions == expected, claim
    else:
        (wait,) = actions
        assert isinstance(wait, Wait) and wait.until is not None and wait.until <= expected, claim  # type: ignore[operator]


def test_where_a_limit_is_set_sleepers_are_told_when_they_are_there() -> None:
    facts = rollout("ramp", {"max_in_flight": 50}, states={"wave1_waiting": 2, "wave1_waiting_away": 90})
    assert decide(facts, NOW) == [Tell(2, 1, True)]


def test_too_many_failures_pause_or_roll_back_as_the_policy_says() -> None:
    states = {"canary_failed": 1, "wave1_waiting": 3}
    failed = [("one", "rejected: slow")]
    (pause,) = decide(rollout("canary", states=states, failed=failed), NOW)
    assert pause == GoTo("paused", "1 failed: one rejected: slow", "paused")
    (back,) = decide(rollout("canary", {"on_gate": "rollback"}, states=states, failed=failed), NOW)
    assert isinstance(back, RollBack) and back.reason.startswith("1 failed: one rejected: slow")


@pytest.mark.parametrize(
    ("claim", "facts", "expected"),
    [
        (
            "before the canaries passed, all is given back",
            rollout("canary", {"deadline_ms": NOW}, states={"canary_wanted_away": 1}),
            ["RollBack"],
        ),
        (
            "who is not there is left out",
            rollout("ramp", {"deadline_ms": NOW}, states={"wave1_committed": 3, "wave1_wanted_away": 4}),
            ["Unreach"],
        ),
        (
            "who is at it may finish",
            rollout("ramp", {"deadline_ms": NOW}, states={"wave1_committed": 3, "wave1_trial": 1}),
            ["Wait"],
        ),
        (
            "a wave that did not begin does not begin any more",
            rollout(
                "ramp",
                {**WAVES, "deadline_ms": NOW},
                wave=2,
                begun_at=None,
                states={"wave1_committed": 3, "wave2_unreached": 4},
            ),
            ["GoTo"],
        ),
    ],
)
def test_at_the_deadline(claim: str, facts: RolloutFacts, expected: list[str]) -> None:
    assert acts(decide(facts, NOW)) == expected, claim


def test_rolling_back_gives_back_first_then_takes_back_then_waits_then_ends() -> None:
    facts = rollout("rolling_back", reason="rolled back by ada", rollback=True, states={"wave1_committed": 3})
    assert decide(replace(facts, give_back=2), NOW) == [GiveBack()]
    assert decide(replace(facts, take_back=3), NOW) == [TakeBack()]
    (wait,) = decide(replace(facts, going_back=[("u1", "canary", "")]), NOW)
    assert isinstance(wait, Wait) and "rollout u1" in wait.sentence
    (wait,) = decide(replace(facts, going_back=[("u1", "paused", "1 failed")]), NOW)
    assert isinstance(wait, Wait) and "u1, which takes it back, is paused: 1 failed" in wait.sentence
    assert decide(replace(facts, going_back=[("u1", "done", "3 committed")]), NOW) == [
        GoTo("aborted", "rolled back by ada; rollout u1: 3 committed", "rolled_back")
    ]


def test_after_an_abort_who_committed_keeps_it() -> None:
    facts = rollout("rolling_back", reason="aborted by ada", states={"wave1_committed": 3}, take_back=3)
    assert decide(facts, NOW) == [GoTo("aborted", "aborted by ada", "aborted")]


def test_a_rollout_that_is_done_tells_late_joiners_and_nothing_else() -> None:
    assert decide(rollout("done", states={"wave1_committed": 3, "wave1_waiting": 1}), NOW) == [Tell(1, 1)]
    assert decide(rollout("done", states={"wave1_committed": 3}), NOW) == []
    assert decide(rollout("done", release="withdrawn", states={"wave1_waiting": 1}), NOW) == []


@pytest.mark.parametrize("state", ["aborted", "paused"])
def test_what_is_over_or_paused_does_nothing(state: str) -> None:
    assert decide(rollout(state, states={"wave1_waiting": 3}), NOW) == []


@pytest.mark.parametrize(
    ("claim", "policy", "said"),
    [
        ("waves that fall", {"waves": [{"percent": 50}, {"percent": 20}]}, "larger"),
        ("waves that do not end", {"waves": [{"percent": 50}]}, "end at 100"),
        ("agreement without shadow", {"gates": {"min_agreement": 0.9}}, "needs `shadow`"),
        ("a deadline before the start", {"start_at_ms": 5, "deadline_ms": 4}, "before `start_at_ms`"),
        ("hours that are none", {"hours": ["25:00-26:00"]}, "22:00-06:00"),
        ("a zone that is none", {"timezone": "Mars/Base"}, "time zone"),
        ("an unknown rule", {"canaries": 2}, "canaries"),
        ("the fleet's own rate", {"delivery": {"fleet_rate_bytes_s": 5000}}, "whole fleet"),
    ],
)
def test_a_policy_is_refused_with(claim: str, policy: dict[str, Any], said: str) -> None:
    from edgepress_server.errors import InvalidInputError

    with pytest.raises(InvalidInputError, match=said):
        read_policy(policy)
    assert claim

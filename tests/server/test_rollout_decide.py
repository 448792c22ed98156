"""The rules of a rollout, from plain values: a table for reports, and properties for whole histories."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_devices.protocol import State
from edgepress_server.rollout.decide import (
    SETTLED,
    Action,
    DeviceFacts,
    GiveBack,
    GoTo,
    Issue,
    Mark,
    Promote,
    RolloutFacts,
    Sign,
    decide,
    observe,
)
from edgepress_server.store.rollouts import Policy

A, B = "a" * 64, "b" * 64


def told(state: str, report: State | None = None, **more: object) -> DeviceFacts:
    facts = DeviceFacts("pi", "p", A, "canary", state, want_counter=5, report=report)  # type: ignore[arg-type]
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


def test_a_draft_is_signed_before_anyone_is_told() -> None:
    facts = RolloutFacts("draft", Policy(), 0, [told("waiting", want_counter=None)])
    assert decide(facts, 0) == [Sign()]


def test_a_device_that_has_not_enrolled_yet_is_waited_for() -> None:
    device = DeviceFacts("pi", "p", A, "ramp", "waiting", enrolled=False)
    assert decide(RolloutFacts("ramp", Policy(), 0, [device]), 0) == []


def test_rolling_back_tells_only_those_who_were_told_and_have_not_committed() -> None:
    devices = [
        replace(told("wanted"), device="wanted"),
        replace(told("committed"), device="committed"),
        replace(told("failed"), device="failed"),
        DeviceFacts("waiting", "p", A, "ramp", "waiting"),
        replace(told("wanted", superseded=True), device="another's"),
    ]
    actions = decide(RolloutFacts("rolling_back", Policy(), 0, devices, "aborted by ada"), 0)
    assert [a.device for a in actions if isinstance(a, GiveBack)] == ["wanted", "failed"]
    assert actions[-1] == GoTo("aborted", "aborted by ada")


# --- whole histories --------------------------------------------------------------------------------------

steps = st.sampled_from(["idle", "fetching", "trial", "committed", "rejected", "failed", "rolled_back"])


def act(rollout: RolloutFacts, actions: list[Action], now_ms: int) -> RolloutFacts:
    """What the engine does, on values."""
    devices = {d.device: d for d in rollout.devices}
    state, since, reason = rollout.state, rollout.stage_since, rollout.reason
    for action in actions:
        match action:
            case Mark(device, to, why):
                devices[device] = replace(devices[device], state=to, reason=why)
            case Promote(device):
                devices[device] = replace(devices[device], stage="canary")
            case Issue(device):
                counter = (devices[device].want_counter or 0) + 1
                devices[device] = replace(devices[device], state="wanted", want_counter=counter)
            case GiveBack(device):
                devices[device] = replace(devices[device], superseded=True)
            case Sign():
                state = "signed"
            case GoTo(to_state, why):
                state, since, reason = to_state, now_ms, why
    return RolloutFacts(state, rollout.policy, since, list(devices.values()), reason)


def settle(rollout: RolloutFacts, now_ms: int) -> RolloutFacts:
    for _ in range(1000):
        actions = decide(rollout, now_ms)
        if not actions:
            return rollout
        rollout = act(rollout, actions, now_ms)
    raise AssertionError(f"never comes to rest: {rollout}")


@given(
    stages=st.lists(
        st.tuples(st.sampled_from("pq"), st.sampled_from(["canary", "ramp"])), min_size=1, max_size=6
    ),
    max_failed=st.integers(0, 2),
    history=st.lists(st.tuples(st.integers(0, 5), steps), max_size=40),
)
def test_whatever_devices_report(
    stages: list[tuple[str, str]], max_failed: int, history: list[tuple[int, str]]
) -> None:
    """It always comes to rest; while it is a canary nobody of the ramp is told; too many failures always stop
    it; it is done only when all are settled."""
    rollout = RolloutFacts(
        "draft",
        Policy(max_failed=max_failed),
        0,
        [DeviceFacts(f"d{i}", p, A, s, "waiting") for i, (p, s) in enumerate(stages)],  # type: ignore[arg-type]
    )
    rollout = settle(rollout, 0)
    for who, step in history:
        devices = list(rollout.devices)
        device = devices[who % len(devices)]
        if device.want_counter is not None:
            running = A if step == "committed" else None
            devices[who % len(devices)] = replace(device, report=says(step, device.want_counter, running))
        before = {d.device for d in rollout.devices if d.want_counter is not None}
        was_canary = rollout.state == "canary"
        rollout = settle(replace(rollout, devices=devices), 0)
        failed = sum(d.state == "failed" for d in rollout.devices)
        if failed > max_failed and rollout.state not in ("done", "paused"):
            raise AssertionError(f"{failed} failed and it goes on: {rollout}")
        if was_canary and rollout.state == "canary":
            newly = [d for d in rollout.devices if d.want_counter is not None and d.device not in before]
            assert all(d.stage == "canary" for d in newly)
        if rollout.state == "done":
            assert all(d.state in SETTLED for d in rollout.devices)
            assert any(d.state == "committed" for d in rollout.devices) or failed == 0

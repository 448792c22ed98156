"""Waves, gates, approvals, limits, joiners and rollbacks as stories: a real store, real wants."""

from typing import Any

import pytest
from fleet_story import Fleet, StoryDevice
from server_story import Clock

from edgepress_devices.protocol import TrialReport
from edgepress_server.errors import ConflictError, InvalidInputError
from edgepress_server.store import Store
from edgepress_server.store.delivery import DeliveryRules

MINUTE = 60_000
TEN = tuple(f"pc-{n}" for n in range(10))


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    return Fleet(store, clock)


def run_first(fleet: Fleet, devices: list[StoryDevice], text: str = "v1") -> str:
    """All of them run a first artifact."""
    digest = fleet.artifact(text, devices[0].profile)
    fleet.roll_out(fleet.release(digest), devices=[d.name for d in devices], policy={"canary_per_profile": 0})
    fleet.settle()
    for device in devices:
        device.commit()
    fleet.settle()
    return digest


def told(fleet: Fleet, rollout: str) -> list[str]:
    return [name for name, state in fleet.states(rollout).items() if state not in ("waiting", "skipped")]


def commit_told(fleet: Fleet, rollout: str) -> list[str]:
    """Everybody who was told and has not committed commits; their names."""
    names = [name for name, state in fleet.states(rollout).items() if state == "wanted"]
    for name in names:
        fleet.devices[name].commit()
    fleet.settle()
    return names


def log(fleet: Fleet, rollout: str) -> list[str]:
    return [f"{each.what}: {each.why}" for each in fleet.store.rollouts.decisions.list(rollout)]


def test_waves_by_percent_reach_a_random_sample_and_each_is_told_once(fleet: Fleet) -> None:
    fleet.enrol(*TEN)
    policy = {"waves": [{"percent": 20}, {"percent": 50}, {"percent": 100}]}
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy=policy)
    sizes = []
    for _ in range(4):
        fleet.settle()
        sizes.append(len(told(fleet, rollout)))
        commit_told(fleet, rollout)
    assert sizes == [1, 2, 5, 10]
    assert fleet.rollout(rollout).state == "done"
    assert set(fleet.store.wants.counters().values()) == {1}
    passed = [line for line in log(fleet, rollout) if line.startswith("passed")]
    assert passed[0] == "passed: the canary stage passed: 1 of 1 committed"
    assert passed[1] == "passed: wave 1 of 3 passed: 2 of 2 committed"
    assert len(passed) == 4


def test_a_wave_waits_for_a_person_and_says_how(fleet: Fleet) -> None:
    fleet.enrol(*TEN)
    policy = {"waves": [{"percent": 30}, {"percent": 100, "approve": True}]}
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy=policy)
    for _ in range(5):
        commit_told(fleet, rollout)
    now = fleet.rollout(rollout)
    assert (now.state, now.wave, now.awaits_approval, now.counts["committed"]) == ("ramp", 2, 2, 3)
    assert now.waiting == f"wave 2 of 2 waits for a person: edgepress rollout approve {rollout}"
    with pytest.raises(ConflictError, match="wave 2 of 2"):
        fleet.store.rollouts.approve(rollout, 1)
    fleet.store.rollouts.approve(rollout, actor="ada")
    assert fleet.rollout(rollout).counts["wanted"] == 7
    assert "approved: wave 2 of 2, approved by ada" in log(fleet, rollout)


def test_a_rate_holds_for_every_minute(fleet: Fleet, clock: Clock) -> None:
    fleet.enrol(*TEN)
    rollout = fleet.roll_out(
        fleet.release(fleet.artifact("v1")), policy={"canary_per_profile": 0, "rate_per_minute": 4}
    )
    counts = []
    for _ in range(5):
        counts.append(len(told(fleet, rollout)))
        clock.forward(30_000)
    assert counts == [4, 4, 8, 8, 10]


def test_no_more_than_so_many_are_at_it_at_once_and_sleepers_wait_for_their_turn(fleet: Fleet) -> None:
    devices = fleet.enrol(*TEN)
    for sleeper in devices[5:]:
        sleeper.report("idle", online=False)
    fleet.clock.forward(2 * MINUTE)
    rollout = fleet.roll_out(
        fleet.release(fleet.artifact("v1")), policy={"canary_per_profile": 0, "max_in_flight": 2}
    )
    assert len(told(fleet, rollout)) == 2
    assert commit_told(fleet, rollout) == ["pc-0", "pc-1"]
    assert commit_told(fleet, rollout) == ["pc-2", "pc-3"]
    assert commit_told(fleet, rollout) == ["pc-4"]
    assert told(fleet, rollout) == ["pc-0", "pc-1", "pc-2", "pc-3", "pc-4"]
    devices[7].report("idle")
    assert "pc-7" in told(fleet, rollout)


def test_the_fleets_download_limit_holds_rollouts_back(fleet: Fleet) -> None:
    fleet.enrol(*TEN)
    fleet.store.delivery.set_fleet(DeliveryRules(rate_bytes_s=10_000, fleet_rate_bytes_s=30_000), actor="ada")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"canary_per_profile": 0})
    assert len(told(fleet, rollout)) == 3
    assert "download limit" in fleet.rollout(rollout).waiting
    commit_told(fleet, rollout)
    assert len(told(fleet, rollout)) == 6


def test_nobody_is_told_before_its_time_and_outside_its_hours(fleet: Fleet, clock: Clock) -> None:
    fleet.enrol("one")  # it is 2027-01-15 08:00 UTC
    policy = {"start_at_ms": clock() + 3600_000, "hours": ["10:00-12:00"]}
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy=policy)
    assert fleet.rollout(rollout).waiting == "starts at 2027-01-15 09:00 UTC"
    clock.forward(3600_000)
    assert "before 2027-01-15 10:00 UTC" in fleet.rollout(rollout).waiting
    assert told(fleet, rollout) == []
    clock.forward(3600_000)
    assert told(fleet, rollout) == ["one"]


# --- gates ------------------------------------------------------------------------------------------------

SLOWER: dict[str, Any] = {"gates": {"p95_ratio": 1.1, "min_inferences": 300}}


def test_a_canary_that_is_as_fast_as_before_passes_with_its_figures(fleet: Fleet, clock: Clock) -> None:
    devices = fleet.enrol("one", "two", "three")
    run_first(fleet, devices)
    clock.forward(5 * MINUTE)
    for device in devices:
        device.measure(8000)
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v2")), policy=SLOWER)
    (canary,) = commit_told(fleet, rollout)
    waiting = fleet.rollout(rollout)
    assert (waiting.state, waiting.counts["waiting"]) == ("canary", 2)
    assert "canaries: undecided: x86-pc: p95: 0 inferences of 0 devices" in waiting.waiting
    clock.forward(4 * MINUTE)
    fleet.devices[canary].measure(8000)
    assert fleet.rollout(rollout).state == "ramp"
    (passed,) = [line for line in log(fleet, rollout) if line.startswith("passed")]
    assert "the canary stage passed: 1 of 1 committed; x86-pc: p95 8.65 ms (between" in passed
    assert "1.1 x allowed" in passed


def test_a_canary_that_is_slower_stops_the_rollout_and_says_why(fleet: Fleet, clock: Clock) -> None:
    devices = fleet.enrol("one", "two", "three")
    run_first(fleet, devices)
    clock.forward(5 * MINUTE)
    for device in devices:
        device.measure(8000)
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v2")), policy=SLOWER)
    (canary,) = commit_told(fleet, rollout)
    clock.forward(4 * MINUTE)
    fleet.devices[canary].measure(12_000)
    paused = fleet.rollout(rollout)
    assert (paused.state, paused.resume_state, paused.counts["waiting"]) == ("paused", "canary", 2)
    assert paused.reason.startswith("canaries: gate missed: x86-pc: p95 13.1 ms (between")
    assert "before (between" in paused.reason
    audit = fleet.store.audit.newest(5, subject=rollout)
    assert audit[0].data == {"state": "paused", "reason": paused.reason}


def test_a_missed_gate_can_take_it_all_back(fleet: Fleet, clock: Clock) -> None:
    devices = fleet.enrol("one", "two", "three")
    old = run_first(fleet, devices)
    clock.forward(5 * MINUTE)
    for device in devices:
        device.measure(8000)
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v2")), policy={**SLOWER, "on_gate": "rollback"})
    (canary,) = commit_told(fleet, rollout)
    assert fleet.devices[canary].running != old
    clock.forward(4 * MINUTE)
    fleet.devices[canary].measure(12_000)
    back = fleet.rollout(rollout)
    assert back.state == "rolling_back"
    (undo,) = back.rolled_back_by
    assert commit_told(fleet, undo) == [canary]
    assert fleet.devices[canary].running == old
    ended = fleet.rollout(rollout)
    assert ended.state == "aborted"
    assert "gate missed" in ended.reason and f"rollout {undo}: 1 committed" in ended.reason


def test_figures_from_before_a_resume_do_not_count_and_a_person_may_overrule(
    fleet: Fleet, clock: Clock
) -> None:
    devices = fleet.enrol("one", "two", "three")
    run_first(fleet, devices)
    clock.forward(5 * MINUTE)
    for device in devices:
        device.measure(8000)
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v2")), policy=SLOWER)
    (canary,) = commit_told(fleet, rollout)
    clock.forward(4 * MINUTE)
    fleet.devices[canary].measure(12_000)
    assert fleet.rollout(rollout).state == "paused"
    clock.forward(MINUTE)
    fleet.store.rollouts.resume(rollout, actor="ada")
    assert fleet.rollout(rollout).state == "canary"
    assert "undecided" in fleet.rollout(rollout).waiting
    fleet.store.rollouts.pause(rollout)
    fleet.store.rollouts.resume(rollout, actor="ada", overrule=True)
    assert fleet.rollout(rollout).state == "ramp"
    assert any("its gates were overruled" in line for line in log(fleet, rollout))


def test_an_undecided_gate_pauses_at_the_stages_timeout_and_says_so(fleet: Fleet, clock: Clock) -> None:
    fleet.enrol("one", "two")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={**SLOWER, "stage_timeout_s": 7200})
    commit_told(fleet, rollout)
    clock.forward(7200_000)
    paused = fleet.rollout(rollout)
    assert paused.state == "paused"
    assert paused.reason.startswith("canaries: undecided after 2 h: x86-pc: p95: 0 inferences")


def test_agreement_in_shadow_mode_is_a_gate(fleet: Fleet) -> None:
    fleet.enrol("one", "two")
    policy = {
        "shadow": {"seconds": 600, "requests": 2000, "min_agreement": 0.9},
        "gates": {"min_agreement": 0.98},
    }
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy=policy)
    (canary,) = told(fleet, rollout)
    shadow = fleet.devices[canary].read_want().want.shadow
    assert shadow is not None and (shadow.seconds, shadow.min_agreement_ppm) == (600, 900_000)
    fleet.devices[canary].trial = TrialReport(requests=2000, agreed=1900)
    fleet.devices[canary].commit()
    paused = fleet.rollout(rollout)
    assert paused.state == "paused"
    assert "1900 of 2000 answers as before (95 %" in paused.reason


def test_energy_against_before(fleet: Fleet, clock: Clock) -> None:
    devices = fleet.enrol("one", "two")
    run_first(fleet, devices)
    clock.forward(5 * MINUTE)
    for device in devices:
        device.measure(8000, energy_mj=10.0)
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v2")), policy={"gates": {"energy_ratio": 1.05}})
    (canary,) = commit_told(fleet, rollout)
    clock.forward(4 * MINUTE)
    fleet.devices[canary].measure(8000, energy_mj=13.0)
    assert "energy 13 mJ an inference" in fleet.rollout(rollout).reason


# --- who is not there -------------------------------------------------------------------------------------


def test_a_canary_that_is_away_is_replaced_by_one_that_is_there(fleet: Fleet, clock: Clock) -> None:
    fleet.enrol("one", "two")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    (canary,) = told(fleet, rollout)
    fleet.devices[canary].report("idle", online=False)
    assert told(fleet, rollout) == [canary]  # it may only have restarted
    clock.forward(MINUTE + 1)
    other = "two" if canary == "one" else "one"
    assert fleet.states(rollout)[other] == "wanted"
    fleet.devices[other].commit()
    assert fleet.rollout(rollout).state == "ramp"
    assert any(line.startswith(f"promoted: {other} becomes a canary") for line in log(fleet, rollout))


def test_at_the_deadline_who_was_not_reached_is_left_out_and_may_still_come(
    fleet: Fleet, clock: Clock
) -> None:
    one, two, three = fleet.enrol("one", "two", "three")
    three.report("idle", online=False)
    clock.forward(2 * MINUTE)
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"deadline_ms": clock() + 3600_000})
    for _ in range(2):
        for device in (one, two):
            if fleet.states(rollout)[device.name] == "wanted":
                device.commit()
    assert fleet.rollout(rollout).waiting == "1 device not reached yet"
    clock.forward(3600_000)
    done = fleet.rollout(rollout)
    assert (done.state, done.reason) == ("done", "2 committed, 1 unreached")
    three.commit()
    fleet.settle()
    assert fleet.states(rollout)["three"] == "committed"


def test_before_the_canaries_passed_the_deadline_gives_all_back(fleet: Fleet, clock: Clock) -> None:
    (one,) = fleet.enrol("one")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"deadline_ms": clock() + 3600_000})
    assert told(fleet, rollout) == ["one"]
    clock.forward(3600_000)
    ended = fleet.rollout(rollout)
    assert (ended.state, ended.reason) == ("aborted", "the deadline came before the canaries had passed")
    assert one.read_want().want.digest is None


# --- late joiners -----------------------------------------------------------------------------------------


def test_a_device_that_enrols_later_takes_part_while_it_runs_and_after_it_is_done(fleet: Fleet) -> None:
    fleet.enrol("one", "two")
    digest = fleet.artifact("v1")
    rollout = fleet.roll_out(fleet.release(digest), profiles=["x86-pc"])
    fleet.settle()
    fleet.enrol("three")
    for _ in range(3):
        commit_told(fleet, rollout)
    assert fleet.rollout(rollout).state == "done"
    assert fleet.states(rollout) == {"one": "committed", "two": "committed", "three": "committed"}
    (four,) = fleet.enrol("four")
    assert fleet.states(rollout)["four"] == "wanted"
    assert digest in fleet.store.rollouts.digests_in_use()
    four.commit()
    assert fleet.states(rollout)["four"] == "committed"
    assert "joined: 1 device that came later" in log(fleet, rollout)


@pytest.mark.parametrize(
    ("claim", "first", "then", "joins"),
    [
        ("a rollout to named devices takes nobody", {"devices": ["one"]}, {}, False),
        ("nor one whose policy says so", {"policy": {"late_joiners": False}}, {}, False),
        ("nor one for others", {"labels": {"site": "attic"}}, {}, False),
        ("who comes to fit by a label does", {"labels": {"site": "attic"}}, {"site": "attic"}, True),
        ("who comes to fit by a query does", {"query": "site = att*"}, {"site": "attic"}, True),
    ],
)
def test_who_joins(
    fleet: Fleet, claim: str, first: dict[str, Any], then: dict[str, str], joins: bool
) -> None:
    fleet.enrol("one", labels={"site": "attic"})
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), **first)
    fleet.settle()
    fleet.enrol("two")
    fleet.settle()
    if then:
        assert "two" not in fleet.states(rollout)
        fleet.store.devices.change("two", labels=then, actor="ada")
    assert ("two" in fleet.states(rollout)) is joins, claim


def test_a_joiner_belongs_to_the_youngest_rollout_of_its_model_that_is_meant_for_it(fleet: Fleet) -> None:
    fleet.enrol("one")
    first = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    commit_told(fleet, first)
    second = fleet.roll_out(fleet.release(fleet.artifact("v2")), policy={"late_joiners": False})
    commit_told(fleet, second)
    fleet.enrol("two")
    fleet.settle()
    assert fleet.store.wants.find("two") is None  # the first is out of date, the second takes nobody
    third = fleet.roll_out(fleet.release(fleet.artifact("v3")))
    commit_told(fleet, third)
    fleet.enrol("three")
    fleet.settle()
    assert fleet.states(third)["three"] == "wanted"


# --- rollback ---------------------------------------------------------------------------------------------


def test_a_rollout_that_is_done_is_rolled_back_under_a_new_counter(fleet: Fleet) -> None:
    """Also where devices came from different artifacts, and one from none."""
    one, two, three = fleet.enrol("one", "two", "three")
    old_one, old_two = run_first(fleet, [one], "v1"), run_first(fleet, [two], "v2")
    new = fleet.artifact("v3")
    rollout = fleet.roll_out(fleet.release(new), policy={"canary_per_profile": 0})
    commit_told(fleet, rollout)
    assert fleet.rollout(rollout).state == "done"
    before = max(device.running_release or 0 for device in (one, two, three))
    fleet.store.rollouts.rollback(rollout, actor="ada")
    back = fleet.rollout(rollout)
    assert back.state == "rolling_back" and len(back.rolled_back_by) == 2
    for undo in back.rolled_back_by:
        commit_told(fleet, undo)
    assert (one.running, two.running) == (old_one, old_two)
    assert min(one.running_release or 0, two.running_release or 0) > before
    assert three.read_want().want.digest is None
    assert fleet.rollout(rollout).state == "aborted"
    with pytest.raises(ConflictError, match="nothing to roll back"):
        fleet.store.rollouts.rollback(rollout)


def test_what_committed_before_an_abort_can_be_rolled_back_afterwards(fleet: Fleet) -> None:
    one, two = fleet.enrol("one", "two")
    old = run_first(fleet, [one, two])
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v2")), policy={"canary_per_profile": 0})
    fleet.settle()
    one.commit()
    fleet.settle()
    fleet.store.rollouts.abort(rollout, actor="ada")
    fleet.settle()
    assert fleet.rollout(rollout).state == "aborted"
    fleet.store.rollouts.rollback(rollout, actor="ada")
    fleet.settle()
    (undo,) = fleet.rollout(rollout).rolled_back_by
    commit_told(fleet, undo)
    assert (one.running, two.running) == (old, old)
    assert fleet.rollout(rollout).state == "aborted"
    with pytest.raises(ConflictError, match="nothing to roll back"):
        fleet.store.rollouts.rollback(rollout)


def test_nobody_can_take_part_is_said_with_what_keeps_them_out(fleet: Fleet) -> None:
    fleet.enrol("one")
    first = fleet.release(fleet.artifact("v1"))
    commit_told(fleet, fleet.roll_out(fleet.release(fleet.artifact("v2"))))
    with pytest.raises(ConflictError, match="Device one runs a newer release and refuses to go back"):
        fleet.roll_out(first)
    fleet.store.devices.revoke("one", actor=None)
    with pytest.raises(ConflictError, match="Device one is revoked"):
        fleet.roll_out(first)


def test_a_deadline_that_is_over_is_refused_before_anybody_is_told(fleet: Fleet, clock: Clock) -> None:
    fleet.enrol("one")
    release = fleet.release(fleet.artifact("v1")).id
    policy = {"deadline_ms": clock()}
    with pytest.raises(InvalidInputError, match="has passed already"):
        fleet.store.rollouts.create(release, policy=policy)
    with pytest.raises(InvalidInputError, match="has passed already"):
        fleet.store.rollout_plans.of(release, policy=policy)


def test_a_rollback_leaves_alone_what_a_later_rollout_brought(fleet: Fleet) -> None:
    one, two = fleet.enrol("one", "two")
    old = run_first(fleet, [one, two])
    second = fleet.roll_out(fleet.release(fleet.artifact("v2")), policy={"canary_per_profile": 0})
    commit_told(fleet, second)
    newest = fleet.artifact("v3")
    third = fleet.roll_out(fleet.release(newest), devices=["two"])
    commit_told(fleet, third)
    fleet.store.rollouts.rollback(second, actor="ada")
    (undo,) = fleet.rollout(second).rolled_back_by
    commit_told(fleet, undo)
    assert (one.running, two.running) == (old, newest)
    assert fleet.rollout(second).state == "aborted"


def test_a_rollback_under_way_gives_back_and_takes_back(fleet: Fleet) -> None:
    one, two = fleet.enrol("one", "two")
    old = run_first(fleet, [one, two])
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v2")), policy={"canary_per_profile": 0})
    fleet.settle()
    one.commit()
    two.read_want()
    two.report("fetching")
    fleet.settle()
    fleet.store.rollouts.rollback(rollout, actor="ada")
    fleet.settle()
    assert two.read_want().want.digest == old  # at once, under the counter that it knows
    (undo,) = fleet.rollout(rollout).rolled_back_by
    assert commit_told(fleet, undo) == ["one"]
    assert one.running == old
    assert fleet.rollout(rollout).counts["skipped"] == 2


def test_a_withdrawn_release_pauses_and_its_devices_can_still_go_back_to_it(fleet: Fleet) -> None:
    fleet.enrol("one", "two")
    first = fleet.release(fleet.artifact("v1"))
    rollout = fleet.roll_out(first, policy={"canary_per_profile": 0})
    commit_told(fleet, rollout)
    second = fleet.roll_out(fleet.release(fleet.artifact("v2")))
    (canary,) = told(fleet, second)
    fleet.store.releases.withdraw(first.id, reason="bad labels", actor="ada")
    fleet.store.releases.withdraw(fleet.rollout(second).release.id, reason="worse", actor="ada")
    assert fleet.rollout(second).reason.endswith("was withdrawn: worse")
    fleet.store.rollouts.abort(second, actor="ada")
    fleet.settle()
    want = fleet.store.wants.find(canary)
    assert want is not None and want.digest == fleet.devices[canary].running


# --- plans ------------------------------------------------------------------------------------------------


def test_a_plan_says_who_when_how_much_and_what_is_missing_and_does_nothing(fleet: Fleet) -> None:
    fleet.enrol(*TEN)
    fleet.enrol("nano", profile="jetson-nano")
    fleet.store.devices.register("new", "x86-pc", {}, actor=None)
    digest = fleet.artifact("v1")
    plan = fleet.store.rollout_plans.of(
        fleet.release(digest).id, policy={"waves": [{"percent": 30}, {"percent": 100}], "delta": "only"}
    )
    (pc,) = plan.profiles
    assert (pc.devices, pc.online, pc.waves) == (10, 10, [1, 2, 7])
    assert plan.left_out_total == {"device_not_enrolled": 1, "no_artifact_for_profile": 1}
    assert (plan.server_bytes, plan.device_bytes) == (pc.bytes, 10 * pc.bytes)
    assert plan.missing == ["There is no delta yet for devices of x86-pc."]
    assert fleet.store.rollouts.list() == []

"""Rollouts that are given up while devices commit, and faults that must not make the engine miss anything."""

from dataclasses import replace

import pytest
from fleet_story import Fleet, StoryDevice
from server_story import Clock

from edgepress_agent.errors import WantError
from edgepress_agent.trust import Accepted
from edgepress_server.errors import StoreError
from edgepress_server.store import Store

AT_ONCE = {"canary_per_profile": 0}


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    return Fleet(store, clock)


def commit_late(device: StoryDevice, order: Accepted) -> None:
    """It finishes the order that it had, and only then hears of the next one."""
    device.running, device.running_release = order.want.digest, order.release
    device.floors = replace(device.floors, release=order.release)
    device.report("committed")


def two_with_a_model(fleet: Fleet) -> tuple[StoryDevice, StoryDevice, str]:
    one, two = fleet.enrol("one", "two")
    old = fleet.artifact("old")
    fleet.roll_out(fleet.release(old), policy=AT_ONCE)
    fleet.settle()
    one.commit()
    two.commit()
    fleet.settle()
    return one, two, old


@pytest.mark.parametrize("heard_before_it_ended", [True, False])
def test_who_commits_while_it_is_rolled_back_goes_back_too(fleet: Fleet, heard_before_it_ended: bool) -> None:
    one, two, old = two_with_a_model(fleet)
    rollout = fleet.roll_out(fleet.release(fleet.artifact("new")), policy=AT_ONCE)
    fleet.settle()
    one.commit()
    order = two.read_want()
    fleet.settle()
    fleet.store.rollouts.rollback(rollout)
    fleet.settle()
    if heard_before_it_ended:
        commit_late(two, order)
        with pytest.raises(WantError, match="going back needs a new release"):
            two.read_want()
        fleet.settle()
        one.commit()
    else:
        one.commit()
        assert fleet.rollout(rollout).state == "aborted"
        commit_late(two, order)
        assert fleet.rollout(rollout).state == "rolling_back"
    two.commit()
    ended = fleet.rollout(rollout)
    assert (one.running, two.running) == (old, old)
    assert ended.state == "aborted"
    assert len(ended.rolled_back_by) == 2
    said = [each.why for each in fleet.store.rollouts.decisions.list(rollout)]
    assert "two had committed before it heard of it, and goes back, too" in said


def test_who_commits_while_it_is_aborted_keeps_what_it_runs(fleet: Fleet) -> None:
    one, two, _ = two_with_a_model(fleet)
    new = fleet.artifact("new")
    rollout = fleet.roll_out(fleet.release(new), policy=AT_ONCE)
    fleet.settle()
    order = two.read_want()
    fleet.store.rollouts.abort(rollout)
    fleet.settle()
    commit_late(two, order)
    assert fleet.states(rollout) == {"one": "skipped", "two": "committed"}
    assert fleet.rollout(rollout).state == "aborted"
    assert two.read_want().want.digest == new
    assert one.read_want().want.digest != new


def test_nobody_is_given_back_what_was_aborted_meanwhile(fleet: Fleet) -> None:
    one, _, old = two_with_a_model(fleet)
    first = fleet.roll_out(fleet.release(fleet.artifact("bad")), policy=AT_ONCE)
    fleet.settle()
    second = fleet.roll_out(fleet.release(fleet.artifact("also bad")), devices=["one"], policy=AT_ONCE)
    fleet.settle()
    fleet.store.rollouts.abort(first)
    fleet.settle()
    fleet.store.rollouts.abort(second)
    fleet.settle()
    assert one.read_want().want.digest == old


def test_who_comes_back_to_a_rollout_that_was_rolled_back_goes_back_too(fleet: Fleet) -> None:
    one, two, old = two_with_a_model(fleet)
    first = fleet.roll_out(fleet.release(fleet.artifact("bad")), policy=AT_ONCE)
    fleet.settle()
    one.commit()
    two.commit()
    fleet.settle()
    second = fleet.roll_out(fleet.release(fleet.artifact("also bad")), devices=["one"], policy=AT_ONCE)
    fleet.settle()
    fleet.store.rollouts.rollback(first)
    fleet.settle()
    two.commit()
    assert fleet.rollout(first).state == "aborted"
    fleet.store.rollouts.abort(second)
    fleet.settle()
    one.commit()
    fleet.settle()
    one.commit()
    assert fleet.rollout(first).state == "aborted"
    assert (one.running, two.running) == (old, old)


@pytest.mark.fault(
    "full disk", "what devices reported while the store failed moves their rollouts afterwards"
)
def test_a_store_that_fails_makes_the_engine_miss_nothing(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one,) = fleet.enrol("one")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    one.commit()

    def full(_marks: object) -> None:
        raise StoreError("store_busy", "The store is busy.")

    with monkeypatch.context() as failing:
        failing.setattr(fleet.store.rollout_moves, "mark", full)
        with pytest.raises(StoreError):
            fleet.engine.tick()
    assert fleet.rollout(rollout).state == "done"


def test_late_joiners_of_a_rollout_that_is_done_are_told_as_its_rate_allows(
    fleet: Fleet, clock: Clock
) -> None:
    (one,) = fleet.enrol("one")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"rate_per_minute": 1})
    fleet.settle()
    one.commit()
    assert fleet.rollout(rollout).state == "done"
    fleet.enrol("three", "two")
    told = []
    for _ in range(3):
        told.append(sorted(fleet.states(rollout).values()).count("wanted"))
        clock.forward(60_001)
    assert told == [0, 1, 2]
    assert fleet.rollout(rollout).waiting == ""


def test_a_sleeping_canary_holds_up_no_wave_that_the_canaries_used_up(fleet: Fleet, clock: Clock) -> None:
    names = [f"pc-{n}" for n in range(10)]
    devices = dict(zip(names, fleet.enrol(*names), strict=True))
    waves = [{"percent": 10}, {"percent": 50}, {"percent": 100}]
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"waves": waves})
    first = next(name for name, state in fleet.states(rollout).items() if state == "wanted")
    devices[first].report("idle", online=False)
    clock.forward(61_000)
    for name in names:
        if name != first:
            devices[name].report("idle")
    second = next(n for n, state in fleet.states(rollout).items() if state == "wanted" and n != first)
    devices[second].commit()
    now = fleet.rollout(rollout)
    assert (now.state, now.wave) == ("ramp", 2)
    second_wave = {each.device for each in now.devices if each.wave == 2}
    assert {each.device for each in now.devices if each.state == "wanted"} == {first, *second_wave}


def test_who_failed_and_waits_for_another_try_gets_its_order_back_too(fleet: Fleet) -> None:
    one, _, old = two_with_a_model(fleet)
    rollout = fleet.roll_out(
        fleet.release(fleet.artifact("new")),
        policy={"canary_per_profile": 0, "max_failed": 0, "rate_per_minute": 1},
    )
    fleet.settle()
    told = next(d for d in fleet.devices.values() if fleet.states(rollout)[d.name] == "wanted")
    told.fail()
    assert fleet.rollout(rollout).state == "paused"
    fleet.store.rollouts.resume(rollout)
    assert fleet.states(rollout)[told.name] == "waiting"  # the rate tells nobody for a minute
    fleet.store.rollouts.abort(rollout)
    assert fleet.rollout(rollout).state == "aborted"
    assert told.read_want().want.digest == old
    assert one.read_want().want.digest == old


def test_who_committed_and_refuses_a_later_order_has_not_failed(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"soak_s": 60})
    fleet.settle()
    one.commit()
    fleet.settle()
    one.report("rejected", "the want has expired")
    assert fleet.states(rollout) == {"one": "committed"}

"""Rollouts as stories: the engine on a real store, devices that verify wants with the agent's own code."""

from dataclasses import replace

import pytest
from fleet_story import Fleet
from server_story import Clock

from edgepress_agent.errors import WantError
from edgepress_devices.protocol import Limits
from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.rollout import act
from edgepress_server.rollout import engine as engine_module
from edgepress_server.store import Store
from edgepress_server.trust.keys import create_keys_if_missing
from edgepress_server.trust.want import WANT_LIFETIME_S


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    return Fleet(store, clock)


def test_one_canary_then_the_others_then_done(fleet: Fleet) -> None:
    one, two, three = fleet.enrol("one", "two", "three")
    one.report("idle")  # heard of last among equals: names decide
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    assert fleet.states(rollout) == {"one": "wanted", "two": "waiting", "three": "waiting"}
    assert fleet.rollout(rollout).state == "canary"
    one.commit()
    assert fleet.states(rollout) == {"one": "committed", "two": "wanted", "three": "wanted"}
    assert fleet.rollout(rollout).state == "ramp"
    two.commit()
    three.commit()
    done = fleet.rollout(rollout)
    assert (done.state, done.reason, done.counts["committed"]) == ("done", "3 committed", 3)
    assert done.finished_at is not None


def test_each_profile_has_its_canary_and_its_artifact(fleet: Fleet) -> None:
    (pc,) = fleet.enrol("pc")
    pi, pi2 = fleet.enrol("pi", "pi2", profile="raspberry-pi-4")
    for_pc, for_pi = fleet.artifact("for pc"), fleet.artifact("for pi", "raspberry-pi-4")
    rollout = fleet.roll_out(fleet.release(for_pc, for_pi))
    assert fleet.states(rollout) == {"pc": "wanted", "pi": "wanted", "pi2": "waiting"}
    assert pc.read_want().want.digest == for_pc
    assert pi.read_want().want.digest == for_pi
    pc.commit()
    assert fleet.rollout(rollout).state == "canary"
    pi.commit()
    pi2.commit() if fleet.states(rollout)["pi2"] == "wanted" else pytest.fail("pi2 was not told")
    assert fleet.rollout(rollout).state == "done"


def test_progress_of_a_device_is_followed(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    one.read_want()
    for step, state in (
        ("fetching", "fetching"),
        ("verified", "trial"),
        ("staged", "trial"),
        ("trial", "trial"),
    ):
        one.report(step)  # type: ignore[arg-type]
        assert fleet.states(rollout) == {"one": state}


def test_a_failed_canary_pauses_and_nobody_else_is_told(fleet: Fleet) -> None:
    one, two = fleet.enrol("one", "two")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    one.fail("rejected", "p95 is 900 us, allowed are 500 us")
    paused = fleet.rollout(rollout)
    assert paused.state == "paused"
    assert paused.reason == "1 failed: one rejected: p95 is 900 us, allowed are 500 us"
    assert fleet.store.wants.find("two") is None
    assert two.running is None


def test_resume_gives_the_failed_another_try(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    one.fail()
    paused = fleet.rollout(rollout)
    assert (paused.state, paused.resume_state) == ("paused", "canary")
    first = one.floors.want
    fleet.store.rollouts.resume(rollout, actor="ada")
    assert fleet.states(rollout) == {"one": "wanted"}  # the old report, of the old want, says nothing
    assert one.read_want().counter > first
    one.commit()
    assert fleet.rollout(rollout).state == "done"


def test_failures_within_the_policy_do_not_stop_it(fleet: Fleet) -> None:
    devices = fleet.enrol("one", "two", "three")
    rollout = fleet.roll_out(
        fleet.release(fleet.artifact("v1")), policy={"max_failed": 1, "canary_per_profile": 0}
    )
    fleet.settle()
    devices[0].fail("failed", "the disk is full")
    devices[1].commit()
    devices[2].commit()
    done = fleet.rollout(rollout)
    assert (done.state, done.reason) == ("done", "2 committed, 1 failed")


def test_when_the_canary_fails_within_the_policy_another_device_proves_it_first(fleet: Fleet) -> None:
    one, two, three = fleet.enrol("one", "two", "three")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"max_failed": 1})
    fleet.settle()
    one.fail()
    assert fleet.states(rollout) == {"one": "failed", "two": "waiting", "three": "wanted"} or fleet.states(
        rollout
    ) == {"one": "failed", "two": "wanted", "three": "waiting"}
    told = next(d for d in (two, three) if fleet.states(rollout)[d.name] == "wanted")
    told.commit()
    assert set(fleet.states(rollout).values()) == {"failed", "committed", "wanted"}


def test_offline_is_unreached_and_the_rollout_waits(fleet: Fleet, clock: Clock) -> None:
    (one,) = fleet.enrol("one")
    one.report("idle", online=False)
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    clock.forward(3 * 24 * 3600 * 1000)
    assert fleet.states(rollout) == {"one": "wanted"}
    assert fleet.rollout(rollout).state == "canary"
    one.commit()
    assert fleet.rollout(rollout).state == "done"


def test_soak_watches_for_devices_that_roll_back(fleet: Fleet, clock: Clock) -> None:
    (one,) = fleet.enrol("one")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"soak_s": 60})
    fleet.settle()
    one.commit()
    assert fleet.rollout(rollout).state == "soak"
    one.report("rolled_back", "crashed twice")
    assert fleet.rollout(rollout).state == "paused"
    fleet.store.rollouts.resume(rollout)
    assert fleet.states(rollout) == {"one": "wanted"}
    one.commit()
    assert fleet.rollout(rollout).state == "soak"
    clock.forward(59_999)
    assert fleet.rollout(rollout).state == "soak"
    clock.forward(1)
    assert fleet.rollout(rollout).state == "done"


def test_abort_gives_back_what_ran_before_and_leaves_the_committed_alone(fleet: Fleet) -> None:
    one, two = fleet.enrol("one", "two")
    old = fleet.artifact("v1")
    fleet.roll_out(fleet.release(old), policy={"canary_per_profile": 0})
    fleet.settle()
    one.commit()
    two.commit()
    fleet.settle()
    new = fleet.artifact("v2")
    rollout = fleet.roll_out(fleet.release(new))
    fleet.settle()
    canary = next(d for d in (one, two) if d.read_want().want.digest == new)
    other = two if canary is one else one
    before = canary.floors.want
    fleet.store.rollouts.abort(rollout, actor="ada")
    aborted = fleet.rollout(rollout)
    assert (aborted.state, aborted.reason) == ("aborted", "aborted by ada")
    given_back = canary.read_want()
    assert given_back.want.digest == old
    assert given_back.counter > before
    assert other.read_want().want.digest == old
    assert {d.state for d in aborted.devices} == {"skipped"}


def test_abort_of_the_first_rollout_means_run_nothing(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    fleet.store.rollouts.abort(rollout)
    fleet.settle()
    assert one.read_want().want.digest is None


def test_a_committed_device_keeps_its_artifact_when_the_rollout_is_aborted(fleet: Fleet) -> None:
    one, _ = fleet.enrol("one", "two")
    digest = fleet.artifact("v1")
    rollout = fleet.roll_out(fleet.release(digest))
    fleet.settle()
    one.commit()
    fleet.settle()
    fleet.store.rollouts.abort(rollout)
    fleet.settle()
    assert one.read_want().want.digest == digest
    assert fleet.states(rollout) == {"one": "committed", "two": "skipped"}


def test_a_revoked_device_is_skipped_and_its_want_leaves_the_broker(fleet: Fleet) -> None:
    one, two = fleet.enrol("one", "two")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"canary_per_profile": 0})
    fleet.settle()
    fleet.store.devices.revoke("one", actor="ada")
    two.commit()
    assert fleet.states(rollout) == {"one": "skipped", "two": "committed"}
    assert fleet.rollout(rollout).state == "done"
    assert fleet.store.wants.counters() == {"one": 0, "two": 1}
    assert one.running is None


def test_a_later_rollout_takes_a_device_over(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    first = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    newer = fleet.artifact("v2")
    second = fleet.roll_out(fleet.release(newer))
    assert fleet.states(first) == {"one": "skipped"}
    assert fleet.rollout(first).state == "done"
    assert one.read_want().want.digest == newer
    one.commit()
    assert fleet.rollout(second).state == "done"


def test_a_device_that_enrols_anew_gets_its_order_sealed_to_its_new_key(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    digest = fleet.artifact("v1")
    fleet.roll_out(fleet.release(digest))
    fleet.settle()
    one.read_want()
    again = fleet.devices["one"] = type(one)(fleet.store, fleet.keys, "one", "x86-pc")
    again.enrol()
    assert fleet.store.wants.counters() == {}  # the old one is not for this key
    assert fleet.engine.refresh() == 1
    assert again.read_want().want.digest == digest


def test_what_a_device_says_of_an_order_for_its_old_key_is_no_failure(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    again = fleet.devices["one"] = type(one)(fleet.store, fleet.keys, "one", "x86-pc")
    again.enrol()
    with pytest.raises(WantError):
        again.read_want()
    again.floors = one.floors = replace(again.floors, want=1)
    again.report("rejected", "the content key was sealed to another device")
    assert fleet.states(rollout) == {"one": "wanted"}
    assert fleet.engine.refresh() == 1
    assert fleet.states(rollout) == {"one": "wanted"}
    again.commit()
    assert fleet.rollout(rollout).state == "done"


def test_wants_are_signed_again_when_half_of_their_time_is_spent(fleet: Fleet, clock: Clock) -> None:
    (one,) = fleet.enrol("one")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    first = one.read_want()
    clock.forward(WANT_LIFETIME_S * 500 - 1000)
    assert fleet.engine.refresh() == 0
    clock.forward(2000)
    assert fleet.engine.refresh() == 1
    renewed = one.read_want()
    assert (renewed.counter, renewed.want.digest) == (first.counter + 1, first.want.digest)
    one.commit()
    assert fleet.rollout(rollout).state == "done"


def test_limits_of_the_policy_travel_in_the_order(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"limits": {"p95_us": 5000}})
    fleet.settle()
    assert one.read_want().want.limits == Limits(p95_us=5000)


def test_an_older_release_is_refused_with_a_way_out(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    old, new = fleet.release(fleet.artifact("v1")), fleet.release(fleet.artifact("v2"))
    fleet.roll_out(new)
    fleet.settle()
    one.commit()
    fleet.settle()
    with pytest.raises(ConflictError, match="Make a new release with the same artifacts"):
        fleet.roll_out(old, devices=["one"])
    with pytest.raises(ConflictError, match="No enrolled device"):
        fleet.roll_out(old)


@pytest.mark.parametrize(
    ("why", "more", "error"),
    [
        ("an unknown device", {"devices": ["nobody"]}, NotFoundError),
        ("a device that has not enrolled", {"devices": ["registered"]}, ConflictError),
        ("a revoked device", {"devices": ["revoked"]}, ConflictError),
        ("a device of a profile without artifact", {"devices": ["pi"]}, ConflictError),
        ("none named, which is not everybody", {"devices": []}, ConflictError),
        ("labels that nobody has", {"labels": {"room": "attic"}}, ConflictError),
        ("a policy with an unknown rule", {"policy": {"canaries": 2}}, InvalidInputError),
        ("a policy with a number that cannot be", {"policy": {"max_failed": -1}}, InvalidInputError),
    ],
)
def test_a_rollout_that_cannot_be_is_refused(
    fleet: Fleet, why: str, more: dict[str, object], error: type[Exception]
) -> None:
    fleet.enrol("pc", "revoked")
    fleet.enrol("pi", profile="raspberry-pi-4")
    fleet.store.devices.register("registered", "x86-pc", {}, actor=None)
    fleet.store.devices.revoke("revoked", actor=None)
    release = fleet.release(fleet.artifact("v1"))
    with pytest.raises(error):
        fleet.roll_out(release, **more)
    assert fleet.store.rollouts.list() == [], why


def test_a_device_refuses_what_another_server_signed(fleet: Fleet, store: Store, clock: Clock) -> None:
    (one,) = fleet.enrol("one")
    fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    one.keys = create_keys_if_missing(store.data_dir / "keys of another server")
    with pytest.raises(WantError, match="director key"):
        one.read_want()


def test_the_engine_may_die_between_any_two_transactions(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One action per transaction and a new engine for each: the end is the same, nobody is told twice."""
    monkeypatch.setattr(act, "DEVICES_PER_TRANSACTION", 1)
    monkeypatch.setattr(engine_module, "BATCHES_PER_TICK", 1)
    monkeypatch.setattr(engine_module, "ROUNDS_PER_TICK", 1)
    devices = fleet.enrol("one", "two", "three")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    for _ in range(40):
        fleet.engine = engine_module.Engine(fleet.store, fleet.keys)
        fleet.engine.tick()
        for device in devices:
            if device.running is None and fleet.store.wants.find(device.name) is not None:
                device.commit()
    assert fleet.store.rollouts.get(rollout).state == "done"
    assert set(fleet.store.wants.counters().values()) == {1}


def test_an_order_that_cannot_be_signed_again_does_not_hold_up_the_others(
    fleet: Fleet, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = fleet.enrol("one", "two")
    fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"canary_per_profile": 0})
    fleet.settle()
    before = fleet.store.wants.find("two")
    monkeypatch.setattr("edgepress_server.store.wants.STALE_AT_ONCE", 1)
    key = fleet.store.devices.get("one").public_key
    with fleet.store.transaction() as connection:
        connection.execute("UPDATE devices SET public_key = 'AAAA' WHERE name = 'one'")
    clock.forward(WANT_LIFETIME_S * 600)
    fleet.engine.refresh()
    fleet.engine.refresh()
    after = fleet.store.wants.find("two")
    assert before is not None and after is not None and after.counter > before.counter
    with fleet.store.transaction() as connection:
        connection.execute("UPDATE devices SET public_key = ? WHERE name = 'one'", (key,))
    clock.forward(600_001)
    fleet.engine.refresh()
    assert one.read_want().counter > 1 and two.read_want().counter > 1

"""Profiling jobs in wants: told, kept while orders change, taken out. Checked with the agent's own code."""

import pytest
from fleet_story import Fleet
from profiling_story import report, send
from server_story import Clock

from edgepress_devices.protocol import WANT_MAX_BYTES, Limits
from edgepress_server.store import Store
from edgepress_server.store.profiling import EXPIRES_MAX_MS
from edgepress_server.trust.want import WANT_LIFETIME_S


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    return Fleet(store, clock)


def test_a_device_without_any_release_can_be_asked(fleet: Fleet) -> None:
    one, two = fleet.enrol("one", "two")
    job = fleet.store.profiling.request("one", "device", 30, None)
    fleet.settle()
    want = one.read_want().want
    assert (want.digest, want.profiling) == (None, job.as_message())
    assert fleet.store.wants.find("two") is None
    assert two.running is None


def test_what_the_device_runs_stays_while_it_is_asked_and_after(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    digest = fleet.artifact("v1")
    rollout = fleet.roll_out(fleet.release(digest))
    fleet.settle()
    one.commit()
    first = one.floors.want
    job = fleet.store.profiling.request("one", "model", 30, None)
    fleet.settle()
    asked = one.read_want()
    assert (asked.want.digest, asked.counter, asked.want.profiling) == (digest, first + 1, job.as_message())
    assert asked.want.profiling is not None and asked.want.profiling.digest == digest
    assert fleet.rollout(rollout).state == "done"
    send(fleet, "one", report(job))
    fleet.settle()
    after = one.read_want()
    assert (after.want.digest, after.want.profiling) == (digest, None)
    stored = fleet.store.wants.find("one")
    assert stored is not None and stored.rollout == rollout


def test_a_rollout_that_comes_meanwhile_takes_the_job_along(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    job = fleet.store.profiling.request("one", "device", 30, None)
    fleet.settle()
    digest = fleet.artifact("v1")
    rollout = fleet.roll_out(fleet.release(digest))
    fleet.settle()
    want = one.read_want().want
    assert (want.digest, want.profiling) == (digest, job.as_message())
    one.commit()
    assert fleet.rollout(rollout).state == "done"


def test_a_rollout_that_is_given_back_does_not_bring_an_old_job_back(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    job = fleet.store.profiling.request("one", "device", 30, None)
    fleet.settle()
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    send(fleet, "one", report(job))
    fleet.store.rollouts.abort(rollout, actor="ada")
    fleet.settle()
    want = one.read_want().want
    assert (want.digest, want.profiling) == (None, None)


def test_a_want_that_is_signed_again_keeps_the_job(fleet: Fleet, clock: Clock) -> None:
    (one,) = fleet.enrol("one")
    job = fleet.store.profiling.request("one", "device", 30, None, expires_ms=EXPIRES_MAX_MS)
    fleet.settle()
    first = one.read_want()
    clock.forward(WANT_LIFETIME_S * 600)
    assert fleet.engine.refresh() == 1
    again = one.read_want()
    assert again.counter == first.counter + 1
    assert again.want.profiling == job.as_message()


def test_the_longest_want_with_a_job_is_small_enough_to_be_read(fleet: Fleet) -> None:
    (one,) = fleet.enrol("o" * 63)
    digest = fleet.artifact("v1")
    fleet.roll_out(fleet.release(digest), policy={"limits": Limits(p95_us=2**53, rss_bytes=2**53)})
    fleet.settle()
    one.commit()
    fleet.store.profiling.request(one.name, "model", 600, None)
    fleet.settle()
    want = fleet.store.wants.find(one.name)
    assert want is not None and want.profiling is not None
    assert len(want.payload) <= WANT_MAX_BYTES - 500  # a model's name may be 80 characters long


def test_an_order_that_cannot_be_signed_fails_the_job_and_is_not_tried_for_ever(fleet: Fleet) -> None:
    (one,) = fleet.enrol("one")
    fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    one.commit()
    with fleet.store.transaction() as connection:
        connection.execute("UPDATE devices SET public_key = 'no key'")
    job = fleet.store.profiling.request("one", "device", 30, None)
    fleet.settle()
    assert fleet.store.profiling.get(job.id).state == "failed"
    assert fleet.store.profiling.to_tell() == []

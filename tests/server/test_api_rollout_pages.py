"""What a rollout's page reads: its summary, its devices a page at a time, its history and its gates."""

import time

import pytest
from fleet_story import Fleet
from server_story import Browser, Clock

from edgepress_server.store import Store


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    return Fleet(store, clock)


def test_devices_come_a_page_at_a_time_and_by_state(fleet: Fleet, viewer: Browser) -> None:
    devices = fleet.enrol("pc-1", "pc-2", "pc-3")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    devices[0].commit()
    fleet.settle()
    page = viewer.get(f"/rollouts/{rollout}/devices?limit=2")
    assert page["total"] == 3 and [each["device"] for each in page["devices"]] == ["pc-1", "pc-2"]
    rest = viewer.get(f"/rollouts/{rollout}/devices?limit=2&offset=2")
    assert [each["device"] for each in rest["devices"]] == ["pc-3"]
    committed = viewer.get(f"/rollouts/{rollout}/devices?state=committed")
    assert [each["device"] for each in committed["devices"]] == ["pc-1"]
    assert viewer.get(f"/rollouts/{rollout}/devices?search=c-3")["total"] == 1
    summary = viewer.get(f"/rollouts/{rollout}/summary")
    assert summary["devices"] == [] and summary["counts"]["committed"] == 1


@pytest.mark.parametrize("leaf", ["summary", "devices", "timeline", "gates"])
def test_a_rollout_that_is_not_there(viewer: Browser, leaf: str) -> None:
    assert viewer.refused(viewer.get(f"/rollouts/nothing/{leaf}", status=404)) == "no_such_rollout"


def test_its_history_adds_up_at_every_moment(fleet: Fleet, viewer: Browser, clock: Clock) -> None:
    devices = fleet.enrol("pc-1", "pc-2", "pc-3")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    clock.forward(60_000)
    devices[0].commit()
    fleet.settle()
    clock.forward(60_000)
    devices[1].fail()
    fleet.settle()
    told = viewer.get(f"/rollouts/{rollout}/timeline")
    assert len(told["at"]) == 3 and told["at"] == sorted(told["at"])
    assert all(sum(column) == 3 for column in zip(*told["counts"].values(), strict=True))
    assert [told["counts"][state][-1] for state in ("committed", "failed")] == [1, 1]
    assert told["counts"]["committed"] == [0, 1, 1]


def test_a_long_history_is_thinned_and_ends_as_it_is(fleet: Fleet, viewer: Browser, clock: Clock) -> None:
    fleet.enrol("pc-1")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    fleet.settle()
    moves = fleet.store.rollout_moves
    with fleet.store.transaction():
        for n in range(2000):
            clock.forward(30_000)
            moves.set_device_state(rollout, "pc-1", "fetching" if n % 2 else "wanted", "")
    told = viewer.get(f"/rollouts/{rollout}/timeline")
    assert 300 < len(told["at"]) <= 600
    assert told["at"][-1] // 1000 == clock.ms // 1000 and told["counts"]["fetching"][-1] == 1


def test_gates_say_what_they_measured(fleet: Fleet, viewer: Browser) -> None:
    (device,) = fleet.enrol("pc-1")
    gates = {"max_failure_ratio": 0.1, "p95_us": 1000}
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"gates": gates})
    fleet.settle()
    assert viewer.get(f"/rollouts/{rollout}/gates") == []  # nobody has settled
    device.commit()
    fleet.settle()
    verdicts = {each["gate"]: each for each in viewer.get(f"/rollouts/{rollout}/gates")}
    assert verdicts["failures"]["state"] == "kept" and "0 of 1 failed" in verdicts["failures"]["words"]
    assert verdicts["p95"]["state"] == "undecided" and "0 inferences" in verdicts["p95"]["words"]
    plain = fleet.roll_out(fleet.release(fleet.artifact("v2")))
    assert viewer.get(f"/rollouts/{plain}/gates") == []


def test_ten_thousand_devices_are_read_within_a_second(fleet: Fleet, viewer: Browser) -> None:
    fleet.enrol("pc-1")
    rollout = fleet.roll_out(fleet.release(fleet.artifact("v1")))
    with fleet.store.transaction() as connection:
        rows = [(f"pc-{n:05}",) for n in range(10_000)]
        connection.executemany(
            "INSERT INTO devices (name, profile, created_at, enrolled_at) VALUES (?, 'x86-pc', 0, 0)", rows
        )
        connection.executemany(
            "INSERT INTO rollout_devices (rollout, device, digest, profile, stage, wave, state, updated_at)"
            f" VALUES ('{rollout}', ?, 'd', 'x86-pc', 'ramp', 1, 'waiting', 0)",
            rows,
        )
    for path in ("devices?limit=50&offset=9000", "devices?state=committed&search=99", "timeline", "summary"):
        begun = time.perf_counter()
        viewer.get(f"/rollouts/{rollout}/{path}")
        assert time.perf_counter() - begun < 1.0, path


def test_a_rollback_ends_when_what_takes_it_back_is_over(fleet: Fleet) -> None:
    """The rollout that goes back is not told by its own devices any more: it is looked at all the same."""
    devices = fleet.enrol("pc-1", "pc-2")
    first = fleet.roll_out(fleet.release(fleet.artifact("v1")), policy={"canary_per_profile": 0})
    fleet.settle()
    for device in devices:
        device.commit()
    fleet.settle()
    second = fleet.roll_out(fleet.release(fleet.artifact("v2")), policy={"canary_per_profile": 0})
    fleet.settle()
    for device in devices:
        device.commit()
    fleet.settle()
    fleet.store.rollouts.rollback(second, actor="ada")
    fleet.settle()
    for device in devices:
        device.commit()
    assert fleet.rollout(second).state == "aborted"
    assert fleet.rollout(first).state == "done"

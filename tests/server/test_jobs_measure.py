"""The device in the loop of a search: released, rolled out, profiled, given back; a device that goes away."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from fleet_story import MODEL, Fleet, StoryDevice
from profiling_story import report
from server_story import Clock

from edgepress_compression.search.trial import Figures, Trial
from edgepress_devices.profiling_messages import NetTime
from edgepress_devices.protocol import Reading
from edgepress_server.jobs.measure import AWAY_MS, GIVE_UP_MS, advance_measurements
from edgepress_server.store import Store
from edgepress_server.store.search_measurements import Measurement
from edgepress_server.store.searches import Outcome, Seat

P50_US, RSS_BYTES, IDLE_MW, BUSY_MW = 420.0, 30_000_000, 1500.0, 2000.0
IDLE = Reading(IDLE_MW, "rapl", "package")


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    return Fleet(store, clock)


@pytest.fixture
def pi(fleet: Fleet) -> StoryDevice:
    """It runs an artifact of its own."""
    device = fleet.enrol("pi")[0]
    fleet.settle()
    rollout = fleet.roll_out(fleet.release(fleet.artifact("before")), devices=["pi"])
    fleet.settle()
    device.commit()
    assert fleet.rollout(rollout).state == "done"
    return device


def searching(fleet: Fleet) -> Seat:
    fleet.store.searches.submit(
        model=MODEL, profile="x86-pc", dataset=None, budget={"latency_us": 500.0},
        options={"device": "pi"}, actor="ada",
    )  # fmt: skip
    seat = fleet.store.searches.join("w1")
    assert seat is not None
    return seat


def ask(fleet: Fleet, seat: Seat, text: str = "candidate") -> Measurement:
    """As the search's process does."""
    running = fleet.devices["pi"].running
    return fleet.store.search_measurements.ask(seat, fleet.artifact(text), "pi", running)


def look(fleet: Fleet, measurement: Measurement) -> Measurement:
    """The worker and the rollout engine do what there is to do."""
    for _ in range(3):
        advance_measurements(fleet.store, fleet.keys)
        fleet.settle()
    return fleet.store.search_measurements.get(measurement.search, measurement.digest)


def measure(fleet: Fleet, job_id: str, idle: Reading | None = IDLE) -> None:
    """The device's report comes in."""
    job = fleet.store.profiling.get(job_id)
    net = NetTime("", "", P50_US - 5, P50_US, P50_US + 2, 4.0, 200)
    busy = Reading(BUSY_MW, "rapl", "package")
    came = report(job, nets=[net], rss_bytes=RSS_BYTES, idle_mw=idle, busy_mw=busy)
    refused = fleet.store.profiling.receive("pi", fleet.store.now_ms(), came)
    assert refused is None


def test_a_candidate_is_released_rolled_out_to_that_one_device_and_profiled_there(
    fleet: Fleet, pi: StoryDevice
) -> None:
    fleet.enrol("other")
    asked = look(fleet, ask(fleet, searching(fleet)))
    assert asked.state == "rolling_out" and asked.rollout is not None
    assert [one.device for one in fleet.rollout(asked.rollout).devices] == ["pi"]
    pi.commit()
    asked = look(fleet, asked)
    assert asked.state == "profiling" and asked.job is not None
    assert (pi.running, fleet.store.profiling.get(asked.job).digest) == (asked.digest, asked.digest)
    measure(fleet, asked.job)
    asked = look(fleet, asked)
    assert asked.state == "done" and asked.figures is not None
    figures = msgspec.convert(asked.figures, Figures)
    assert (figures.latency_us, figures.latency_basis) == (P50_US, "device")
    assert (figures.memory_bytes, figures.memory_basis) == (RSS_BYTES, "device")
    assert figures.energy_mj == pytest.approx((BUSY_MW - IDLE_MW) * P50_US * 1e-6), "as it is predicted"


@pytest.mark.parametrize(
    ("why", "idle"),
    [
        ("it cannot tell what it draws idle", None),
        ("idle is of another sensor", Reading(IDLE_MW, "ina3221", "board")),
        ("it drew no more than idle", Reading(BUSY_MW, "rapl", "package")),
    ],
)
def test_energy_that_cannot_be_told_from_idle_power_is_absent(
    fleet: Fleet, pi: StoryDevice, why: str, idle: Reading | None
) -> None:
    asked = look(fleet, ask(fleet, searching(fleet)))
    pi.commit()
    asked = look(fleet, asked)
    assert asked.job is not None
    measure(fleet, asked.job, idle)
    asked = look(fleet, asked)
    assert asked.figures is not None and asked.figures["latency_us"] == P50_US
    assert "energy_mj" not in asked.figures and "energy_basis" not in asked.figures, why


def test_the_device_gets_back_what_it_ran_when_the_search_has_ended(fleet: Fleet, pi: StoryDevice) -> None:
    before = pi.running
    seat = searching(fleet)
    asked = look(fleet, ask(fleet, seat))
    pi.commit()
    assert pi.running == asked.digest
    fleet.store.searches.finish(seat, Outcome(front=[], best=None, nearest=None), [])
    look(fleet, asked)
    pi.commit()
    assert pi.running == before
    assert fleet.store.search_measurements.borrowed() == []


def test_of_two_searches_on_a_device_the_last_gives_back_what_ran_before_both(
    fleet: Fleet, pi: StoryDevice
) -> None:
    before = pi.running
    first = searching(fleet)
    look(fleet, ask(fleet, first, "of the first"))
    pi.commit()
    fleet.store.searches.submit(
        model=MODEL, profile="x86-pc", dataset=None, budget={"latency_us": 400.0},
        options={"device": "pi"}, actor="ada",
    )  # fmt: skip
    second = fleet.store.searches.join("w2")
    assert second is not None and second.search != first.search
    asked = look(fleet, ask(fleet, second, "of the second"))
    pi.commit()
    for seat in (first, second):
        fleet.store.searches.finish(seat, Outcome(front=[], best=None, nearest=None), [])
        look(fleet, asked)
        pi.commit()
    assert pi.running == before


def test_a_device_that_was_told_something_else_since_keeps_that(fleet: Fleet, pi: StoryDevice) -> None:
    seat = searching(fleet)
    asked = look(fleet, ask(fleet, seat))
    pi.commit()
    look(fleet, asked)
    newer = fleet.artifact("newer")
    fleet.roll_out(fleet.release(newer), devices=["pi"])
    fleet.settle()
    pi.commit()
    fleet.store.searches.finish(seat, Outcome(front=[], best=None, nearest=None), [])
    look(fleet, asked)
    want = fleet.store.wants.find("pi")
    assert want is not None and want.digest == newer


def test_a_device_that_goes_away_is_not_waited_for_and_its_rollout_is_taken_back(
    fleet: Fleet, pi: StoryDevice, clock: Clock
) -> None:
    asked = look(fleet, ask(fleet, searching(fleet)))
    pi.report("fetching", online=False)
    clock.forward(AWAY_MS // 2)
    assert look(fleet, asked).state == "rolling_out"
    clock.forward(AWAY_MS)
    asked = look(fleet, asked)
    assert (asked.state, asked.away) == ("failed", True)
    assert "pi went away" in asked.message
    assert asked.rollout is not None and fleet.rollout(asked.rollout).state == "aborted"


def test_a_device_that_does_not_come_to_an_end_is_given_up(
    fleet: Fleet, pi: StoryDevice, clock: Clock
) -> None:
    asked = look(fleet, ask(fleet, searching(fleet)))
    clock.forward(GIVE_UP_MS + 1)
    asked = look(fleet, asked)
    assert (asked.state, asked.away) == ("failed", True) and "15 minutes" in asked.message


def test_a_candidate_that_the_device_rejects_says_why(fleet: Fleet, pi: StoryDevice) -> None:
    asked = look(fleet, ask(fleet, searching(fleet)))
    pi.fail(reason="its answers differ")
    asked = look(fleet, asked)
    assert (asked.state, asked.away) == ("failed", False)
    assert "its answers differ" in asked.message


def test_cancelling_the_search_ends_what_was_begun_on_the_device(fleet: Fleet, pi: StoryDevice) -> None:
    seat = searching(fleet)
    asked = look(fleet, ask(fleet, seat))
    fleet.store.searches.cancel(seat.search, actor="ada")
    asked = look(fleet, asked)
    assert (asked.state, asked.message) == ("failed", "The search ended.")


def test_asking_again_after_a_crash_goes_on_with_what_was_begun(fleet: Fleet, pi: StoryDevice) -> None:
    seat = searching(fleet)
    first = look(fleet, ask(fleet, seat))
    again = ask(fleet, seat)
    assert (again.state, again.rollout) == (first.state, first.rollout)


def test_the_process_waits_for_the_figures_and_asks_no_more_of_a_device_that_left(
    fleet: Fleet, pi: StoryDevice
) -> None:
    import threading

    from edgepress_server.jobs import measure as module

    seat = searching(fleet)

    def propose(trials: Sequence[Trial]) -> Trial:
        return Trial(number=len(trials), recipe={"name": "none"}, title="as it is")

    trial = fleet.store.search_trials.claim(seat, propose)
    assert trial is not None
    measurements = module.Measurements(fleet.store, seat, "pi", threading.Event())
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(measurements(trial, b"candidate" * 9000)))
    waiting.start()
    digest = fleet.store.blobs.put(b"candidate" * 9000)
    deadline = threading.Event()
    while not (asked := fleet.store.search_measurements.of(seat.search)):
        deadline.wait(0.02)
    assert fleet.store.artifacts.get(digest).recipe.startswith("search-")
    fleet.store.search_measurements.move(asked[0], "failed", message="pi went away.", away=True)
    waiting.join(10)
    assert found == [None]
    assert measurements(trial, b"another") is None, "it is not asked again"

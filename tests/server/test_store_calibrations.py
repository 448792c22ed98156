"""Calibrations: which one holds, what becomes of the others, and when a profile is fitted anew."""

import msgspec
import pytest
from fleet_story import Fleet
from profiling_story import calibration, report, send
from server_story import START_MS, Clock

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import Histogram, Sample, TelemetryBatch
from edgepress_server.errors import ConflictError
from edgepress_server.store import Store, artifact_predictions
from edgepress_server.store.artifact_predictions import Predicted
from edgepress_server.store.calibrations import CalibrationRow, basis_of
from edgepress_server.store.refits import LEASE_MS, MAX_ATTEMPTS, Refit
from edgepress_server.store.telemetry import Received

PROFILE = "x86-pc"


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    made = Fleet(store, clock)
    made.enrol("one", "two")
    return made


def put(store: Store, error: float, *, activate: bool = True) -> CalibrationRow:
    return store.calibrations.put(
        PROFILE,
        calibration(error),
        basis=basis_of(store.profiles.resolve(PROFILE)),
        reports=[1],
        error_before=None,
        error_after=error,
        message=f"prediction error {100 * error:.0f} %",
        activate=activate,
    )


def measure(fleet: Fleet, device: str = "one", seconds: int = 30, number: int = 1) -> None:
    job = fleet.store.profiling.request(device, "device", seconds, None)
    send(fleet, device, report(job), number=number)


def take(fleet: Fleet, worker: str = "w") -> Refit:
    refit = fleet.store.refits.take(worker)
    assert refit is not None
    return refit


# --- which one holds -------------------------------------------------------------------------------------


def test_the_active_calibration_is_attached_to_the_profile(store: Store) -> None:
    assert store.profiles.resolve(PROFILE).calibration is None
    put(store, 0.08)
    assert store.profiles.resolve(PROFILE).calibration == calibration(0.08)
    assert {p.id for p in store.profiles.all() if p.calibration is not None} == {PROFILE}
    assert store.calibrations.active(PROFILE) == calibration(0.08)


def test_a_newer_one_replaces_it_and_a_worse_one_is_only_kept(store: Store) -> None:
    put(store, 0.2)
    put(store, 0.1)
    put(store, 0.3, activate=False)
    assert store.calibrations.active(PROFILE) == calibration(0.1)
    assert [row.state for row in store.calibrations.history(PROFILE)] == ["kept", "active", "replaced"]
    event = store.events.newest(1)[0]
    assert (event.kind, event.subject, event.action) == ("profile", PROFILE, "calibration kept")
    assert event.data["message"] == "prediction error 30 %"


def test_reverting_goes_back_one_by_one_to_the_datasheet(store: Store) -> None:
    put(store, 0.2)
    put(store, 0.1)
    before = store.calibrations.revert(PROFILE, actor="ada")
    assert before is not None and before.error_after == 0.2
    assert store.calibrations.revert(PROFILE, actor="ada") is None
    assert store.profiles.resolve(PROFILE).calibration is None
    with pytest.raises(ConflictError, match="has no calibration that could be reverted"):
        store.calibrations.revert(PROFILE, actor="ada")
    assert {row.state for row in store.calibrations.history(PROFILE)} == {"reverted"}


def test_a_calibration_holds_only_beside_the_figures_it_was_fitted_to(store: Store) -> None:
    put(store, 0.1)
    text = 'id = "x86-pc"\nname = "ours"\ninherits = "x86-pc"\n[cpu]\nmodel = "ours"\nmachine = "x86_64"\n'
    text += 'isa = "AVX2"\ncores = 2\nclock_mhz = 2000\nthreads = 2\n'
    text += 'source = "its own label"\nbasis = "datasheet"\n'
    store.profiles.put(PROFILE, text, actor=None)
    assert store.profiles.resolve(PROFILE).calibration is None
    store.profiles.delete(PROFILE, actor=None)
    assert store.profiles.resolve(PROFILE).calibration is not None


# --- when a profile is fitted ----------------------------------------------------------------------------


def test_a_new_report_makes_its_profile_due_once(fleet: Fleet) -> None:
    assert fleet.store.refits.take("w") is None
    measure(fleet)
    refit = take(fleet)
    assert (refit.profile, refit.reports, refit.fit_due) == (PROFILE, (1,), True)
    assert fleet.store.refits.take("other") is None  # somebody is at it
    assert not fleet.store.refits.settled(PROFILE)
    fleet.store.refits.finish(refit)
    assert fleet.store.refits.take("w") is None
    assert fleet.store.refits.settled(PROFILE)
    measure(fleet, "two")
    assert take(fleet).reports == (1, 2)


def test_a_device_that_is_revoked_or_changes_its_profile_makes_it_due_again(fleet: Fleet) -> None:
    measure(fleet)
    measure(fleet, "two")
    fleet.store.refits.finish(take(fleet))
    fleet.store.devices.revoke("two", actor=None)
    again = take(fleet)
    assert again.reports == (1,)
    fleet.store.refits.finish(again)
    fleet.store.devices.change("one", profile="raspberry-pi-4", actor=None)
    moved = take(fleet)
    assert (moved.profile, moved.reports) == ("raspberry-pi-4", (1,))
    fleet.store.refits.finish(moved)
    assert fleet.store.refits.take("w") is None  # nothing is left to fit x86-pc to: what it has stays


def test_why_a_fit_gave_nothing_is_kept_and_said(fleet: Fleet) -> None:
    measure(fleet)
    fleet.store.refits.finish(take(fleet), "Every device was rejected.")
    last = fleet.store.refits.last(PROFILE)
    assert last is not None and (last.running, last.message) == (False, "Every device was rejected.")
    event = fleet.store.events.newest(1)[0]
    assert (event.action, event.data["message"]) == ("calibration failed", "Every device was rejected.")


def test_a_fit_that_crashes_is_tried_again_and_then_given_up(fleet: Fleet) -> None:
    measure(fleet)
    for _ in range(MAX_ATTEMPTS):
        fleet.store.refits.interrupted(take(fleet), "Its process was killed.")
    assert fleet.store.refits.take("w") is None
    last = fleet.store.refits.last(PROFILE)
    assert (
        last is not None
        and last.message == "Its process was killed. It was tried 3 times and is not tried again."
    )
    measure(fleet, seconds=60, number=2)  # something new: another try
    assert take(fleet).attempt == 1


def test_a_worker_that_died_is_not_waited_for_longer_than_its_lease(fleet: Fleet, clock: Clock) -> None:
    measure(fleet)
    lost = take(fleet, "dead")
    clock.forward(LEASE_MS)
    taken = take(fleet, "alive")
    assert (taken.worker, taken.attempt) == ("alive", 2)
    with pytest.raises(ConflictError):
        fleet.store.refits.finish(lost)
    fleet.store.refits.interrupted(lost, "x")  # nobody's business any more
    fleet.store.refits.finish(taken)


# --- prediction errors -----------------------------------------------------------------------------------


def latencies(value_us: float, count: int) -> Histogram | None:
    recorder = LatencyRecorder()
    recorder.record(value_us, count)
    return recorder.take()


def test_what_runs_is_predicted_once_for_each_state_of_the_profile(fleet: Fleet) -> None:
    one = fleet.devices["one"]
    digest = fleet.artifact("v1")
    one.running = digest
    one.report("committed")
    refit = take(fleet)
    assert (refit.predict, refit.fit_due) == ((digest,), False)
    fleet.store.artifact_predictions.put(
        PROFILE, digest, fleet.store.refits.identity(PROFILE), Predicted(80.0, "datasheet", 1.0)
    )
    fleet.store.refits.finish(refit)
    assert fleet.store.refits.take("w") is None
    put(fleet.store, 0.1)
    assert take(fleet).predict == (digest,)


def test_predictions_that_were_made_before_a_crash_outlive_the_giving_up(fleet: Fleet) -> None:
    made, missing = fleet.artifact("v1"), fleet.artifact("v2")
    for name, digest in (("one", made), ("two", missing)):
        fleet.devices[name].running = digest
        fleet.devices[name].report("committed")
    for _ in range(MAX_ATTEMPTS - 1):
        fleet.store.refits.interrupted(take(fleet), "Its process was killed.")
    last = take(fleet)
    assert set(last.predict) == {made, missing}
    identity = fleet.store.refits.identity(PROFILE)
    fleet.store.artifact_predictions.put(PROFILE, made, identity, Predicted(80.0, "datasheet", 1.0))
    fleet.store.refits.interrupted(last, "Its process was killed.")
    kept = fleet.store.database.rows("SELECT digest, latency_us FROM artifact_predictions")
    assert {row["digest"]: row["latency_us"] for row in kept} == {made: 80.0, missing: None}
    assert fleet.store.refits.take("w") is None


def test_a_profile_that_goes_by_anothers_calibration_is_predicted_anew_with_it(store: Store) -> None:
    heir = 'id = "office-pc"\nname = "Office"\ninherits = "x86-pc"\n'
    store.profiles.put("office-pc", heir, actor=None)
    before = store.refits.identity("office-pc")
    put(store, 0.1)
    assert store.profiles.resolve("office-pc").calibration is not None
    assert store.refits.identity("office-pc") != before


def test_errors_compare_predictions_with_the_median_of_what_the_fleet_measures(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = fleet.artifact("v1")
    fleet.store.artifact_predictions.put(PROFILE, digest, "now", Predicted(80.0, "calibration", 0.1))
    for device in ("one", "two"):
        sample = Sample(
            at_ms=START_MS,
            interval_ms=1000,
            artifact=digest,
            inferences=30,
            latency_us=latencies(100.0, 30),
        )
        batch = TelemetryBatch(v=1, epoch="e", number=1, samples=[sample])
        fleet.store.telemetry.store([Received(device, START_MS, batch)])
    (found,) = fleet.store.calibrations.errors(PROFILE)
    assert (found.devices, found.inferences, found.basis) == (2, 60, "calibration")
    assert found.error == pytest.approx(-0.2, abs=0.02)
    monkeypatch.setattr(artifact_predictions, "DEVICES_MAX", 1)
    monkeypatch.setattr(artifact_predictions, "INFERENCES_MIN", 1)
    (found,) = fleet.store.calibrations.errors(PROFILE)
    assert found.devices == 1, "of a large fleet not every device is asked"
    fleet.clock.forward(3 * 3600 * 1000)
    assert fleet.store.calibrations.errors(PROFILE) == []


def test_a_stored_calibration_is_read_back_as_it_was(store: Store) -> None:
    row = put(store, 0.1)
    assert store.calibrations.history(PROFILE) == [row]
    assert msgspec.json.encode(row.calibration) == msgspec.json.encode(calibration(0.1))


def test_a_calibration_of_another_version_is_as_if_it_were_not_there(store: Store) -> None:
    put(store, 0.1)
    with store.transaction() as connection:
        connection.execute("UPDATE calibrations SET calibration = '{\"version\": 99}'")
    assert store.profiles.resolve(PROFILE).calibration is None
    assert store.calibrations.history(PROFILE) == []
    put(store, 0.2)
    assert store.calibrations.active(PROFILE) == calibration(0.2)

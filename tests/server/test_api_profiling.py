"""Profiling jobs and calibrations over the API: asked, followed, read, reverted; who may, what is refused."""

import pytest
from fleet_story import Fleet
from profiling_story import calibration, report, send
from server_story import Browser, Clock

from edgepress_devices.microbench.nets import NAMES
from edgepress_devices.protocol import ProfilingState
from edgepress_server.store import Store
from edgepress_server.store.calibrations import basis_of

PROFILE = "x86-pc"


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    made = Fleet(store, clock)
    made.enrol("one", "two")
    return made


def put(store: Store, error: float) -> None:
    store.calibrations.put(
        PROFILE,
        calibration(error),
        basis=basis_of(store.profiles.resolve(PROFILE)),
        reports=[],
        error_before=0.5,
        error_after=error,
        message="Calibrated.",
        activate=True,
    )


def test_a_device_is_asked_and_its_report_read(fleet: Fleet, operator: Browser) -> None:
    job = operator.post("/devices/one/profiling", {"what": "device", "seconds": 30}, 201)
    assert (job["state"], job["profile"], job["actor"]) == ("queued", PROFILE, "operator")
    assert operator.post("/devices/one/profiling", {"seconds": 30}, 201)["id"] == job["id"]
    fleet.settle()
    fleet.store.profiling.heard("one", ProfilingState(job["id"], "running", 43))
    assert operator.get(f"/profiling/{job['id']}")["percent"] == 43
    fleet.devices["one"].report("idle", online=False)
    assert (
        operator.get(f"/profiling/{job['id']}")["message"] == "one went away at 43 %; the job waits for it."
    )
    send(fleet, "one", report(fleet.store.profiling.get(job["id"])))
    found = operator.get(f"/profiling/{job['id']}")
    assert (found["state"], found["message"]) == ("done", "")
    assert len(found["report"]["nets"]) == len(NAMES) == found["report"]["kernel_count"]
    assert found["report"]["kernels"] is None and found["report"]["idle_mw"]["method"] == "ina3221"
    assert len(operator.get(f"/profiling/{job['id']}?kernels=true")["report"]["kernels"]) == len(NAMES)


def test_jobs_are_listed_by_device_and_by_profile(fleet: Fleet, operator: Browser) -> None:
    fleet.enrol("pi", profile="raspberry-pi-4")
    for name in ("one", "two", "pi"):
        operator.post(f"/devices/{name}/profiling", {}, 201)
    listed = lambda query: [job["device"] for job in operator.get(f"/profiling{query}")]  # noqa: E731
    assert listed("") == ["pi", "two", "one"]
    assert listed("?device=two") == ["two"]
    assert listed(f"?profile={PROFILE}") == ["two", "one"]


def test_a_job_is_cancelled_once(fleet: Fleet, operator: Browser) -> None:
    job = operator.post("/devices/one/profiling", {}, 201)
    assert operator.post(f"/profiling/{job['id']}/cancel")["state"] == "cancelled"
    assert operator.refused(operator.post("/profiling/none/cancel", status=404)) == "profiling_unknown"


def test_what_cannot_be_asked_is_said(fleet: Fleet, operator: Browser, viewer: Browser) -> None:
    ask = "/devices/one/profiling"
    assert operator.refused(operator.post("/devices/none/profiling", {}, 404)) == "device_unknown"
    assert operator.refused(operator.post(ask, {"what": "model"}, 409)) == "device_runs_nothing"
    operator.post(ask, {"seconds": 2}, 400)
    operator.post(ask, {"expires_s": 1}, 400)
    assert viewer.refused(viewer.post(ask, {}, 403)) == "role"
    assert viewer.get("/profiling") == []


def test_a_profile_says_what_it_is_calibrated_to(store: Store, viewer: Browser) -> None:
    path = f"/profiles/{PROFILE}/calibration"
    assert viewer.get(path) == {
        "profile": PROFILE,
        "active": None,
        "newest": None,
        "stale": False,
        "pending": False,
        "fit": None,
        "errors": [],
    }
    put(store, 0.08)
    found = viewer.get(path)
    active = found["active"]
    assert found["newest"] == active
    assert (active["devices"], active["error_before"], active["error_after"]) == (["one"], 0.5, 0.08)
    assert [kind["kind"] for kind in active["kinds"]] == ["MaxPool fp32", "pointwise fp32"]
    pool, pointwise = active["kinds"]
    assert pool["operations_per_us"] is None and pointwise["datasheet_operations_per_us"] == 480_000
    viewer.get("/profiles/none/calibration", 404)


def test_reports_that_wait_for_their_fit_are_said(fleet: Fleet, viewer: Browser) -> None:
    job = fleet.store.profiling.request("one", "device", 30, None)
    send(fleet, "one", report(job))
    assert viewer.get(f"/profiles/{PROFILE}/calibration")["pending"] is True
    refit = fleet.store.refits.take("w")
    assert refit is not None
    assert viewer.get(f"/profiles/{PROFILE}/calibration")["fit"]["running"] is True
    fleet.store.refits.finish(refit, "No report can be believed.")
    found = viewer.get(f"/profiles/{PROFILE}/calibration")
    assert (found["pending"], found["fit"]["message"]) == (False, "No report can be believed.")


def test_operators_revert_and_the_history_stays(store: Store, operator: Browser, viewer: Browser) -> None:
    put(store, 0.2)
    put(store, 0.1)
    path = f"/profiles/{PROFILE}/calibration"
    viewer.delete(path, 403)
    assert operator.delete(path)["active"]["error_after"] == 0.2
    assert operator.delete(path)["active"] is None
    assert operator.refused(operator.delete(path, 409)) == "not_calibrated"
    history = operator.get(f"/profiles/{PROFILE}/calibrations")
    assert [(row["state"], row["actor"]) for row in history] == [("reverted", "operator")] * 2
    operator.delete("/profiles/none/calibration", 404)

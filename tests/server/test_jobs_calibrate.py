"""Fits of profiles: planted devices are found again, worse fits are not used, liars are named."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet_story import Fleet
from planted_device import planted
from profiling_story import send
from server_story import Clock

from edgepress_devices.protocol import ProfilingReport
from edgepress_server.jobs.calibrate import calibrate
from edgepress_server.jobs.refits import Refitter
from edgepress_server.settings import Settings
from edgepress_server.store import Store, open_store
from edgepress_server.store.calibrations import CalibrationRow
from edgepress_server.store.refits import Refit

PROFILE = "x86-pc"


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    made = Fleet(store, clock)
    made.enrol("one", "two", "three")
    return made


def measure(fleet: Fleet, device: str, number: int = 1, seconds: int = 30, **how: Any) -> ProfilingReport:
    job = fleet.store.profiling.request(device, "device", seconds, None)
    report = planted(job, **how)
    send(fleet, device, report, number=number)
    assert fleet.store.profiling.get(job.id).state == "done"
    return report


def fit_now(fleet: Fleet) -> CalibrationRow | None:
    refit = fleet.store.refits.take("w")
    assert refit is not None and refit.fit_due
    return calibrate(fleet.store, refit)


def test_what_a_device_sustains_is_found_and_said_beside_the_datasheets_error(fleet: Fleet) -> None:
    measure(fleet, "one")
    row = fit_now(fleet)
    assert row is not None and row.state == "active"
    pointwise = row.calibration.kinds["pointwise nchwc fp32"]
    assert pointwise.operations_per_us == pytest.approx(4e4, rel=0.25)
    assert row.error_after < 0.1
    assert row.error_before is not None and row.error_before > 0.5  # a desktop's datasheet promises 480 Gop/s
    assert (
        row.message.startswith("Calibrated: prediction error ")
        and "on nets left out of the fit (1 device)" in row.message
    )
    assert fleet.store.profiles.resolve(PROFILE).calibration == row.calibration
    assert fleet.store.refits.settled(PROFILE)


def test_a_device_that_changed_is_followed_as_the_old_figures_no_longer_predict_it(fleet: Fleet) -> None:
    measure(fleet, "one")
    fit_now(fleet)
    measure(fleet, "one", 2, 60, slower=1.5, seed=2)
    row = fit_now(fleet)
    assert row is not None and row.state == "active"
    assert row.error_before is not None and row.error_before > 0.25 and row.error_after < 0.1
    assert row.message.startswith("Calibrated anew: prediction error ")
    assert row.calibration.kinds["pointwise nchwc fp32"].operations_per_us == pytest.approx(
        4e4 / 1.5, rel=0.25
    )


def test_a_fit_that_predicts_worse_on_the_same_nets_is_kept_and_not_used(fleet: Fleet) -> None:
    measure(fleet, "one", noise=0.01)
    good = fit_now(fleet)
    measure(fleet, "one", 2, 60, blurred=True)
    row = fit_now(fleet)
    assert good is not None and row is not None
    assert row.state == "kept"
    assert row.error_before is not None and row.error_before < row.error_after
    assert row.message.startswith("Not used, as the calibration before predicts better:")
    assert fleet.store.calibrations.active(PROFILE) == good.calibration
    assert fleet.store.refits.settled(PROFILE)


def test_one_of_three_that_lies_is_left_out_and_named(fleet: Fleet) -> None:
    measure(fleet, "one", seed=1)
    measure(fleet, "two", seed=2, slower=1.1)
    measure(fleet, "three", seed=3, slower=4.0)
    row = fit_now(fleet)
    assert row is not None and row.calibration.devices == ["one", "two"]
    assert [one.device for one in row.calibration.rejected] == ["three"]
    assert row.message.endswith("(2 devices); left out: three.")
    event = fleet.store.events.newest(1)[0]
    assert event.data["rejected"][0]["device"] == "three" and "times" in event.data["rejected"][0]["reason"]


def test_times_that_no_such_device_can_have_give_no_calibration_and_say_so(fleet: Fleet) -> None:
    measure(fleet, "one", slower=0.001)
    assert fit_now(fleet) is None
    last = fleet.store.refits.last(PROFILE)
    assert last is not None and "faster than the datasheet's peak" in last.message and "one" in last.message
    assert fleet.store.profiles.resolve(PROFILE).calibration is None
    assert fleet.store.refits.take("w") is None  # not tried again before something new comes


# --- the worker's child ----------------------------------------------------------------------------------

CHILD = """
import os, pathlib, signal, sys, threading
from edgepress_server.store import open_store
from edgepress_server.jobs.child_process import die_with_pipe
die_with_pipe()
data_dir, profile, worker, attempt, behaviour = sys.argv[1:]
store = open_store(pathlib.Path(data_dir))
refit = store.refits.held(profile, worker, int(attempt))
if behaviour == "finish":
    store.refits.finish(refit)
elif behaviour == "crash":
    os.kill(os.getpid(), signal.SIGKILL)
else:
    threading.Event().wait()
"""


class Children:
    def __init__(self) -> None:
        self.behaviour = "finish"
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, settings: Settings, refit: Refit) -> subprocess.Popen[bytes]:
        words = [str(settings.data_dir), refit.profile, refit.worker, str(refit.attempt), self.behaviour]
        child = subprocess.Popen([sys.executable, "-c", CHILD, *words], stdin=subprocess.PIPE)
        self.started.append(child)
        return child


@pytest.fixture
def real(tmp_path: Path) -> Iterator[Fleet]:
    """On the true clock, as the children are."""
    store = open_store(tmp_path / "real")
    fleet = Fleet(store, store.now_ms)  # type: ignore[arg-type]
    fleet.enrol("one")
    yield fleet
    store.close()


def turn(refitter: Refitter, until: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        refitter._look_due_s = 0.0
        refitter.tick()
        threading.Event().wait(0.02)


def test_a_child_that_finishes_settles_the_profile(real: Fleet) -> None:
    children = Children()
    refitter = Refitter(Settings(data_dir=real.store.data_dir), real.store, "w", children.start)
    measure(real, "one", count=12)
    turn(refitter, lambda: real.store.refits.settled(PROFILE))
    turn(refitter, lambda: refitter._child is None)
    assert len(children.started) == 1
    refitter.stop()


def test_a_child_that_is_killed_is_tried_again_and_given_up_at_last(real: Fleet) -> None:
    children = Children()
    children.behaviour = "crash"
    refitter = Refitter(Settings(data_dir=real.store.data_dir), real.store, "w", children.start)
    measure(real, "one", count=12)
    turn(refitter, lambda: real.store.refits.settled(PROFILE))
    last = real.store.refits.last(PROFILE)
    assert last is not None and "killed" in last.message and "tried 3 times" in last.message
    assert len(children.started) == 3
    refitter.stop()


def test_when_the_server_stops_its_child_ends_and_the_fit_is_due_again(real: Fleet) -> None:
    children = Children()
    children.behaviour = "wait"
    refitter = Refitter(Settings(data_dir=real.store.data_dir), real.store, "w", children.start)
    measure(real, "one", count=12)
    turn(refitter, lambda: children.started)
    refitter.stop()
    assert children.started[0].returncode in (-signal.SIGTERM, 3)
    again = real.store.refits.take("another")
    assert again is not None and again.attempt == 1

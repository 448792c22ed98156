"""A profiling job: decisions, then the thread that follows them, then power cuts between any two writes."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from power_cut import DyingDisk, FullDisk, PowerCut

from edgepress_agent.durable import Disk
from edgepress_agent.errors import ProfilingError
from edgepress_agent.outbox import Outbox
from edgepress_agent.profile_process import ProfileTask
from edgepress_agent.profiling import Profiler, RunningArtifact
from edgepress_agent.profiling_job import (
    Action,
    Begin,
    Drop,
    Fail,
    Nothing,
    ProfilingRecord,
    Take,
    next_action,
    read_profiling_record,
    recovered,
    taken,
)
from edgepress_devices.microbench.nets import PLAN_VERSION
from edgepress_devices.protocol import NetTime, ProfilingJob, ProfilingReport, decode_batch

A, B = "a" * 64, "b" * 64
JOB = ProfilingJob("job-1", plan=PLAN_VERSION)
MODEL = ProfilingJob("job-2", "model", 30, A)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


def at(state: str, job_id: str = "job-1", **fields: Any) -> ProfilingRecord:
    return ProfilingRecord(id=job_id, state=state, **fields)  # type: ignore[arg-type]


# --- decisions --------------------------------------------------------------------------------------------

DECISIONS: list[tuple[str, ProfilingJob | None, ProfilingRecord, bool, str | None, Action]] = [
    ("nothing was ever asked", None, ProfilingRecord(), False, None, Nothing()),
    ("a new job is written down first", JOB, ProfilingRecord(), False, None, Take(JOB)),
    ("also during an installation", JOB, ProfilingRecord(), True, None, Take(JOB)),
    ("it waits for the installation", JOB, at("waiting"), True, None, Nothing()),
    ("then it begins", JOB, at("waiting"), False, None, Begin(JOB)),
    ("a job that is done stays done", JOB, at("done"), False, None, Nothing()),
    ("a job that failed stays failed", JOB, at("failed"), False, None, Nothing()),
    ("one death is forgiven", JOB, at("waiting", starts=1), False, None, Begin(JOB)),
    ("two are not", JOB, at("waiting", starts=2), False, None,
        Fail("the agent died 2 times during this job")),
    ("a finished job that comes again is known", JOB, at("done", "job-9", finished=("job-1",)), False, None,
        Nothing()),
    ("a newer job replaces an open one", MODEL, at("running"), False, A, Take(MODEL)),
    ("a job that is no longer wanted ends", None, at("waiting"), False, None,
        Drop("the server took this job back")),
    ("a job that is done is not taken back", None, at("done"), False, None, Nothing()),
    ("the running artifact is measured", MODEL, at("waiting", "job-2"), False, A, Begin(MODEL)),
    ("another artifact is not", MODEL, at("waiting", "job-2"), False, B,
        Fail("the job is about artifact aaaaaaaaaaaa, this device runs bbbbbbbbbbbb")),
    ("nor is none", MODEL, at("waiting", "job-2"), False, None,
        Fail("the job is about artifact aaaaaaaaaaaa, this device runs no model")),
    ("nets of another plan are not guessed",
        ProfilingJob("job-1", plan=PLAN_VERSION + 1), at("waiting"), False,
        None, Fail(f"this agent knows the calibration nets of plan {PLAN_VERSION}, the job is about plan"
                   f" {PLAN_VERSION + 1}: update the older side")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "job", "record", "held", "running", "expected"), DECISIONS, ids=[row[0] for row in DECISIONS]
)
def test_decision(
    what: str,
    job: ProfilingJob | None,
    record: ProfilingRecord,
    held: bool,
    running: str | None,
    expected: Action,
) -> None:
    assert next_action(job, record, held=held, running=running) == expected


def test_a_report_on_the_disk_makes_an_interrupted_job_done() -> None:
    assert recovered(at("running", starts=1), reported=True) == at("done")
    assert recovered(at("running", starts=1), reported=False) == at("waiting", starts=1)
    assert recovered(at("failed"), reported=True) == at("failed")


@given(st.lists(st.integers(0, 40), max_size=60))
def test_no_job_is_ever_taken_twice_among_the_last_thirty(numbers: list[int]) -> None:
    record = ProfilingRecord()
    last: dict[int, int] = {}
    for when, number in enumerate(numbers):
        job = ProfilingJob(f"job-{number}", plan=PLAN_VERSION)
        if isinstance(next_action(job, record, held=True, running=None), Take):
            assert number not in last or len(set(numbers[last[number] : when])) > 30
            record = taken(record, job)
            last[number] = when


# --- the thread -------------------------------------------------------------------------------------------


def report_of(task: ProfileTask) -> ProfilingReport:
    nets = [NetTime("plain-32", "fp32", 1.0, 1.1, 1.1, 0.01, 9)]
    return ProfilingReport(
        task.id, task.what, PLAN_VERSION, task.digest, "onnxruntime 1", "x86_64", task.threads, nets, []
    )


class Child:
    """A measurement that ends when the test says so, or is killed."""

    def __init__(self, task: ProfileTask, board: "Device") -> None:
        self.task = task
        self._board = board
        Path(task.scratch, "stderr.log").write_bytes(b"")
        self._said = threading.Event()
        self._report: ProfilingReport | None = None
        self.reason = "the measuring process was killed"
        self.killed = False

    def wait(self, progress: Callable[[int], None]) -> ProfilingReport:
        self._board.began(self)
        progress(50)
        self._said.wait()  # for ever, where the test plays an agent that was killed meanwhile
        if self._report is None:
            raise ProfilingError(self.reason)
        return self._report

    def kill(self) -> None:
        self.killed = True
        self._said.set()

    def finish(self, report: ProfilingReport | None = None) -> None:
        self._report = report or report_of(self.task)
        self._said.set()

    def fail(self, reason: str) -> None:
        self.reason = reason
        self._said.set()


class Device:
    """A profiler with its outbox in a folder, as the agent wires them; ``auto`` finishes each job at once."""

    def __init__(
        self, folder: Path, *, disk: Disk | None = None, auto: bool = False, who: str = "me"
    ) -> None:
        self.children: list[Child] = []
        self.running: RunningArtifact | None = RunningArtifact(A, folder / "artifact")
        self.states: list[tuple[str, int]] = []
        self._auto = auto
        self._changed = threading.Condition()
        self.outbox = Outbox(folder, disk or Disk())
        self.profiler = Profiler(
            folder,
            disk=disk or Disk(),
            identity=who,
            threads=2,
            forms=("fp32", "s8"),
            reports=self.outbox.shelf,
            running=lambda: self.running,
            answered=lambda: 3 * len(self.children),
            changed=self._note,
            start=lambda task: Child(task, self),
        )
        self._thread = threading.Thread(target=self.profiler.run, daemon=True)

    def start(self) -> "Device":
        self._thread.start()
        self.profiler.release()
        return self

    def began(self, child: Child) -> None:
        with self._changed:
            self.children.append(child)
            self._changed.notify_all()
        if self._auto:
            child.finish()

    def _note(self) -> None:
        state = self.profiler.state()
        with self._changed:
            if state is not None:
                self.states.append((state.state, state.percent))
            self._changed.notify_all()

    def until(self, what: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(what, 10), (self.states, len(self.children))

    def until_state(self, state: str) -> None:
        def is_so() -> bool:
            now = self.profiler.state()
            return now is not None and now.state == state

        self.until(is_so)

    def until_children(self, count: int) -> Child:
        self.until(lambda: len(self.children) >= count)
        return self.children[count - 1]

    def close(self) -> None:
        self.profiler.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def reports(self) -> list[str]:
        self.outbox.take_reports()
        batches = [decode_batch(self.outbox.payload(name)) for name in self.outbox.batches()]
        return [report.id for batch in batches for report in batch.reports]


@pytest.fixture
def device(tmp_path: Path) -> Any:
    made = Device(tmp_path).start()
    yield made
    made.close()


def test_a_job_runs_is_reported_and_is_done_once(device: Device) -> None:
    device.profiler.wanted(JOB)
    child = device.until_children(1)
    assert (child.task.forms, child.task.threads, child.task.seconds) == (("fp32", "s8"), 2, JOB.seconds)
    device.until(lambda: ("running", 50) in device.states)
    child.finish()
    device.until_state("done")
    device.profiler.wanted(JOB)  # the retained want again
    device.profiler.wanted(None)
    device.profiler.wanted(JOB)
    assert device.reports() == ["job-1"]
    assert len(device.children) == 1


def test_requests_answered_meanwhile_are_told(device: Device) -> None:
    device.profiler.wanted(JOB)
    device.until_children(1).finish()
    device.until_state("done")
    device.outbox.take_reports()
    [batch] = [decode_batch(device.outbox.payload(name)) for name in device.outbox.batches()]
    assert batch.reports[0].inferences == 3


def test_an_installation_interrupts_and_the_job_begins_again_without_blame(device: Device) -> None:
    device.profiler.wanted(JOB)
    for round_number in range(1, 5):  # more often than deaths would be forgiven
        device.until_children(round_number)
        device.profiler.hold()
        assert device.children[-1].killed
        device.until_state("waiting")
        state = device.profiler.state()
        assert state is not None and state.reason == "an installation is under way"
        device.profiler.release()
    device.until_children(5).finish()
    device.until_state("done")
    assert device.reports() == ["job-1"]


def test_a_job_that_is_taken_back_stops(device: Device) -> None:
    device.profiler.wanted(JOB)
    child = device.until_children(1)
    device.profiler.wanted(None)
    device.until_state("failed")
    assert child.killed
    state = device.profiler.state()
    assert state is not None and state.reason == "the server took this job back"
    assert device.reports() == []


def test_a_job_that_is_replaced_stops_and_the_new_one_runs(device: Device) -> None:
    device.profiler.wanted(JOB)
    first = device.until_children(1)
    device.profiler.wanted(MODEL)
    second = device.until_children(2)
    assert first.killed
    assert (second.task.what, second.task.digest) == ("model", A)
    assert second.task.artifact is not None and second.task.artifact.endswith("artifact")
    second.finish()
    device.until_state("done")
    assert device.reports() == ["job-2"]


def test_a_child_that_dies_fails_the_job_with_its_reason_and_the_agent_lives(device: Device) -> None:
    device.profiler.wanted(JOB)
    device.until_children(1).fail("the board ran out of memory")
    device.until_state("failed")
    state = device.profiler.state()
    assert state is not None and state.reason == "the board ran out of memory"
    device.profiler.wanted(MODEL)
    device.until_children(2).finish()
    device.until_state("done")


def test_a_report_about_something_else_is_not_passed_on(device: Device) -> None:
    device.profiler.wanted(JOB)
    child = device.until_children(1)
    child.finish(msgspec.structs.replace(report_of(child.task), id="another"))
    device.until_state("failed")
    assert device.reports() == []


def test_a_want_of_before_the_restart_is_not_needed_for_a_job_to_stay_open(tmp_path: Path) -> None:
    """Between the start and the first want nobody took the job back."""
    first = Device(tmp_path).start()
    first.profiler.wanted(JOB)
    first.until_children(1)
    first.close()
    second = Device(tmp_path).start()
    state = second.profiler.state()
    assert state is not None and state.state == "waiting"
    second.profiler.wanted(JOB)
    second.until_children(1).finish()
    second.until_state("done")
    second.close()
    assert read_profiling_record(tmp_path / "profiling" / "record").starts == 0


def test_two_deaths_of_the_agent_fail_the_job(tmp_path: Path) -> None:
    for deaths in (1, 2):
        device = Device(tmp_path).start()
        device.profiler.wanted(JOB)
        device.until_children(1)
        assert read_profiling_record(tmp_path / "profiling" / "record").starts == deaths
        # kill -9: nothing is written any more; the thread of this test's process is left where it waits
    device = Device(tmp_path).start()
    device.profiler.wanted(JOB)
    device.until_state("failed")
    state = device.profiler.state()
    assert state is not None and state.reason == "the agent died 2 times during this job"
    device.close()


def test_another_identity_knows_nothing_of_the_job(tmp_path: Path) -> None:
    first = Device(tmp_path, auto=True).start()
    first.profiler.wanted(JOB)
    first.until_state("done")
    first.close()
    second = Device(tmp_path, auto=True, who="somebody else")
    assert second.profiler.state() is None


def test_a_full_disk_is_said_and_ends_nothing(tmp_path: Path) -> None:
    disk = FullDisk()
    device = Device(tmp_path, disk=disk).start()
    disk.full = True
    device.profiler.wanted(JOB)
    device.until(lambda: device.profiler._trouble is not None)
    disk.full = False
    device.profiler.wanted(MODEL)  # any news makes it try again
    device.until_children(1).finish()
    device.until_state("done")
    device.close()


# --- power cuts -------------------------------------------------------------------------------------------


def lived(folder: Path, at_half_change: int | None) -> tuple[bool, int]:
    """One life of a device that is asked for the job; (whether the power was cut, half changes made)."""
    disk = DyingDisk(at_half_change)
    try:
        device = Device(folder, disk=disk, auto=True)
        device.profiler.wanted(JOB)
        device.profiler.release()
        while device.profiler._step():
            pass
        device.outbox.take_reports()
    except PowerCut:
        return True, disk.count
    return False, disk.count


def test_a_power_cut_at_any_moment_leaves_one_report_or_a_job_that_is_done_again(tmp_path: Path) -> None:
    _, changes = lived(tmp_path / "whole", None)
    assert changes > 10
    for moment in range(changes):
        folder = tmp_path / str(moment)
        was_cut, _ = lived(folder, moment)
        assert was_cut
        assert lived(folder, None)[0] is False
        after = Device(folder, auto=True)
        state = after.profiler.state()
        assert state is not None and state.state == "done", moment
        assert after.reports() == ["job-1"], moment
        assert not (folder / "profiling" / "scratch").exists()

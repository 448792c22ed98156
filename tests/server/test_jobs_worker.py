"""The worker with real processes: progress, cancel, crash, kill -9, stop.

The children here are small scripts that speak to the store as compress_child does; the last tests run the
real one.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx_files import tiny_npz, tiny_onnx

from edgepress_compression.artifact.read import decode
from edgepress_server.jobs import child_process
from edgepress_server.jobs import worker as worker_module
from edgepress_server.jobs.worker import Worker, run_worker, start_child
from edgepress_server.settings import Settings
from edgepress_server.store import Store, open_store
from edgepress_server.store.jobs import Job
from edgepress_server.store.models import ModelFacts
from edgepress_server.trust.keys import create_keys_if_missing

CHILD = """
import os, pathlib, signal, sys, threading, time
from edgepress_server.store import open_store
from edgepress_server.store.jobs import Result
from edgepress_server.jobs.child_process import die_with_pipe
die_with_pipe()
data_dir, job_id, behaviour = sys.argv[1:]
store = open_store(pathlib.Path(data_dir))
job = store.jobs.get(job_id)
store.jobs.report_progress(job, 0.5, "prune", f"pid {os.getpid()}")
if behaviour == "finish":
    store.jobs.finish(job, Result(store.blobs.put(b"artifact"), 8, {}))
elif behaviour == "crash":
    os.kill(os.getpid(), signal.SIGKILL)
elif behaviour == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    store.jobs.report_progress(job, 0.6, "deaf", f"pid {os.getpid()}")
    threading.Event().wait()
else:
    threading.Event().wait()
"""


def wait_for(what: str, ready: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := ready()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        threading.Event().wait(0.02)
    return value


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"


class Running:
    """A worker in a thread, whose children behave as told, one behaviour an attempt."""

    def __init__(self, store: Store, behaviours: list[str]) -> None:
        self.store = store
        self.settings = Settings(data_dir=store.data_dir)
        self.stop = threading.Event()
        self.children: list[subprocess.Popen[bytes]] = []
        self._behaviours = behaviours
        keys = create_keys_if_missing(self.settings.keys_dir)
        self.worker = Worker(self.settings, store, keys, self._start)
        self._thread = threading.Thread(target=self.worker.run, args=(self.stop,))
        self._thread.start()

    def _start(self, settings: Settings, job: Job) -> "subprocess.Popen[bytes]":
        behaviour = self._behaviours[min(len(self.children), len(self._behaviours) - 1)]
        command = [sys.executable, "-c", CHILD, str(settings.data_dir), job.id, behaviour]
        child = subprocess.Popen(command, stdin=subprocess.PIPE)
        self.children.append(child)
        return child

    def close(self) -> None:
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def wall_store(tmp_path: Path) -> Iterator[Store]:
    """A store on the real clock, with a model."""
    made = open_store(tmp_path / "server")
    facts = ModelFacts(len(tiny_onnx()), 48, 12, 12, [], [])
    made.models.add("tiny", made.blobs.put(tiny_onnx()), facts, None, actor=None)
    yield made
    made.close()


@pytest.fixture
def run(wall_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Running]]:
    monkeypatch.setattr(worker_module, "POLL_S", 0.02)
    started: list[Running] = []

    def start(*behaviours: str) -> Running:
        started.append(Running(wall_store, list(behaviours)))
        return started[-1]

    yield start
    for one in started:
        one.close()


def submit(store: Store, **change: Any) -> str:
    wish = {"model": "tiny", "recipe": "none", "profile": "raspberry-pi-4", "dataset": None, "actor": None}
    return store.jobs.submit(**{**wish, **change}).id  # type: ignore[arg-type]


def ended(store: Store, job_id: str) -> Callable[[], Job | None]:
    def look() -> Job | None:
        job = store.jobs.get(job_id)
        return job if job.state not in ("queued", "running") else None

    return look


def at_work(store: Store, job_id: str, step: str = "prune") -> Callable[[], int | None]:
    """The pid of the child that works on the job now."""

    def look() -> int | None:
        job = store.jobs.get(job_id)
        is_there = job.state == "running" and job.step == step
        return int(job.message.removeprefix("pid ")) if is_there else None

    return look


def test_a_job_is_taken_and_finished_and_the_worker_gives_signs_of_life(
    wall_store: Store, run: Callable[..., Running]
) -> None:
    job_id = submit(wall_store)
    run("finish")
    assert wait_for("the end", ended(wall_store, job_id)).state == "done"
    assert wall_store.facts.role("worker") is not None


def test_a_crash_is_tried_again(wall_store: Store, run: Callable[..., Running]) -> None:
    job_id = submit(wall_store)
    run("crash", "finish")
    job = wait_for("the end", ended(wall_store, job_id))
    assert (job.state, job.attempts) == ("done", 2)


def test_three_crashes_are_a_failure_with_a_reason(wall_store: Store, run: Callable[..., Running]) -> None:
    job_id = submit(wall_store)
    running = run("crash")
    job = wait_for("the end", ended(wall_store, job_id))
    assert (job.state, len(running.children)) == ("failed", 3)
    assert "killed, most likely because the server ran out of memory" in job.message
    assert wall_store.artifacts.list() == []


@pytest.mark.parametrize("behaviour", ["wait", "deaf"])
def test_cancelling_ends_the_process(
    wall_store: Store, run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    monkeypatch.setattr(child_process, "TERMINATE_S", 0.2)
    job_id = submit(wall_store)
    run(behaviour)
    pid = wait_for("the child", at_work(wall_store, job_id, "deaf" if behaviour == "deaf" else "prune"))
    wall_store.jobs.cancel(job_id, actor="ada")
    assert wait_for("the end", ended(wall_store, job_id)).state == "cancelled"
    assert not alive(pid)


def test_an_orderly_stop_gives_the_job_back(wall_store: Store, run: Callable[..., Running]) -> None:
    job_id = submit(wall_store)
    running = run("wait")
    pid = wait_for("the child", at_work(wall_store, job_id))
    running.close()
    job = wall_store.jobs.get(job_id)
    assert (job.state, job.attempts) == ("queued", 0)
    assert not alive(pid)


def test_a_lost_lease_ends_the_process_and_leaves_the_job_to_its_new_holder(
    wall_store: Store, run: Callable[..., Running]
) -> None:
    job_id = submit(wall_store)
    run("wait")
    pid = wait_for("the child", at_work(wall_store, job_id))
    with wall_store.transaction() as connection:  # as if the lease had lapsed and another had taken it
        connection.execute("UPDATE jobs SET worker = 'other', attempts = 2 WHERE id = ?", (job_id,))
    wall_store.jobs.cancel(job_id, actor="ada")
    wait_for("the child's end", lambda: not alive(pid))
    assert wall_store.jobs.get(job_id).worker == "other"


WORKER = """
import pathlib, sys, threading
from edgepress_server.jobs import run_worker
from edgepress_server.settings import Settings
run_worker(Settings(data_dir=pathlib.Path(sys.argv[1])), threading.Event())
"""


def test_a_killed_worker_takes_its_child_along_and_the_next_one_starts_the_job_anew(
    wall_store: Store,
) -> None:
    """kill -9 during a real compression; afterwards the job is done and the artifact is whole."""
    job_id = submit(wall_store, recipe="none")
    stop = threading.Event()
    command = [sys.executable, "-c", WORKER, str(wall_store.data_dir)]
    killed = subprocess.Popen(command)
    try:
        wait_for("the start", lambda: wall_store.jobs.get(job_id).state == "running")
        children = Path(f"/proc/{killed.pid}/task/{killed.pid}/children")
        pid = int(wait_for("the child", lambda: children.read_text().split())[0])
    finally:
        killed.kill()
        killed.wait()
    wait_for("the child's end", lambda: not alive(pid))
    assert wall_store.jobs.get(job_id).state == "running"
    thread = threading.Thread(target=run_worker, args=(Settings(data_dir=wall_store.data_dir), stop))
    thread.start()
    try:
        job = wait_for("the end", ended(wall_store, job_id), 120)
    finally:
        stop.set()
        thread.join(30)
    assert (job.state, job.attempts) == ("done", 2), job.message
    artifact = wall_store.blobs.read(job.artifact)
    assert decode(artifact)
    assert wall_store.artifacts.get(job.artifact).report["recipe"]


def test_the_real_child_tells_in_a_sentence_what_cannot_work(wall_store: Store) -> None:
    blob = wall_store.blobs.put(tiny_npz(classes=9))
    wall_store.datasets.add("wrong", blob=blob, task="classification", summary={}, actor=None)
    submit(wall_store, recipe="int8", dataset="wrong")
    job = wall_store.jobs.take("w")
    assert job is not None
    child = start_child(Settings(data_dir=wall_store.data_dir), job)
    assert child.stdin is not None
    with child.stdin:
        assert child.wait(120) == 0
    job = wall_store.jobs.get(job.id)
    assert job.state == "failed" and "does not fit the model" in job.message


def test_the_real_child_tells_when_the_disk_has_lost_the_model(wall_store: Store) -> None:
    wall_store.blobs.path(wall_store.models.get("tiny").blob).write_bytes(b"flipped")
    submit(wall_store)
    job = wall_store.jobs.take("w")
    assert job is not None
    child = start_child(Settings(data_dir=wall_store.data_dir), job)
    assert child.stdin is not None
    with child.stdin:
        assert child.wait(120) == 0
    job = wall_store.jobs.get(job.id)
    assert job.state == "failed" and "damaged on disk" in job.message


def test_the_real_child_stops_when_asked(wall_store: Store) -> None:
    submit(wall_store)
    job = wall_store.jobs.take("w")
    assert job is not None
    child = start_child(Settings(data_dir=wall_store.data_dir), job)
    assert child.stdin is not None
    with child.stdin:
        child.send_signal(signal.SIGTERM)
        assert child.wait(120) != 0
    assert wall_store.jobs.get(job.id).state == "running"
    assert wall_store.artifacts.list() == []

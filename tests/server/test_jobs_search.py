"""A worker's seats with real processes: trials are shared, taken over from the dead, and give way to people.

The children are small scripts that speak to the store as search_child does.
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

from edgepress_server.jobs import search_seats
from edgepress_server.jobs import worker as worker_module
from edgepress_server.jobs.worker import Worker
from edgepress_server.settings import Settings
from edgepress_server.store import Store, open_store
from edgepress_server.store.jobs import Job
from edgepress_server.store.models import ModelFacts
from edgepress_server.store.searches import Search, Seat
from edgepress_server.trust.keys import create_keys_if_missing

CHILD = """
import os, pathlib, signal, sys, threading
import msgspec
from edgepress_compression.search.trial import Figures, Trial
from edgepress_server.jobs.child_process import die_with_pipe
from edgepress_server.jobs.search_log import SearchYieldedError, StoreTrialLog
from edgepress_server.store import open_store
from edgepress_server.store.searches import Outcome, Seat, SeatLostError

die_with_pipe()
data_dir, search, worker, behaviour = sys.argv[1:]
TRIALS = 6
store = open_store(pathlib.Path(data_dir))
seat = Seat(search, worker)
log = StoreTrialLog(store, seat)
propose = lambda trials: Trial(number=len(trials), recipe={"name": "int8"}) if len(trials) < TRIALS else None
try:
    while (trial := log.claim(propose)) is not None:
        store.searches.say(seat, "trial", f"pid {os.getpid()} trial {trial.number}")
        if behaviour == "crash" and trial.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if behaviour == "hang":
            threading.Event().wait()
        if behaviour == "wait for a job":
            while not store.jobs.waits():
                threading.Event().wait(0.02)
        done = msgspec.structs.replace(trial, state="done", figures=Figures(accuracy=0.9))
        log.finish(done, b"x%d" % trial.number)
    if store.searches.is_last(seat):
        store.searches.finish(seat, Outcome(front=[0], best=0, nearest=None), [])
    else:
        store.searches.leave(seat)
except SearchYieldedError:
    sys.exit(5)
except SeatLostError:
    sys.exit(4)
"""

JOB_CHILD = """
import pathlib, sys
from edgepress_server.store import open_store
from edgepress_server.store.jobs import Result
store = open_store(pathlib.Path(sys.argv[1]))
job = store.jobs.get(sys.argv[2])
store.jobs.finish(job, Result(store.blobs.put(b"artifact"), 8, {}))
"""


def wait_for(what: str, ready: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := ready()):
        assert time.monotonic() < deadline, f"{what} did not happen"
        threading.Event().wait(0.02)
    return value


class Running:
    """A worker in a thread, whose search children behave as told, the last behaviour for all that follow."""

    def __init__(self, store: Store, behaviours: list[str]) -> None:
        self.store = store
        self.settings = Settings(data_dir=store.data_dir)
        self.stop = threading.Event()
        self.children: list[subprocess.Popen[bytes]] = []
        self._behaviours = behaviours
        keys = create_keys_if_missing(self.settings.keys_dir)
        self.worker = Worker(self.settings, store, keys, self._start_job, self._start)
        self._thread = threading.Thread(target=self.worker.run, args=(self.stop,))
        self._thread.start()

    def _start(self, settings: Settings, seat: Seat, workers: int) -> "subprocess.Popen[bytes]":
        behaviour = self._behaviours[min(len(self.children), len(self._behaviours) - 1)]
        command = [sys.executable, "-c", CHILD, str(settings.data_dir), seat.search, seat.worker, behaviour]
        self.children.append(subprocess.Popen(command, stdin=subprocess.PIPE))
        return self.children[-1]

    def _start_job(self, settings: Settings, job: Job) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", JOB_CHILD, str(settings.data_dir), job.id]
        return subprocess.Popen(command, stdin=subprocess.PIPE)

    def close(self) -> None:
        self.stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def wall_store(tmp_path: Path) -> Iterator[Store]:
    """A store on the real clock, with a model."""
    made = open_store(tmp_path / "server")
    made.models.add("tiny", made.blobs.put(b"onnx"), ModelFacts(4, 4, 1, 1, [], []), None, actor=None)
    yield made
    made.close()


@pytest.fixture
def run(wall_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Running]]:
    monkeypatch.setattr(worker_module, "POLL_S", 0.02)
    monkeypatch.setattr(search_seats, "POLL_S", 0.02)
    monkeypatch.setattr(search_seats, "cores", lambda: 2)
    started: list[Running] = []

    def start(*behaviours: str) -> Running:
        started.append(Running(wall_store, list(behaviours)))
        return started[-1]

    yield start
    for one in started:
        one.close()


def submit(store: Store, workers: int = 1) -> str:
    return store.searches.submit(
        model="tiny", profile="x86-pc", dataset=None, budget={"latency_us": 1000.0},
        options={"seconds": 60, "workers": workers}, actor=None,
    ).id  # fmt: skip


def ended(store: Store, search_id: str) -> Callable[[], Search | None]:
    def look() -> Search | None:
        search = store.searches.get(search_id)
        return search if search.state not in ("queued", "running") else None

    return look


def test_two_processes_share_a_search_and_every_trial_counts_once(
    wall_store: Store, run: Callable[..., Running]
) -> None:
    search_id = submit(wall_store, workers=2)
    running = run("work")
    assert wait_for("the end", ended(wall_store, search_id)).state == "done"
    rows = wall_store.search_trials.all(search_id)
    assert [row.trial.number for row in rows] == list(range(6))
    assert {row.trial.state for row in rows} == {"done"} and {row.attempts for row in rows} == {1}
    assert len(running.children) >= 2


def test_a_killed_process_is_replaced_and_its_trial_taken_over(
    wall_store: Store, run: Callable[..., Running]
) -> None:
    search_id = submit(wall_store)
    running = run("crash", "work")
    assert wait_for("the end", ended(wall_store, search_id)).state == "done"
    rows = wall_store.search_trials.all(search_id)
    assert [row.attempts for row in rows] == [1, 2, 1, 1, 1, 1]
    assert running.children[0].returncode == -signal.SIGKILL


def test_a_worker_killed_with_its_search_is_not_waited_for(
    wall_store: Store, run: Callable[..., Running]
) -> None:
    search_id = submit(wall_store)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = os.uname().nodename
    seat = wall_store.searches.join(f"{host}:{dead.pid}:abc/1")
    assert seat is not None
    run("work")
    assert wait_for("the end", ended(wall_store, search_id), seconds=15).state == "done"


def test_cancelling_ends_the_process_and_keeps_what_is_known(
    wall_store: Store, run: Callable[..., Running]
) -> None:
    search_id = submit(wall_store)
    running = run("hang")
    wait_for("its first trial", lambda: wall_store.searches.get(search_id).step == "trial")
    wall_store.searches.cancel(search_id, actor=None)
    assert wait_for("the end", ended(wall_store, search_id)).state == "cancelled"
    assert running.children[0].poll() is not None
    assert len(wall_store.search_trials.all(search_id)) == 1


def test_stopping_the_server_gives_the_search_back(wall_store: Store, run: Callable[..., Running]) -> None:
    search_id = submit(wall_store)
    running = run("hang")
    wait_for("its first trial", lambda: wall_store.searches.get(search_id).step == "trial")
    running.close()
    search = wall_store.searches.get(search_id)
    assert (search.state, search.attempts, search.workers) == ("queued", 0, 0)


def test_a_compression_goes_first_and_the_search_goes_on_behind_it(
    wall_store: Store, run: Callable[..., Running]
) -> None:
    search_id = submit(wall_store)
    run("wait for a job", "work")
    wait_for("its first trial", lambda: wall_store.searches.get(search_id).step == "trial")
    job = wall_store.jobs.submit(
        model="tiny", recipe="none", profile="x86-pc", dataset=None, options={}, actor=None
    )
    search = wait_for("the end", ended(wall_store, search_id))
    done = wall_store.jobs.get(job.id)
    assert (search.state, done.state) == ("done", "done")
    assert done.finished_at is not None and search.finished_at is not None
    assert done.finished_at < search.finished_at
    assert [row.attempts for row in wall_store.search_trials.all(search_id)] == [1] * 6, "no work was lost"

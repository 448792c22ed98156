"""The worker role: one compression at a time, each in a child process; searches while none waits
(search_seats.py).

                         child running --exit, job ended------------------> next job
    take (lease) --> start             --exit, job still running (crash)--> interrupted: queued again or
    failed
                                       --a person cancelled--> SIGTERM, then SIGKILL --> cancelled
                                       --the server stops----> SIGTERM, then SIGKILL --> given back
                                       --the lease was lost--> SIGKILL

The lease is renewed while the child lives. When the worker is killed, its child dies with it (pipe), the
lease lapses, and whoever takes jobs next goes on from its checkpoints. A worker of this machine that is known
to be dead is not waited for.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import psutil

from edgepress_server.alerts.run import AlertThreads
from edgepress_server.errors import ServerError, StoreError
from edgepress_server.jobs.checkpoints import forget_ended
from edgepress_server.jobs.child_process import child_environment, end_child, exit_words, log_file
from edgepress_server.jobs.deltas import DeltaMaker, StartDeltaChild, start_delta_child
from edgepress_server.jobs.measure import advance_measurements
from edgepress_server.jobs.push import advance_pushes
from edgepress_server.jobs.refits import Refitter, StartRefitChild, start_refit_child
from edgepress_server.jobs.search_outcome import drop_files
from edgepress_server.jobs.search_seats import SearchSeats, StartSearchChild, start_search_child
from edgepress_server.predict import ExecutedModels
from edgepress_server.settings import Settings
from edgepress_server.store import Store, open_store
from edgepress_server.store.facts import HEARTBEAT_MS
from edgepress_server.store.jobs import LEASE_MS, Job, LeaseLostError
from edgepress_server.trust.key_state import read_state
from edgepress_server.trust.keys import Keys, create_keys_if_missing, keys_changed, load_keys
from edgepress_server.watch.engine import Watcher

log = logging.getLogger(__name__)

POLL_S = 0.25
FOLLOW_S = 3600.0  # how often it looks for signatures that end soon

StartChild = Callable[[Settings, Job], "subprocess.Popen[bytes]"]


def run_worker(settings: Settings, stop: threading.Event) -> None:
    """Take and run jobs until ``stop`` is set; then give the running one back. Raises StoreError."""
    store = open_store(settings.data_dir)
    try:
        keys = create_keys_if_missing(settings.keys_dir)
        with AlertThreads(store, settings) as alerts:
            Worker(settings, store, keys, start_child, check=alerts.check).run(stop)
    finally:
        store.close()


def start_child(settings: Settings, job: Job) -> subprocess.Popen[bytes]:
    """The process of `compress_child`; what it prints goes to DIR/log/jobs/<job>.log."""
    arguments = [str(settings.data_dir), job.id, job.worker or "", str(job.attempts)]
    with log_file(settings.log_dir / "jobs", job.id).open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "edgepress_server.jobs.compress_child", *arguments],
            stdin=subprocess.PIPE,  # closes when this process ends, however it ends
            stdout=output,
            stderr=subprocess.STDOUT,
            env=child_environment(),
        )


class Worker:
    def __init__(
        self,
        settings: Settings,
        store: Store,
        keys: Keys,
        start: StartChild,
        start_search: StartSearchChild = start_search_child,
        start_refit: StartRefitChild = start_refit_child,
        start_delta: StartDeltaChild = start_delta_child,
        *,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        """``check`` raises when what runs beside it in this process has ended."""
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._settings = settings
        self._store = store
        self._keys = keys
        self._start = start
        self._check = check
        self._searches = SearchSeats(settings, store, self.name, start_search)
        self._heartbeat_due_s = 0.0
        self._follow_due_s = 0.0
        self._refitter = Refitter(settings, store, self.name, start_refit)
        self._deltas = DeltaMaker(settings, store, keys, start_delta)
        self._watcher = Watcher(store, keys, ExecutedModels(store.data_dir / "executed"))

    def run(self, stop: threading.Event) -> None:
        self._release_dead_workers()
        self._store.blobs.sweep()
        forget_ended(self._store)
        drop_files(self._store)
        try:
            self._loop(stop)
        finally:
            self._refitter.stop()
            self._deltas.stop()

    def _loop(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                self._background()
                job = self._store.jobs.take(self.name)
            except ServerError as error:  # busy, disk full: it may pass
                log.warning("no job can be taken now: %s", error.message)
                job = None
            if job is not None:
                self._run(job, stop)
            elif not self._searches.work(stop, self._background):
                stop.wait(POLL_S)

    def _background(self) -> None:
        """What goes on whether or not a job runs: signs of life, pushes, fits, the watch over budgets."""
        self._check()
        if time.monotonic() >= self._heartbeat_due_s:
            self._store.facts.heartbeat("worker")
            self._heartbeat_due_s = time.monotonic() + HEARTBEAT_MS / 1000
            self._renew_keys()
        advance_pushes(self._store, self._keys)
        self._refitter.tick()
        self._deltas.tick()
        self._watcher.tick()
        advance_measurements(self._store, self._keys)

    def _renew_keys(self) -> None:
        """A person may have changed keys meanwhile; and what is signed does not last for ever."""
        if keys_changed(self._settings.keys_dir, self._keys):
            try:
                keys = load_keys(self._settings.keys_dir)
            except StoreError as error:  # half written, or encrypted anew: jobs go on meanwhile
                log.warning("the keys cannot be read now, going on with those of before: %s", error.message)
                return
            self._keys = self._deltas.keys = self._watcher.keys = keys
            self._follow_due_s = 0.0  # also where the store fails below: then at the next look
        if time.monotonic() >= self._follow_due_s:
            self._store.signing.follow(self._keys)
            for warning in read_state(self._settings.keys_dir).warnings():
                log.warning("%s", warning)
            self._follow_due_s = time.monotonic() + FOLLOW_S

    def _run(self, job: Job, stop: threading.Event) -> None:
        log.info(
            "job %s: %s of %s for %s, attempt %d", job.id, job.recipe, job.model, job.profile, job.attempts
        )
        try:
            child = self._start(self._settings, job)
        except OSError as error:
            self._settle(job, f"Its process could not be started ({error}).", stop)
            return
        try:
            why = self._watch(job, child, stop)
        finally:
            end_child(child)
        self._settle(job, why, stop)
        try:
            forget_ended(self._store)
        except ServerError as error:  # the next job's end finds them
            log.warning("checkpoints were not removed: %s", error.message)

    def _watch(self, job: Job, child: subprocess.Popen[bytes], stop: threading.Event) -> str:
        """Until the child ends, the server stops, the job is cancelled or lost; why, in words."""
        renew_s = time.monotonic() + LEASE_MS / 4000
        while child.poll() is None:
            if stop.wait(POLL_S):
                return "The server was stopped."
            try:
                self._background()
                now = self._store.jobs.get(job.id)
                if now.state != "running" or now.cancel_requested:
                    return "It was cancelled."
                if time.monotonic() >= renew_s:
                    self._store.jobs.renew(job)
                    renew_s = time.monotonic() + LEASE_MS / 4000
            except LeaseLostError as error:
                return error.message
            except ServerError as error:  # the lease lasts a while: try again
                log.warning("job %s: %s", job.id, error.message)
        return exit_words(child.returncode, self._settings.log_dir / "jobs" / f"{job.id}.log")

    def _settle(self, job: Job, why: str, stop: threading.Event) -> None:
        """The child has ended: what becomes of the job, unless it settled that itself."""
        try:
            now = self._store.jobs.get(job.id)
            if now.state != "running" or now.worker != job.worker or now.attempts != job.attempts:
                log.info("job %s is %s", job.id, now.state)
            elif stop.is_set() and not now.cancel_requested:
                self._store.jobs.give_back(job)
            else:
                ended = self._store.jobs.interrupted(job, why)
                log.warning("job %s: %s; it is %s", job.id, why, ended.state)
        except ServerError as error:  # the lease lapses and the next take() finds it
            log.warning("job %s could not be settled: %s", job.id, error.message)

    def _release_dead_workers(self) -> None:
        for job in self._store.jobs.running():
            if _is_dead(job.worker or ""):
                self._store.jobs.release_worker(job.worker or "")
        self._searches.release_dead(_is_dead)
        for name in self._store.refits.workers():
            if _is_dead(name):
                self._store.refits.release_worker(name)


def _is_dead(worker: str) -> bool:
    """Whether a worker of this machine is known to have ended."""
    name, _, rest = worker.partition(":")
    pid = rest.partition(":")[0]
    return name == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid))

"""The worker's part in searches: a child process for each seat it takes, at most one a core.

join (lease) --> start --exit 0: the search has ended, or others end it----> rest from it
                       --exit 5: a compression waits-----------------------> leave, come back behind it
                       --any other exit------------------------------------> interrupted: its trial is free
                       --a person cancelled, the server stops--> SIGTERM, then SIGKILL --> leave
                       --the seat was lost---------------------> SIGTERM, then SIGKILL

A compression that a person asked for goes first: while one waits nothing is joined, and the children leave
between two trials. Several worker processes, on one machine or on many, share a search in the same way.
"""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from edgepress_server.errors import ServerError
from edgepress_server.jobs.child_process import (
    SEAT_LOST,
    YIELDED,
    child_environment,
    end_child,
    exit_words,
    log_file,
)
from edgepress_server.jobs.search_outcome import drop_files
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.store.searches import LEASE_MS, Seat, SeatLostError

log = logging.getLogger(__name__)

POLL_S = 0.25
RENEW_S = LEASE_MS / 4000
LEAVING_S = 20.0  # for a process that has no seat any more to end by itself

StartSearchChild = Callable[[Settings, Seat, int], "subprocess.Popen[bytes]"]


def start_search_child(settings: Settings, seat: Seat, workers: int) -> subprocess.Popen[bytes]:
    """The process of `search_child`; what it prints goes to DIR/log/searches/<search>-<n>.log. Where several
    `workers` share a search, each takes its part of the cores."""
    path = log_file(settings.log_dir / "searches", f"{seat.search}-{seat.worker.rpartition('/')[2]}")
    threads = None if workers == 1 else max(1, cores() // workers)
    with path.open("ab") as output:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "edgepress_server.jobs.search_child",
                str(settings.data_dir),
                seat.search,
                seat.worker,
            ],
            stdin=subprocess.PIPE,  # closes when this process ends, however it ends
            stdout=output,
            stderr=subprocess.STDOUT,
            env=child_environment(threads),
        )


def cores() -> int:
    """That this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass
class _Child:
    seat: Seat
    process: subprocess.Popen[bytes]
    renew_at_s: float
    kill_at_s: float = math.inf  # it has no seat any more


class SearchSeats:
    """Made once for a worker."""

    def __init__(self, settings: Settings, store: Store, name: str, start: StartSearchChild) -> None:
        self._settings = settings
        self._store = store
        self._name = name
        self._start = start
        self._children: list[_Child] = []
        self._number = 0
        self._rested: set[str] = set()

    def work(self, stop: threading.Event, background: Callable[[], None]) -> bool:
        """Take part in searches while there are some and no compression waits; whether there was one."""
        worked = False
        try:
            while not stop.is_set():
                self._join_more()
                if not self._children:
                    return worked
                worked = True
                stop.wait(POLL_S)
                try:
                    background()
                except ServerError as error:  # busy, disk full: it may pass
                    log.warning("background: %s", error.message)
                for child in list(self._children):
                    self._look_at(child)
            return worked
        finally:
            for child in list(self._children):
                end_child(child.process)
                self._settle(child, stopped=True)

    def release_dead(self, is_dead: Callable[[str], bool]) -> None:
        """Seats of workers that are known to be dead are not waited for."""
        for worker in {seat.worker for seat in self._store.searches.seats()}:
            if is_dead(worker):
                self._store.searches.release_worker(worker)

    def _join_more(self) -> None:
        try:
            while len(self._children) < cores() and not self._store.jobs.waits():
                seat = self._store.searches.join(f"{self._name}/{self._number + 1}", self._rested)
                if seat is None:
                    return
                self._number += 1
                workers = int(self._store.searches.get(seat.search).options["workers"])
                try:
                    process = self._start(self._settings, seat, workers)
                except OSError as error:
                    self._store.searches.interrupted(seat, f"Its process could not be started ({error}).")
                    return
                log.info("search %s: taking part as %s", seat.search, seat.worker)
                self._children.append(_Child(seat, process, time.monotonic() + RENEW_S))
        except ServerError as error:  # busy, disk full: it may pass
            log.warning("no search can be joined now: %s", error.message)

    def _look_at(self, child: _Child) -> None:
        if child.process.poll() is None:
            try:
                cancelled = self._hold(child)
            except ServerError as error:  # the lease lasts a while: try again
                log.warning("search %s: %s", child.seat.search, error.message)
                return
            if not cancelled and time.monotonic() < child.kill_at_s:
                return
        end_child(child.process)
        self._settle(child)

    def _hold(self, child: _Child) -> bool:
        """Keep the seat; whether a person has cancelled the search. A child that has left its seat, or ended
        the search, is given time to end by itself. Raises ServerError."""
        search = self._store.searches.get(child.seat.search)
        if search.state == "running" and search.cancel_requested:
            return True
        now_s = time.monotonic()
        try:
            if search.state == "running" and now_s >= child.renew_at_s:
                self._store.searches.renew(child.seat)
                child.renew_at_s = now_s + RENEW_S
            held = search.state == "running"
        except SeatLostError:
            held = False
        if not held and child.kill_at_s == math.inf:
            child.kill_at_s = now_s + LEAVING_S
        return False

    def _settle(self, child: _Child, *, stopped: bool = False) -> None:
        """The process has ended: what becomes of the seat, unless it settled that itself."""
        self._children.remove(child)
        seat, status = child.seat, child.process.returncode
        try:
            search = self._store.searches.get(seat.search)
            if status == 0 and search.state == "running":
                self._rested.add(search.id)
            if stopped or search.cancel_requested or status in (0, SEAT_LOST, YIELDED):
                ended = self._store.searches.leave(seat, "The server was stopped." if stopped else "")
            else:
                name = f"{seat.search}-{seat.worker.rpartition('/')[2]}.log"
                why = exit_words(status, self._settings.log_dir / "searches" / name)
                ended = self._store.searches.interrupted(seat, why)
                log.warning("search %s: %s; it is %s", seat.search, why, ended.state)
            if ended.state not in ("queued", "running"):
                self._rested.discard(ended.id)
                drop_files(self._store)
        except ServerError as error:  # the lease lapses and the next join() finds it
            log.warning("search %s could not be settled: %s", seat.search, error.message)

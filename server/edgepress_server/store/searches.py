"""Searches: which recipe meets a budget on a profile. Their trials are in `search_trials`. States:

queued --first worker joins--> running --finish--------> done       (result and artifacts at once)
                                       --fail----------> failed     (a sentence says why)
                                       --all seats gone> queued     again; failed after MAX_ATTEMPTS crashes
                                                                    with no trial finished between them
queued | running --cancel--> cancelled                              (a running one when all have left)

A worker takes part by a seat, a lease that it renews; a search has room for `options["workers"]` of them. One
that was killed lets its lease lapse, and the trial it had in hand is another's. Every write of a worker names
its seat, so one that lost it can change nothing: SeatLostError.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgepress_server.errors import ConflictError, NotFoundError
from edgepress_server.store.artifacts import Artifacts
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

LEASE_MS = 20_000
MAX_ATTEMPTS = 3
DEFAULTS: dict[str, Any] = {"seconds": 900, "workers": 1}  # of options

SearchState = Literal["queued", "running", "done", "failed", "cancelled"]
LIVE: tuple[SearchState, ...] = ("queued", "running")


class SeatLostError(ConflictError):
    """The worker takes no part any more: the search was cancelled or has ended, or its lease had lapsed."""

    def __init__(self, search_id: str) -> None:
        super().__init__("seat_lost", f"This worker takes no part in search {search_id} any more.")


@dataclass(frozen=True)
class Seat:
    """A worker's part in a search."""

    search: str
    worker: str


@dataclass(frozen=True)
class Search:
    id: str
    model: str
    profile: str
    dataset: str | None
    budget: dict[str, Any]  # edgepress_compression.search.budget.Budget, without what has no limit
    options: dict[str, Any]  # seconds, trials, workers, seed, device
    state: SearchState
    step: str
    message: str  # what it does now, or why it ended
    attempts: int
    cancel_requested: bool
    spent_ms: int  # that workers have been at it, side by side counted once
    result: dict[str, Any] | None  # when it is done; see `Outcome`
    chosen: str | None  # digest of the best artifact within the budget
    reason: str  # why it was started, in words
    finding: str | None  # that started it
    workers: int  # at it now
    created_at: int  # Unix ms
    started_at: int | None
    finished_at: int | None
    actor: str | None


@dataclass(frozen=True)
class Kept:
    """An artifact that a search leaves; its blob is stored already."""

    digest: str
    recipe: str
    size_bytes: int
    report: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How a search ended. Trials are named by their numbers."""

    front: list[int]
    best: int | None
    nearest: int | None  # that misses the budget least, where nothing is within
    blocked: list[str] = field(default_factory=list)  # why nothing is within
    notes: list[str] = field(default_factory=list)
    chosen: str | None = None  # digest of the best one's artifact
    offered: str | None = None  # digest of the nearest one's, where nothing is within


class Searches:
    def __init__(self, database: Database, events: Events, artifacts: Artifacts) -> None:
        self._database = database
        self._events = events
        self._artifacts = artifacts

    # --- people ---------------------------------------------------------------------------------------

    def submit(
        self,
        *,
        model: str,
        profile: str,
        dataset: str | None,
        budget: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
        actor: str | None,
        reason: str = "",
        finding: str | None = None,
    ) -> Search:
        """Queue a search; the very same one that is queued or running is answered instead.

        Limits that are None are left out of the budget; options that are left out have their defaults.
        """
        limits = json.dumps(
            {name: limit for name, limit in budget.items() if limit is not None}, sort_keys=True
        )
        text = json.dumps({**DEFAULTS, **(options or {})}, sort_keys=True)
        with self._database.transaction() as connection:
            same = self._database.row(
                "SELECT id FROM searches WHERE model = ? AND profile = ? AND dataset IS ? AND budget = ? "
                "AND options = ? AND state IN ('queued', 'running') AND cancel_requested = 0",
                (model, profile, dataset, limits, text),
            )
            if same is not None:
                return self.get(str(same["id"]))
            search_id = secrets.token_hex(6)
            connection.execute(
                "INSERT INTO searches (id, model, profile, dataset, budget, options, state, reason, finding, "
                "created_at, actor) VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?)",
                (
                    search_id,
                    model,
                    profile,
                    dataset,
                    limits,
                    text,
                    reason,
                    finding,
                    self._database.now_ms(),
                    actor,
                ),
            )
            search = self.get(search_id)
            self._tell(search, "queued", actor=actor)
            return search

    def get(self, search_id: str) -> Search:
        """Raises NotFoundError."""
        found = self._read("WHERE s.id = ?", (search_id,))
        if not found:
            raise NotFoundError(
                "search_unknown",
                f"There is no search {search_id[:40]!r}. `edgepress search list` shows them.",
            )
        return found[0]

    def list(
        self, *, model: str | None = None, profile: str | None = None, limit: int = 200
    ) -> Sequence[Search]:
        """Newest first."""
        return self._read(
            "WHERE (? IS NULL OR s.model = ?) AND (? IS NULL OR s.profile = ?) "
            "ORDER BY s.created_at DESC, s.rowid DESC LIMIT ?",
            (model, model, profile, profile, limit),
        )

    def live(self) -> Sequence[Search]:
        """Queued and running ones, oldest first."""
        return self._read("WHERE s.state IN ('queued', 'running') ORDER BY s.created_at, s.rowid", ())

    def cancel(self, search_id: str, *, actor: str | None) -> Search:
        """A queued one is cancelled now, a running one when its workers have left it.

        Cancelling twice is no error. Raises NotFoundError, ConflictError when it has ended otherwise.
        """
        with self._database.transaction() as connection:
            search = self.get(search_id)
            if search.state in ("done", "failed"):
                raise ConflictError(
                    "search_ended",
                    f"Search {search_id} is {search.state} already; there is nothing to cancel.",
                )
            if search.state == "running" and not search.cancel_requested:
                connection.execute("UPDATE searches SET cancel_requested = 1 WHERE id = ?", (search_id,))
                self._tell(search, "cancelling", actor=actor)
            elif search.state == "queued":
                self._end(search, "cancelled", "Cancelled before it started.", actor=actor)
            return self.get(search_id)

    # --- workers --------------------------------------------------------------------------------------

    def join(self, worker: str, rested: Collection[str] = ()) -> Seat | None:
        """A seat in the oldest search that has one free; None when there is none.

        Seats whose lease has lapsed are cleared first. `rested`: searches in which this worker found nothing
        to do; it comes back to one of them when all others have left it.
        """
        if not self._anything_to_join(worker):
            return None  # looked for often: no write lock for nothing
        with self._database.transaction() as connection:
            self._clear_lapsed()
            now = self._database.now_ms()
            for search in self.live():
                if search.cancel_requested or search.workers >= int(search.options["workers"]):
                    continue
                if self._seated(search.id, worker) or (search.id in rested and search.workers > 0):
                    continue
                connection.execute(
                    "INSERT INTO search_seats (search, worker, lease_until) VALUES (?, ?, ?)",
                    (search.id, worker, now + LEASE_MS),
                )
                self._count(search.id)
                if search.state == "queued":
                    connection.execute(
                        "UPDATE searches SET state = 'running', message = '', "
                        "started_at = coalesce(started_at, ?) WHERE id = ?",
                        (now, search.id),
                    )
                    self._tell(search, "started")
                return Seat(search.id, worker)
            return None

    def renew(self, seat: Seat) -> Search:
        """Hold the seat for another LEASE_MS; the search as it is now. Raises SeatLostError."""
        with self._database.transaction() as connection:
            self.check(seat)
            connection.execute(
                "UPDATE search_seats SET lease_until = ? WHERE search = ? AND worker = ?",
                (self._database.now_ms() + LEASE_MS, seat.search, seat.worker),
            )
            self._count(seat.search)
            return self.get(seat.search)

    def check(self, seat: Seat) -> Search:
        """The search, while this seat is held. Raises SeatLostError, also when a person asked to cancel."""
        search = self.get(seat.search)
        if search.state != "running" or search.cancel_requested or not self._seated(seat.search, seat.worker):
            raise SeatLostError(seat.search)
        return search

    def say(self, seat: Seat, step: str, message: str) -> None:
        """What is done now, for people. Raises SeatLostError."""
        with self._database.transaction() as connection:
            search = self.check(seat)
            if (search.step, search.message) == (step, message):
                return
            connection.execute(
                "UPDATE searches SET step = ?, message = ? WHERE id = ?", (step, message, seat.search)
            )
            self._tell(search, "progress", data={"step": step, "message": message})

    def leave(self, seat: Seat, why: str = "") -> Search:
        """In good order, with work left: others go on, or it is queued again. Leaving twice is no error."""
        with self._database.transaction():
            self._remove(seat.search, seat.worker)
            search = self.get(seat.search)
            if search.state == "running" and search.workers == 0:
                self._nobody_left(search, why, crashed=False)
            return self.get(seat.search)

    def is_last(self, seat: Seat) -> bool:
        """Whether nobody else works on the search. Raises SeatLostError."""
        with self._database.transaction():
            self._clear_lapsed()
            return self.check(seat).workers <= 1

    def interrupted(self, seat: Seat, why: str) -> Search:
        """Its process ended in disorder: what it had in hand is for others. Twice is no error."""
        with self._database.transaction():
            if self._remove(seat.search, seat.worker):
                search = self.get(seat.search)
                if search.state == "running" and search.workers == 0:
                    self._nobody_left(search, why, crashed=True)
            return self.get(seat.search)

    def finish(self, seat: Seat, outcome: Outcome, kept: Sequence[Kept]) -> Search:
        """The search's end and the rows of its artifacts in one transaction. Raises SeatLostError."""
        with self._database.transaction() as connection:
            search = self.check(seat)
            for one in kept:
                if self._artifacts.find(one.digest) is None or one.digest in (
                    outcome.chosen,
                    outcome.offered,
                ):
                    self._artifacts.add(
                        one.digest,
                        model=search.model,
                        profile=search.profile,
                        recipe=one.recipe,
                        size_bytes=one.size_bytes,
                        report=one.report,
                        job=None,
                    )
            self._count(search.id)
            connection.execute(
                "UPDATE searches SET result = ?, chosen = ?, step = '' WHERE id = ?",
                (json.dumps(vars(outcome)), outcome.chosen, search.id),
            )
            message = "" if outcome.best is not None else " ".join(outcome.blocked)
            self._end(search, "done", message)
            return self.get(search.id)

    def fail(self, seat: Seat, message: str) -> Search:
        """It cannot succeed, and the sentence says why. Raises SeatLostError."""
        with self._database.transaction():
            self._end(self.check(seat), "failed", message)
            return self.get(seat.search)

    def release_worker(self, worker: str) -> None:
        """This worker is known to be dead: do not wait for its leases."""
        for row in self._database.rows("SELECT search FROM search_seats WHERE worker = ?", (worker,)):
            self.interrupted(Seat(str(row["search"]), worker), "The server stopped while it ran.")

    def seats(self) -> Sequence[Seat]:
        """All that are taken."""
        rows = self._database.rows("SELECT search, worker FROM search_seats")
        return [Seat(str(row["search"]), str(row["worker"])) for row in rows]

    # --- inside ---------------------------------------------------------------------------------------

    def _anything_to_join(self, worker: str) -> bool:
        row = self._database.row(
            "SELECT 1 FROM searches s WHERE s.state IN ('queued', 'running') AND NOT EXISTS (SELECT 1 FROM "
            "search_seats m WHERE m.search = s.id AND m.worker = ?) LIMIT 1",
            (worker,),
        )
        return row is not None

    def _seated(self, search_id: str, worker: str) -> bool:
        sql = "SELECT 1 FROM search_seats WHERE search = ? AND worker = ?"
        return self._database.row(sql, (search_id, worker)) is not None

    def _clear_lapsed(self) -> None:
        """Inside a transaction."""
        for row in self._database.rows(
            "SELECT search, worker FROM search_seats WHERE lease_until <= ?", (self._database.now_ms(),)
        ):
            self.interrupted(Seat(str(row["search"]), str(row["worker"])), "The server stopped while it ran.")

    def _remove(self, search_id: str, worker: str) -> bool:
        """Inside a transaction. What it had in hand is free for others at once; whether it had a seat."""
        self._count(search_id)
        with self._database.transaction() as connection:
            gone = connection.execute(
                "DELETE FROM search_seats WHERE search = ? AND worker = ?", (search_id, worker)
            )
            return gone.rowcount > 0

    def _nobody_left(self, search: Search, why: str, *, crashed: bool) -> None:
        attempts = search.attempts + crashed
        if search.cancel_requested:
            self._end(search, "cancelled", "Cancelled.")
        elif attempts >= MAX_ATTEMPTS:
            self._end(search, "failed", f"{why} It was tried {attempts} times and is not tried again.")
        else:
            with self._database.transaction() as connection:
                connection.execute(
                    "UPDATE searches SET state = 'queued', attempts = ?, counted_at = NULL, message = ? "
                    "WHERE id = ?",
                    (attempts, f"{why} It goes on from where it was.".strip(), search.id),
                )
                self._tell(search, "queued", data={"message": why})

    def _count(self, search_id: str) -> None:
        """Inside a transaction: time passes while somebody works on it, and no longer than a lease unseen."""
        with self._database.transaction() as connection:
            now = self._database.now_ms()
            connection.execute(
                "UPDATE searches SET spent_ms = spent_ms "
                "+ min(:lease, max(0, :now - coalesce(counted_at, :now))), counted_at = :now WHERE id = :id",
                {"now": now, "lease": LEASE_MS, "id": search_id},
            )

    def _end(self, search: Search, state: SearchState, message: str, *, actor: str | None = None) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE searches SET state = ?, message = ?, finished_at = ?, counted_at = NULL WHERE id = ?",
                (state, message, self._database.now_ms(), search.id),
            )
            connection.execute("DELETE FROM search_seats WHERE search = ?", (search.id,))
            self._tell(search, state, actor=actor, data={"message": message})

    def _tell(
        self, search: Search, action: str, *, actor: str | None = None, data: Mapping[str, Any] | None = None
    ) -> None:
        about = {"model": search.model, "profile": search.profile, **(data or {})}
        self._events.append("search", search.id, action, actor=actor, data=about)

    def _read(self, where: str, parameters: tuple[Any, ...]) -> Sequence[Search]:
        seats = "(SELECT count(*) FROM search_seats m WHERE m.search = s.id)"
        sql = f"SELECT s.*, {seats} AS workers FROM searches s {where}"  # noqa: S608 - constants above
        return [_search(row) for row in self._database.rows(sql, parameters)]


def _search(row: sqlite3.Row) -> Search:
    hidden = ("identity", "pinned", "counted_at")
    return Search(
        **{
            **{name: row[name] for name in row.keys() if name not in hidden},  # noqa: SIM118 - a Row, not a dict
            "budget": json.loads(row["budget"]),
            "options": json.loads(row["options"]),
            "result": None if row["result"] is None else json.loads(row["result"]),
            "cancel_requested": bool(row["cancel_requested"]),
        }
    )

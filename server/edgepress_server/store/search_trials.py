"""The trials of searches: numbered from 0 without gaps, shared by all who have a seat in the search.

running --finish--> done | failed                 (a second finish changes nothing)
        --the lease of its worker's seat ends---> anybody's: running under the next who claims;
                                                  after MAX_ATTEMPTS failed, and the search goes on

No two workers hold a trial at once, and only its holder can finish it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edgepress_compression.errors import SearchError
from edgepress_compression.search.trial import Trial
from edgepress_server.errors import NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.searches import Searches, Seat

MAX_ATTEMPTS = 3

Propose = Callable[[Sequence[Trial]], Trial | None]


@dataclass(frozen=True)
class TrialRow:
    """A trial with what only the server knows of it."""

    trial: Trial
    artifact: str | None  # digest of its file, while that is kept
    attempts: int
    started_at: int  # Unix ms
    finished_at: int | None


class SearchTrials:
    def __init__(self, database: Database, events: Events, searches: Searches) -> None:
        self._database = database
        self._events = events
        self._searches = searches

    def all(self, search_id: str) -> Sequence[TrialRow]:
        """By number."""
        rows = self._database.rows(
            "SELECT * FROM search_trials WHERE search = ? ORDER BY number", (search_id,)
        )
        return [_row(row) for row in rows]

    def get(self, search_id: str, number: int) -> TrialRow:
        """Raises NotFoundError."""
        row = self._database.row(
            "SELECT * FROM search_trials WHERE search = ? AND number = ?", (search_id, number)
        )
        if row is None:
            raise NotFoundError("trial_unknown", f"Search {search_id[:40]} has no trial {number}.")
        return _row(row)

    def counts(self, search_id: str) -> Mapping[str, int]:
        """How many there are in each state."""
        rows = self._database.rows(
            "SELECT state, count(*) AS n FROM search_trials WHERE search = ? GROUP BY state", (search_id,)
        )
        return {str(row["state"]): int(row["n"]) for row in rows}

    def bind(self, seat: Seat, identity: Mapping[str, Any]) -> None:
        """The trials are of this search and no other. Raises SearchError where they are of another one."""
        text = msgspec.json.encode(dict(identity), order="sorted").decode()
        with self._database.transaction() as connection:
            self._searches.check(seat)
            row = self._database.row("SELECT identity FROM searches WHERE id = ?", (seat.search,))
            if row is not None and row["identity"] not in (None, text):
                raise SearchError(
                    "What this search was begun with has changed: the model, the data set or the profile's "
                    "calibration. Start a new search; this one's trials stay to be looked at."
                )
            connection.execute("UPDATE searches SET identity = ? WHERE id = ?", (text, seat.search))

    def pin(self, seat: Seat, profile: str) -> str:
        """The profile (JSON) that the search began with, which is this one where nobody has begun yet: costs
        must not change in its middle. Raises SeatLostError."""
        with self._database.transaction() as connection:
            self._searches.check(seat)
            connection.execute(
                "UPDATE searches SET pinned = coalesce(pinned, ?) WHERE id = ?", (profile, seat.search)
            )
            return self.pinned(seat.search) or profile

    def pinned(self, search_id: str) -> str | None:
        """The profile (JSON) that a search began with; None before it has begun."""
        row = self._database.row("SELECT pinned FROM searches WHERE id = ?", (search_id,))
        return None if row is None else row["pinned"]

    def claim(self, seat: Seat, propose: Propose) -> Trial | None:
        """One that nobody holds, else the one proposed; None where nothing is. Raises SeatLostError."""
        while True:
            orphan = self._take_over(seat)
            if orphan is not None:
                return orphan
            known = [row.trial for row in self.all(seat.search)]
            proposed = propose(known)  # may take a while: outside of any transaction
            if proposed is None:
                self._searches.check(seat)
                return None
            mine = msgspec.structs.replace(proposed, number=len(known), worker=seat.worker)
            if self._add(seat, mine):
                return mine

    def renew(self, seat: Seat, number: int) -> bool:
        """Whether the trial is still this worker's: the lease of its seat holds it."""
        row = self._database.row(
            "SELECT 1 FROM search_trials t JOIN search_seats m USING (search, worker) "
            "WHERE search = ? AND t.number = ? AND worker = ? AND t.state = 'running'",
            (seat.search, number, seat.worker),
        )
        return row is not None

    def finish(self, seat: Seat, trial: Trial) -> bool:
        """Its figures; False where another has taken it over or finished it. Raises SeatLostError."""
        with self._database.transaction() as connection:
            self._searches.check(seat)
            done = connection.execute(
                "UPDATE search_trials SET state = ?, trial = ?, artifact = ?, "
                "finished_at = ? WHERE search = ? AND number = ? AND worker = ? AND state = 'running'",
                (
                    trial.state,
                    _text(trial),
                    trial.artifact,
                    self._database.now_ms(),
                    seat.search,
                    trial.number,
                    seat.worker,
                ),
            )
            if done.rowcount == 0:
                return False
            connection.execute("UPDATE searches SET attempts = 0 WHERE id = ?", (seat.search,))
            self._tell(seat, trial)
            return True

    def replace(self, seat: Seat, trial: Trial) -> None:
        """A finished one has got more figures. Raises SeatLostError."""
        with self._database.transaction() as connection:
            self._searches.check(seat)
            connection.execute(
                "UPDATE search_trials SET trial = ? WHERE search = ? AND number = ? AND state = ?",
                (_text(trial), seat.search, trial.number, trial.state),
            )
            self._tell(seat, trial)

    def droppable(self) -> Sequence[str]:
        """Digests of files that only trials of searches that have ended name, and none of these keeps."""
        rows = self._database.rows(
            "SELECT DISTINCT t.artifact FROM search_trials t JOIN searches s ON s.id = t.search "
            "WHERE t.artifact IS NOT NULL AND s.state NOT IN ('queued', 'running') "
            "AND NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.digest = t.artifact) "
            "AND NOT EXISTS (SELECT 1 FROM search_trials o JOIN searches p ON p.id = o.search "
            "WHERE o.artifact = t.artifact AND p.state IN ('queued', 'running'))"
        )
        return [str(row["artifact"]) for row in rows]

    def is_kept(self, digest: str) -> bool:
        """Whether an artifact, or a trial of a search that goes on, needs this file."""
        row = self._database.row(
            "SELECT 1 WHERE EXISTS (SELECT 1 FROM artifacts a WHERE a.digest = :digest) OR EXISTS "
            "(SELECT 1 FROM search_trials t JOIN searches s ON s.id = t.search "
            "WHERE t.artifact = :digest AND s.state IN ('queued', 'running'))",
            {"digest": digest},
        )
        return row is not None

    def forget_file(self, digest: str) -> None:
        """It is gone; the trials' recipes make it again."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE search_trials SET artifact = NULL WHERE artifact = ?", (digest,))

    # --- inside ---------------------------------------------------------------------------------------

    def _take_over(self, seat: Seat) -> Trial | None:
        """The first one that nobody else holds, now this worker's."""
        with self._database.transaction() as connection:
            self._searches.check(seat)
            now = self._database.now_ms()
            for row in self._database.rows(
                "SELECT t.* FROM search_trials t WHERE t.search = ? AND t.state = 'running' "
                "AND (t.worker = ? OR NOT EXISTS (SELECT 1 FROM search_seats m WHERE m.search = t.search "
                "AND m.worker = t.worker AND m.lease_until > ?)) ORDER BY t.number",
                (seat.search, seat.worker, now),  # its own, when it asks for work: given up
            ):
                found = _row(row)
                if found.attempts >= MAX_ATTEMPTS:
                    words = f"Its process ended {found.attempts} times; most likely it needs too much memory."
                    failed = msgspec.structs.replace(found.trial, state="failed", error=words)
                    connection.execute(
                        "UPDATE search_trials SET state = 'failed', trial = ?, finished_at = ? "
                        "WHERE search = ? AND number = ?",
                        (_text(failed), now, seat.search, failed.number),
                    )
                    self._tell(seat, failed)
                    continue
                mine = msgspec.structs.replace(found.trial, worker=seat.worker)
                connection.execute(
                    "UPDATE search_trials SET trial = ?, worker = ?, attempts = attempts + 1 "
                    "WHERE search = ? AND number = ?",
                    (_text(mine), seat.worker, seat.search, mine.number),
                )
                return mine
            return None

    def _add(self, seat: Seat, trial: Trial) -> bool:
        """False where another worker was faster."""
        with self._database.transaction() as connection:
            self._searches.check(seat)
            row = self._database.row(
                "SELECT count(*) AS n FROM search_trials WHERE search = ?", (seat.search,)
            )
            if row is None or int(row["n"]) != trial.number:
                return False
            now = self._database.now_ms()
            connection.execute(
                "INSERT INTO search_trials (search, number, state, trial, worker, started_at) "
                "VALUES (?, ?, 'running', ?, ?, ?)",
                (seat.search, trial.number, _text(trial), seat.worker, now),
            )
            self._tell(seat, trial)
            return True

    def _tell(self, seat: Seat, trial: Trial) -> None:
        self._events.append(
            "search", seat.search, "trial", data={"number": trial.number, "state": trial.state}
        )


def _text(trial: Trial) -> str:
    return msgspec.json.encode(trial).decode()


def _row(row: sqlite3.Row) -> TrialRow:
    trial = msgspec.convert(json.loads(row["trial"]), Trial)
    return TrialRow(trial, row["artifact"], row["attempts"], row["started_at"], row["finished_at"])

"""Candidates of a search on its device, one after the other; the steps are taken by jobs/measure.py:

asked --release and rollout made--> rolling_out --the device runs it, is asked--> profiling --report--> done
any of them --it failed there, the device went away, the search ended--> failed, and the message says why

What the device ran before the first candidate is noted, and given back when the search has ended.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgepress_server.errors import NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.searches import Searches, Seat

MeasurementState = Literal["asked", "rolling_out", "profiling", "done", "failed"]
_OPEN_SQL = "state IN ('asked', 'rolling_out', 'profiling')"


@dataclass(frozen=True)
class Measurement:
    search: str
    digest: str
    device: str
    state: MeasurementState
    away: bool  # failed because the device went away
    rollout: str | None
    job: str | None  # profiling job
    figures: dict[str, Any] | None  # edgepress_compression.search.trial.Figures
    message: str
    asked_at: int  # Unix ms
    changed_at: int

    @property
    def is_open(self) -> bool:
        return self.state not in ("done", "failed")


@dataclass(frozen=True)
class Borrowed:
    """A device that a search has used."""

    search: str
    device: str
    before: str | None  # digest that it ran before


class SearchMeasurements:
    def __init__(self, database: Database, events: Events, searches: Searches) -> None:
        self._database = database
        self._events = events
        self._searches = searches

    def ask(self, seat: Seat, digest: str, device: str, running: str | None) -> Measurement:
        """The artifact, whose row exists, is to be measured there; asking again changes nothing.

        `running` is what the device runs now; where another search has not given the device back yet, that is
        its candidate, and what counts as before is what ran before that one. Raises SeatLostError.
        """
        with self._database.transaction() as connection:
            self._searches.check(seat)
            now = self._database.now_ms()
            lent = self._database.row(
                "SELECT before FROM search_devices WHERE device = ? AND settled = 0 ORDER BY rowid LIMIT 1",
                (device,),
            )
            connection.execute(
                "INSERT INTO search_devices (search, device, before) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                (seat.search, device, running if lent is None else lent["before"]),
            )
            connection.execute(
                "INSERT INTO search_measurements (search, digest, device, state, asked_at, changed_at) "
                "VALUES (?, ?, ?, 'asked', ?, ?) ON CONFLICT DO NOTHING",
                (seat.search, digest, device, now, now),
            )
            return self.get(seat.search, digest)

    def get(self, search_id: str, digest: str) -> Measurement:
        """Raises NotFoundError."""
        row = self._database.row(
            "SELECT * FROM search_measurements WHERE search = ? AND digest = ?", (search_id, digest)
        )
        if row is None:
            raise NotFoundError("measurement_unknown", f"Search {search_id} does not measure {digest[:12]}.")
        return _measurement(row)

    def open(self) -> Sequence[Measurement]:
        """Those that are not over, oldest first."""
        rows = self._database.rows(
            f"SELECT * FROM search_measurements WHERE {_OPEN_SQL} ORDER BY asked_at"  # noqa: S608 - a constant
        )
        return [_measurement(row) for row in rows]

    def of(self, search_id: str) -> Sequence[Measurement]:
        """All of a search, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM search_measurements WHERE search = ? ORDER BY asked_at", (search_id,)
        )
        return [_measurement(row) for row in rows]

    def move(
        self,
        measurement: Measurement,
        state: MeasurementState,
        *,
        message: str = "",
        rollout: str | None = None,
        job: str | None = None,
        figures: Mapping[str, Any] | None = None,
        away: bool = False,
    ) -> None:
        """Write a step; what is None stays. Nothing is written when nothing changes."""
        new = (state, message, rollout or measurement.rollout, job or measurement.job)
        if new == (measurement.state, measurement.message, measurement.rollout, measurement.job):
            return
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE search_measurements SET state = ?, message = ?, rollout = ?, job = ?, figures = ?, "
                "away = ?, changed_at = ? WHERE search = ? AND digest = ?",
                (
                    *new,
                    None if figures is None else json.dumps(dict(figures)),
                    int(away),
                    self._database.now_ms(),
                    measurement.search,
                    measurement.digest,
                ),
            )
            about = {"device": measurement.device, "state": state, "message": message}
            self._events.append("search", measurement.search, "measuring", data=about)

    def borrowed(self) -> Sequence[Borrowed]:
        """Devices of searches that have ended, to which nothing has been given back yet."""
        rows = self._database.rows(
            "SELECT b.search, b.device, b.before FROM search_devices b JOIN searches s ON s.id = b.search "
            "WHERE b.settled = 0 AND s.state NOT IN ('queued', 'running')"
        )
        return [Borrowed(**dict(row)) for row in rows]

    def settle(self, search_id: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("UPDATE search_devices SET settled = 1 WHERE search = ?", (search_id,))


def _measurement(row: sqlite3.Row) -> Measurement:
    figures = None if row["figures"] is None else json.loads(row["figures"])
    return Measurement(**{**dict(row), "away": bool(row["away"]), "figures": figures})

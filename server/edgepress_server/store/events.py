"""What changed, in order: what live pages listen to, and the log of who did what.

An event is written in the transaction of the change it tells of, so neither exists without the other.
Ids only grow. The newest ``KEEP_EVENTS`` are kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from edgepress_server.store.database import Database

KEEP_EVENTS = 50_000
TELEMETRY_KEPT_MS = 600_000
_PRUNE_EVERY = 500  # events between two prunings

Kind = Literal[
    "device",
    "model",
    "dataset",
    "job",
    "search",
    "artifact",
    "release",
    "rollout",
    "push",
    "budget",
    "finding",
    "alert",
    "profile",
    "profiling",
    "telemetry",
    "person",
    "server",
]


@dataclass(frozen=True)
class Event:
    id: int
    at: int  # Unix ms
    kind: str
    subject: str  # name, id or digest of what changed
    action: str
    actor: str | None  # person, or None: the server itself or a device
    data: dict[str, Any]


class Events:
    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        kind: Kind,
        subject: str,
        action: str,
        *,
        actor: str | None = None,
        data: dict[str, Any] | None = None,
    ) -> int:
        """Write an event (inside the running transaction, if any); returns its id."""
        with self._database.transaction() as connection:
            cursor = connection.execute(
                "INSERT INTO events (at, kind, subject, action, actor, data) VALUES (?, ?, ?, ?, ?, ?)",
                (self._database.now_ms(), kind, subject, action, actor, json.dumps(data or {})),
            )
            number = int(cursor.lastrowid or 0)
            if number % _PRUNE_EVERY == 0:
                connection.execute("DELETE FROM events WHERE id <= ?", (number - KEEP_EVENTS,))
            return number

    def append_all(self, kind: Kind, action: str, subjects: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """One event of this kind and action for each (subject, data), as `append` by the server itself."""
        with self._database.transaction() as connection:
            now = self._database.now_ms()
            written = connection.executemany(
                "INSERT INTO events (at, kind, subject, action, actor, data) VALUES (?, ?, ?, ?, NULL, ?)",
                [(now, kind, subject, action, json.dumps(data)) for subject, data in subjects],
            ).rowcount
            last = self.last_id()
            if written > 0 and last // _PRUNE_EVERY > (last - written) // _PRUNE_EVERY:
                connection.execute("DELETE FROM events WHERE id <= ?", (last - KEEP_EVENTS,))

    def prune_telemetry(self) -> None:
        """That devices were heard of is news for the pages that are open, and for nobody later."""
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM events WHERE kind = 'telemetry' AND at < ?",
                (self._database.now_ms() - TELEMETRY_KEPT_MS,),
            )

    def last_id(self) -> int:
        """Id of the newest event, 0 when there was none."""
        row = self._database.row("SELECT max(id) AS id FROM events")
        return int(row["id"]) if row is not None and row["id"] is not None else 0

    def acted_since(self, event_id: int) -> bool:
        """Whether a person did something after this event."""
        return (
            self._database.row("SELECT 1 FROM events WHERE id > ? AND actor IS NOT NULL LIMIT 1", (event_id,))
            is not None
        )

    def after(self, event_id: int, limit: int = 1000) -> list[Event]:
        """The events after an id, oldest first."""
        return self._read("WHERE id > ? ORDER BY id LIMIT ?", (event_id, limit))

    def newest(self, limit: int = 100, *, telemetry: bool = True) -> list[Event]:
        """The newest events, newest first; ``telemetry`` false: none of that kind (one comes a second)."""
        where = "" if telemetry else "WHERE kind != 'telemetry' "
        return self._read(f"{where}ORDER BY id DESC LIMIT ?", (limit,))

    def _read(self, where: str, parameters: tuple[Any, ...]) -> list[Event]:
        sql = f"SELECT id, at, kind, subject, action, actor, data FROM events {where}"  # noqa: S608 - constants above
        return [
            Event(**{**dict(row), "data": json.loads(row["data"])})
            for row in self._database.rows(sql, parameters)
        ]

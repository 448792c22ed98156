"""Why a rollout did what it did, in plain words with the figures, oldest first."""

from __future__ import annotations

import builtins
from typing import Literal

import msgspec

from edgepress_server.store.database import Database

What = Literal[
    "created",
    "signed",
    "approved",
    "begun",
    "passed",
    "promoted",
    "joined",
    "unreached",
    "waiting",
    "gate",
    "overruled",
    "paused",
    "resumed",
    "aborted",
    "rolling_back",
    "rolled_back",
    "done",
]


class Decision(msgspec.Struct, frozen=True):
    id: int
    at: int  # Unix ms
    wave: int  # the stage then; 0: canaries
    what: What
    why: str
    actor: str | None  # None: the server


class Decisions:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, rollout: str, what: What, why: str, *, actor: str | None = None) -> None:
        """Written with the rollout's stage of now, in the running transaction."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO rollout_decisions (rollout, at, wave, what, why, actor)"
                " SELECT id, ?, wave, ?, ?, ? FROM rollouts WHERE id = ?",
                (self._database.now_ms(), what, why, actor, rollout),
            )

    def newest(self, rollout: str) -> Decision | None:
        row = self._database.row(
            "SELECT id, at, wave, what, why, actor FROM rollout_decisions WHERE rollout = ?"
            " ORDER BY id DESC LIMIT 1",
            (rollout,),
        )
        return None if row is None else Decision(**dict(row))

    def list(self, rollout: str, *, after: int = 0, limit: int = 1000) -> builtins.list[Decision]:
        """Oldest first, those after an id."""
        rows = self._database.rows(
            "SELECT id, at, wave, what, why, actor FROM rollout_decisions"
            " WHERE rollout = ? AND id > ? ORDER BY id LIMIT ?",
            (rollout, after, limit),
        )
        return [Decision(**dict(row)) for row in rows]

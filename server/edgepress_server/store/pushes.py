"""Pushes: "put this model on these devices" as one wish. The steps are taken by jobs/push.py:

compressing --all jobs done--> releasing --release and rollout made--> rolling_out --rollout done--> done
any of them --a job failed, the rollout was aborted ...--> failed, and the message says why
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgepress_server.errors import NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

PushState = Literal["compressing", "releasing", "rolling_out", "done", "failed"]
FINAL: tuple[PushState, ...] = ("done", "failed")


@dataclass(frozen=True)
class Push:
    id: str
    model: str
    recipe: str
    dataset: str | None
    devices: list[str]
    policy: dict[str, Any]
    state: PushState
    jobs: dict[str, str]  # profile -> job that makes what was missing
    artifacts: dict[str, str]  # profile -> digest, as far as known
    release: str | None
    rollout: str | None
    message: str
    created_at: int  # Unix ms
    finished_at: int | None
    actor: str | None


class Pushes:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def create(
        self,
        *,
        model: str,
        recipe: str,
        dataset: str | None,
        devices: Sequence[str],
        policy: Mapping[str, Any],
        jobs: Mapping[str, str],
        artifacts: Mapping[str, str],
        actor: str | None,
    ) -> Push:
        push_id = secrets.token_hex(6)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO pushes (id, model, recipe, dataset, devices, policy, state, jobs, artifacts, "
                "created_at, "
                "actor) VALUES (?, ?, ?, ?, ?, ?, 'compressing', ?, ?, ?, ?)",
                (
                    push_id,
                    model,
                    recipe,
                    dataset,
                    json.dumps(list(devices)),
                    json.dumps(dict(policy)),
                    json.dumps(dict(jobs)),
                    json.dumps(dict(artifacts)),
                    self._database.now_ms(),
                    actor,
                ),
            )
            self._events.append("push", push_id, "compressing", actor=actor, data={"model": model})
            return self.get(push_id)

    def get(self, push_id: str) -> Push:
        """Raises NotFoundError."""
        row = self._database.row("SELECT * FROM pushes WHERE id = ?", (push_id,))
        if row is None:
            raise NotFoundError("push_unknown", f"There is no push {push_id[:40]!r}.")
        return _push(row)

    def active(self) -> Sequence[Push]:
        """Those that are not over, oldest first."""
        rows = self._database.rows(
            "SELECT * FROM pushes WHERE state NOT IN ('done', 'failed') ORDER BY created_at, rowid"
        )
        return [_push(row) for row in rows]

    def move(
        self,
        push: Push,
        state: PushState,
        *,
        message: str = "",
        artifacts: Mapping[str, str] | None = None,
        release: str | None = None,
        rollout: str | None = None,
    ) -> Push:
        """Write a step; what is None stays. Nothing is written when nothing changes."""
        new = (
            state,
            message,
            json.dumps(dict(push.artifacts if artifacts is None else artifacts)),
            release or push.release,
            rollout or push.rollout,
        )
        if new == (push.state, push.message, json.dumps(push.artifacts), push.release, push.rollout):
            return push
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE pushes SET state = ?, message = ?, artifacts = ?, release = ?, rollout = ?, "
                "finished_at = ? "
                "WHERE id = ?",
                (*new, self._database.now_ms() if state in FINAL else None, push.id),
            )
            self._events.append("push", push.id, state, data={"model": push.model, "message": message})
            return self.get(push.id)


def _push(row: sqlite3.Row) -> Push:
    decoded = {name: json.loads(row[name]) for name in ("devices", "policy", "jobs", "artifacts")}
    return Push(**{**dict(row), **decoded})

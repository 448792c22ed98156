"""Groups: named queries over devices, evaluated whenever they are used. A device is in any number of them."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from typing import Final

import msgspec

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.rollout.query import InGroup, Query, Subject, parse
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
NOTE_MAX: Final = 200
DEPTH_MAX: Final = 8  # groups within groups


class Group(msgspec.Struct, frozen=True):
    name: str
    query: str
    note: str
    created_at: int  # Unix ms
    updated_at: int
    actor: str | None = None


class Groups:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def put(self, name: str, query: str, *, note: str = "", actor: str | None = None) -> Group:
        """Make it, or change what it means. Raises InvalidInputError (name, query), NotFoundError (a group in
        it), ConflictError (it would contain itself)."""
        if not _NAME.fullmatch(name):
            raise InvalidInputError(
                "group_name", f"{name[:80]!r} is no group name: use 1 to 63 of a-z, 0-9, '.', '_' and '-'."
            )
        if len(note) > NOTE_MAX or not (note.isprintable() or not note):
            raise InvalidInputError(
                "group_note", f"A note has at most {NOTE_MAX} characters, all of them printable."
            )
        parsed = parse(query)
        with self._database.transaction() as connection:
            self._check_nesting(name, parsed)
            now = self._database.now_ms()
            connection.execute(
                "INSERT INTO groups (name, query, note, created_at, updated_at, actor)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (name)"
                " DO UPDATE SET query = excluded.query, note = excluded.note,"
                " updated_at = excluded.updated_at, actor = excluded.actor",
                (name, query, note, now, now, actor),
            )
            self._events.append("server", name, "group", actor=actor, data={"query": query})
            return self.get(name)

    def get(self, name: str) -> Group:
        """Raises NotFoundError."""
        row = self._database.row("SELECT * FROM groups WHERE name = ?", (name,))
        if row is None:
            raise NotFoundError(
                "no_such_group", f"There is no group {name[:80]!r}; `edgepress group list` shows them."
            )
        return _group(row)

    def list(self) -> list[Group]:
        return [_group(row) for row in self._database.rows("SELECT * FROM groups ORDER BY name")]

    def delete(self, name: str, *, actor: str | None = None) -> None:
        """Raises NotFoundError, ConflictError (another group or a rollout under way needs it)."""
        with self._database.transaction() as connection:
            self.get(name)
            users = [one.name for one in self.list() if name in parse(one.query).groups]
            if users:
                raise ConflictError("group_in_use", f"Group {name} is part of group {users[0]}.")
            rollouts = self._database.rows(
                "SELECT rollouts.id FROM rollouts, json_each(rollouts.target, '$.groups')"
                " WHERE json_each.value = ? AND rollouts.state NOT IN ('done', 'aborted') LIMIT 1",
                (name,),
            )
            if rollouts:
                raise ConflictError(
                    "group_in_use", f"Rollout {rollouts[0]['id']} is for group {name} and is not over."
                )
            connection.execute("DELETE FROM groups WHERE name = ?", (name,))
            self._events.append("server", name, "group_deleted", actor=actor)

    def membership(self) -> InGroup:
        """``in_group(name, subject)`` as of now; a group that is not there has nobody in it."""
        queries = {group.name: parse(group.query) for group in self.list()}

        def in_group(name: str, subject: Subject) -> bool:
            query = queries.get(name)
            return query is not None and query.matches(subject, in_group)

        return in_group

    def check(self, names: Iterable[str]) -> None:
        """Raises NotFoundError for the first that is not there."""
        for name in names:
            self.get(name)

    def _check_nesting(self, name: str, query: Query) -> None:
        known = {group.name: parse(group.query).groups for group in self.list()}
        self.check(query.groups - {name})
        level = set(query.groups)
        for _ in range(DEPTH_MAX):
            if not level:
                return
            if name in level:
                raise ConflictError("group_of_itself", f"Group {name} would contain itself.")
            level = {inner for one in level for inner in known.get(one, frozenset())}
        raise ConflictError("groups_too_deep", f"More than {DEPTH_MAX} groups within groups; write it flat.")


def _group(row: sqlite3.Row) -> Group:
    return Group(**dict(row))

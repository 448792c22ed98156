"""Enrolment codes of many devices: registered together or not at all, listed, taken back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from edgepress_server.errors import InvalidInputError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.devices import (
    CODE_MS,
    Devices,
    check_labels,
    check_name,
    code_hash,
    draw_code,
    taken,
)
from edgepress_server.store.events import Events

ERRORS_MAX = 20  # that a message names; a person corrects a file by kinds of error


@dataclass(frozen=True)
class NewDevice:
    row: int  # number of its line, for people
    name: str
    profile: str
    labels: dict[str, str]


@dataclass(frozen=True)
class MadeCode:
    device: str
    code: str
    expires_at: int  # Unix ms


@dataclass(frozen=True)
class OpenCode:
    device: str
    profile: str
    created_at: int
    expires_at: int
    actor: str | None


class Codes:
    def __init__(self, database: Database, events: Events, devices: Devices) -> None:
        self._database = database
        self._events = events
        self._devices = devices

    def register_all(
        self, rows: Sequence[NewDevice], *, actor: str | None, life_ms: int = CODE_MS, replace: bool = False
    ) -> list[MadeCode]:
        """Register all and make a code for each, in one transaction.

        ``replace``: a name that exists gets a new code, the profile and the labels given here; its old
        credentials work until the code is used. Raises InvalidInputError that names the rows at fault.
        """
        faults: list[str] = []
        seen: dict[str, int] = {}
        for row in rows:
            try:
                check_name(row.name)
                check_labels(row.labels)
            except InvalidInputError as error:
                faults.append(f"row {row.row}: {error.message}")
            if row.name in seen:
                faults.append(f"row {row.row}: {row.name!r} is in row {seen[row.name]} already.")
            seen.setdefault(row.name, row.row)
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            known = {
                found["name"]: found["revoked_at"] is not None
                for found in self._database.rows(
                    "SELECT name, revoked_at FROM devices WHERE name IN (SELECT value FROM json_each(?))",
                    (json.dumps(sorted(seen)),),
                )
            }
            if not replace:
                for name, was_revoked in known.items():
                    faults.append(f"row {seen[name]}: {taken(name, was_revoked=was_revoked)}")
            if faults:
                raise InvalidInputError("bad_rows", _said(faults, len(rows)))
            made = [MadeCode(row.name, draw_code(), now + life_ms) for row in rows]
            connection.executemany(
                "INSERT INTO devices (name, profile, labels, created_at) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET profile = excluded.profile, labels = excluded.labels",
                [(row.name, row.profile, json.dumps(row.labels, sort_keys=True), now) for row in rows],
            )
            connection.executemany(
                "DELETE FROM enrolment_codes WHERE device = ? AND used_at IS NULL",
                [(name,) for name in known],
            )
            connection.executemany(
                "INSERT INTO enrolment_codes (hash, device, created_at, expires_at, actor) "
                "VALUES (?, ?, ?, ?, ?)",
                [(code_hash(one.code), one.device, now, one.expires_at, actor) for one in made],
            )
            if rows:  # one event: live pages look at the list again once, not ten thousand times
                self._events.append(
                    "device", rows[0].name, "registered", actor=actor, data={"devices": len(rows)}
                )
        return made

    def open(self) -> list[OpenCode]:
        """Codes that still work, those that expire first in front."""
        rows = self._database.rows(
            "SELECT c.device, d.profile, c.created_at, c.expires_at, c.actor FROM enrolment_codes c "
            "JOIN devices d ON d.name = c.device WHERE c.used_at IS NULL AND c.expires_at > ? "
            "ORDER BY c.expires_at, c.device",
            (self._database.now_ms(),),
        )
        return [OpenCode(**dict(row)) for row in rows]

    def cancel(self, device: str, *, actor: str | None) -> None:
        """The open code of a device does not work any more. Raises NotFoundError when it has none."""
        with self._database.transaction() as connection:
            self._devices.get(device)
            gone = connection.execute(
                "DELETE FROM enrolment_codes WHERE device = ? AND used_at IS NULL AND expires_at > ?",
                (device, self._database.now_ms()),
            )
            if gone.rowcount == 0:
                raise NotFoundError(
                    "no_open_code",
                    f"{device} has no open enrolment code. `edgepress device codes` shows those there are.",
                )
            self._events.append("device", device, "code_cancelled", actor=actor)


def _said(faults: list[str], rows: int) -> str:
    shown = sorted(faults, key=lambda fault: int(fault.partition(":")[0].removeprefix("row ")))[:ERRORS_MAX]
    more = f"\n... and {len(faults) - len(shown)} more" if len(faults) > len(shown) else ""
    return f"None of the {rows} devices was registered:\n" + "\n".join(shown) + more

"""Silences and maintenance windows: while one holds, what it fits fires and is shown, and nobody is told.

A window repeats daily or weekly until a date, at the same time of day (UTC).
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.rollout.query import like, parse
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

Repeats = Literal["no", "daily", "weekly"]
_EVERY_MS: Final[dict[str, int]] = {"daily": 24 * 3600 * 1000, "weekly": 7 * 24 * 3600 * 1000}
LONGEST_MS: Final = 366 * 24 * 3600 * 1000
OPEN_MAX: Final = 500
KEEP_MS: Final = 90 * 24 * 3600 * 1000  # how long those that are over are shown


@dataclass(frozen=True)
class Silence:
    id: str
    rule: str  # "" = every rule; * stands for any characters
    query: str  # which devices; "" = all, and what is no device
    starts_at: int  # Unix ms, as all *_at
    ends_at: int
    repeats: Repeats
    until: int | None  # of those that repeat
    reason: str
    created_by: str
    created_at: int
    ended_by: str | None
    ended_at: int | None

    def holds(self, now_ms: int) -> bool:
        if self.ended_at is not None or now_ms < self.starts_at:
            return False
        if self.repeats == "no":
            return now_ms < self.ends_at
        if self.until is not None and now_ms >= self.until:
            return False
        return (now_ms - self.starts_at) % _EVERY_MS[self.repeats] < self.ends_at - self.starts_at

    def is_over(self, now_ms: int) -> bool:
        if self.ended_at is not None:
            return True
        last = self.ends_at if self.repeats == "no" else self.until
        return last is not None and now_ms >= last

    def fits_rule(self, rule: str) -> bool:
        return not self.rule or like(rule, self.rule.split("*"))


class AlertSilences:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def add(
        self,
        *,
        rule: str,
        query: str,
        starts_at: int | None,
        ends_at: int,
        repeats: Repeats,
        until: int | None,
        reason: str,
        actor: str,
    ) -> Silence:
        """``starts_at`` None: now. Raises InvalidInputError, ConflictError."""
        now = self._database.now_ms()
        starts_at = now if starts_at is None else starts_at
        _check(now, starts_at, ends_at, repeats, until)
        if query.strip():
            parse(query)
        if not reason.strip():
            raise InvalidInputError("no_reason", "Say why it is silenced: others will ask.")
        identity = secrets.token_hex(6)
        with self._database.transaction() as connection:
            if len([s for s in self.list() if not s.is_over(now)]) >= OPEN_MAX:
                raise ConflictError("too_many_silences", f"There are {OPEN_MAX} silences. End some first.")
            connection.execute("DELETE FROM alert_silences WHERE coalesce(ended_at, until, ends_at) < ?"
                               " AND (repeats = 'no' OR until IS NOT NULL OR ended_at IS NOT NULL)",
                               (now - KEEP_MS,))  # fmt: skip
            connection.execute(
                "INSERT INTO alert_silences (id, rule, query, starts_at, ends_at, repeats, until, reason,"
                " created_by, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (identity, rule, query, starts_at, ends_at, repeats, until, reason, actor, now),
            )
            self._events.append("alert", identity, "silenced", actor=actor, data={"reason": reason})
            return self.get(identity)

    def get(self, identity: str) -> Silence:
        """Raises NotFoundError."""
        row = self._database.row("SELECT * FROM alert_silences WHERE id = ?", (identity,))
        if row is None:
            raise NotFoundError(
                "silence_unknown",
                f"There is no silence {identity[:40]!r}; `edgepress alert silence list` shows them.",
            )
        return _silence(row)

    def list(self) -> list[Silence]:
        """Newest first."""
        rows = self._database.rows("SELECT * FROM alert_silences ORDER BY created_at DESC, rowid DESC")
        return [_silence(row) for row in rows]

    def holding(self, now_ms: int) -> Sequence[Silence]:
        return [silence for silence in self.list() if silence.holds(now_ms)]

    def end(self, identity: str, *, actor: str) -> Silence:
        """Take it back before its time. Raises NotFoundError, ConflictError when it is over."""
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            if self.get(identity).is_over(now):
                raise ConflictError("silence_over", f"The silence {identity} is over already.")
            connection.execute(
                "UPDATE alert_silences SET ended_by = ?, ended_at = ? WHERE id = ?", (actor, now, identity)
            )
            self._events.append("alert", identity, "silence_ended", actor=actor)
            return self.get(identity)


def _check(now: int, starts_at: int, ends_at: int, repeats: Repeats, until: int | None) -> None:
    length = ends_at - starts_at
    if length <= 0 or (repeats == "no" and ends_at <= now):
        raise InvalidInputError("bad_silence", "A silence ends after it starts, and not in the past.")
    if length > LONGEST_MS or starts_at > now + LONGEST_MS:
        raise InvalidInputError("bad_silence", "A silence lasts a year at most, and starts within a year.")
    if repeats != "no" and length >= _EVERY_MS[repeats]:
        raise InvalidInputError("bad_silence", f"A window that repeats {repeats} is shorter than that.")
    if repeats == "no" and until is not None:
        raise InvalidInputError("bad_silence", "`until` is for windows that repeat; others have `ends_at`.")
    if until is not None and until <= max(now, starts_at):
        raise InvalidInputError("bad_silence", "A window repeats until after it starts, and not in the past.")


def _silence(row: sqlite3.Row) -> Silence:
    return Silence(**dict(row))

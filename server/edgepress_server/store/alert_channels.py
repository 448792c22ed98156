"""Channels that alerts are told over, and the line of notices to each.

waiting --taken by the receiver--> sent
        --refused, unreachable---> waiting (later) --ATTEMPTS_MAX--> failed
        --its channel is removed or switched off--> dropped

A notice is written in the transaction that changes its incident, and its id is made of the incident, a number
and the channel: after a crash it is sent at least once, and receivers can tell a second time by the id.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from edgepress_server.alerts.rule import SEVERITIES, Severity
from edgepress_server.errors import ConflictError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

ChannelKind = Literal["webhook", "email", "mqtt"]
NoticeState = Literal["waiting", "sent", "failed", "dropped"]
CHANNELS_MAX: Final = 50
ATTEMPTS_MAX: Final = 12  # about six hours, see `back_off_ms`
WAITING_MAX: Final = 5_000  # notices in line to one channel; the oldest are dropped beyond
KEEP_MS: Final = 30 * 24 * 3600 * 1000


@dataclass(frozen=True)
class Channel:
    name: str
    kind: ChannelKind
    enabled: bool
    least_severity: Severity
    options: dict[str, Any]
    secret: str | None
    created_at: int  # Unix ms, as all *_at
    updated_at: int
    actor: str | None
    sent_at: int | None  # the newest that was taken
    failed_at: int | None  # the newest that was not
    failure: str  # why; "" once one was taken again

    def takes(self, severity: Severity) -> bool:
        return self.enabled and SEVERITIES.index(severity) >= SEVERITIES.index(self.least_severity)


@dataclass(frozen=True)
class Notice:
    id: str
    incident: str
    number: int
    channel: str
    what: str
    payload: dict[str, Any]
    state: NoticeState
    attempts: int
    next_try_at: int
    answer: str
    created_at: int
    ended_at: int | None


class AlertChannels:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def list(self) -> list[Channel]:
        return [_channel(row) for row in self._database.rows("SELECT * FROM alert_channels ORDER BY name")]

    def find(self, name: str) -> Channel | None:
        row = self._database.row("SELECT * FROM alert_channels WHERE name = ?", (name,))
        return None if row is None else _channel(row)

    def get(self, name: str) -> Channel:
        """Raises NotFoundError."""
        found = self.find(name)
        if found is None:
            raise NotFoundError(
                "channel_unknown",
                f"There is no alert channel {name[:80]!r}; `edgepress alert channel list` shows them.",
            )
        return found

    def put(
        self,
        name: str,
        kind: ChannelKind,
        *,
        options: dict[str, Any],
        secret: str | None,
        enabled: bool,
        least_severity: Severity,
        actor: str | None,
    ) -> Channel:
        """Make or change it; ``secret`` None keeps the one that is there. Raises ConflictError."""
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            old = self.find(name)
            if old is None and len(self.list()) >= CHANNELS_MAX:
                raise ConflictError(
                    "too_many_channels", f"There are {CHANNELS_MAX} channels. Remove one first."
                )
            if old is not None and old.kind != kind:
                raise ConflictError(
                    "channel_kind",
                    f"The channel {name} is of kind {old.kind}. Remove it, or take another name.",
                )
            connection.execute(
                "INSERT INTO alert_channels (name, kind, enabled, least_severity, options, secret,"
                " created_at, updated_at, actor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (name) DO UPDATE SET enabled = excluded.enabled,"
                " least_severity = excluded.least_severity,"
                " options = excluded.options, secret = coalesce(excluded.secret, secret),"
                " updated_at = excluded.updated_at, actor = excluded.actor",
                (name, kind, int(enabled), least_severity, json.dumps(options), secret, now, now, actor),
            )
            if not enabled:
                self._drop(name)
            self._events.append("alert", name, "channel_set", actor=actor, data={"kind": kind})
            return self.get(name)

    def remove(self, name: str, *, actor: str | None) -> None:
        """Raises NotFoundError."""
        with self._database.transaction() as connection:
            self.get(name)
            self._drop(name)
            connection.execute("DELETE FROM alert_channels WHERE name = ?", (name,))
            self._events.append("alert", name, "channel_removed", actor=actor)

    # --- notices ------------------------------------------------------------------------------------------

    def enqueue(
        self, incident: str, number: int, what: str, payload: dict[str, Any], channels: Sequence[str]
    ) -> None:
        """Inside the transaction of what it tells."""
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            for channel in channels:
                identity = f"{incident}-{number}-{channel}"
                text = json.dumps({"id": identity, **payload})
                connection.execute(
                    "INSERT OR IGNORE INTO alert_notices (id, incident, number, channel, what, payload,"
                    " state, next_try_at, created_at) VALUES (?, ?, ?, ?, ?, ?, 'waiting', ?, ?)",
                    (
                        identity,
                        incident,
                        number,
                        channel,
                        what,
                        text,
                        now,
                        now,
                    ),
                )
                connection.execute(
                    "UPDATE alert_notices SET state = 'dropped', ended_at = ?, answer = 'too many waited'"
                    " WHERE id IN (SELECT id FROM alert_notices WHERE channel = ? AND state = 'waiting'"
                    " ORDER BY created_at DESC LIMIT -1 OFFSET ?)",
                    (now, channel, WAITING_MAX),
                )

    def due(self, limit: int = 20) -> Sequence[Notice]:
        """To be sent now, the oldest first; of one incident and channel only the first in line."""
        rows = self._database.rows(
            "SELECT * FROM alert_notices n WHERE state = 'waiting' AND next_try_at <= ? AND NOT EXISTS"
            " (SELECT 1 FROM alert_notices e WHERE e.incident = n.incident AND e.channel = n.channel"
            " AND e.state = 'waiting' AND e.number < n.number) ORDER BY created_at, number LIMIT ?",
            (self._database.now_ms(), limit),
        )
        return [_notice(row) for row in rows]

    def sent(self, notice: Notice, answer: str) -> None:
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE alert_notices SET state = 'sent', attempts = attempts + 1, ended_at = ?, answer = ?"
                " WHERE id = ?",
                (now, answer, notice.id),
            )
            connection.execute(
                "UPDATE alert_channels SET sent_at = ?, failure = '' WHERE name = ?", (now, notice.channel)
            )

    def refused(self, notice: Notice, why: str, *, for_good: bool) -> None:
        """It is tried again later, or given up; ``for_good``: trying again changes nothing."""
        now = self._database.now_ms()
        over = for_good or notice.attempts + 1 >= ATTEMPTS_MAX
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE alert_notices SET state = ?, attempts = attempts + 1, next_try_at = ?, answer = ?,"
                " ended_at = ? WHERE id = ?",
                (
                    "failed" if over else "waiting",
                    now + back_off_ms(notice.attempts + 1),
                    why,
                    now if over else None,
                    notice.id,
                ),
            )
            connection.execute(
                "UPDATE alert_channels SET failed_at = ?, failure = ? WHERE name = ?",
                (now, why, notice.channel),
            )

    def notices(self, incident: str, limit: int = 200) -> Sequence[Notice]:
        """Newest first."""
        rows = self._database.rows(
            "SELECT * FROM alert_notices WHERE incident = ? ORDER BY number DESC, channel LIMIT ?",
            (incident, limit),
        )
        return [_notice(row) for row in rows]

    def waiting(self) -> dict[str, int]:
        """Channel -> notices in line."""
        rows = self._database.rows(
            "SELECT channel, count(*) AS n FROM alert_notices WHERE state = 'waiting' GROUP BY channel"
        )
        return {row["channel"]: int(row["n"]) for row in rows}

    def sent_since(self, since_ms: int) -> dict[str, int]:
        """Channel -> notices made since, for the limit on how many a person gets."""
        rows = self._database.rows(
            "SELECT channel, count(*) AS n FROM alert_notices WHERE created_at >= ? AND state <> 'dropped'"
            " GROUP BY channel",
            (since_ms,),
        )
        return {row["channel"]: int(row["n"]) for row in rows}

    def failed_since(self, since_ms: int) -> int:
        row = self._database.row(
            "SELECT count(*) AS n FROM alert_notices WHERE state = 'failed' AND ended_at >= ?", (since_ms,)
        )
        return int(row["n"]) if row is not None else 0

    def prune(self) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM alert_notices WHERE state <> 'waiting' AND created_at < ?",
                (self._database.now_ms() - KEEP_MS,),
            )

    def _drop(self, channel: str) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE alert_notices SET state = 'dropped', ended_at = ?, answer = 'the channel is off'"
                " WHERE channel = ? AND state = 'waiting'",
                (self._database.now_ms(), channel),
            )


def back_off_ms(attempts: int) -> int:
    """5 s, 10 s, 20 s, ... to an hour."""
    return int(min(3600, 5 * 2 ** max(0, attempts - 1)) * 1000)


def _channel(row: sqlite3.Row) -> Channel:
    columns = dict(row)
    columns["enabled"] = bool(columns["enabled"])
    columns["options"] = json.loads(columns["options"])
    return Channel(**columns)


def _notice(row: sqlite3.Row) -> Notice:
    columns = dict(row)
    columns["payload"] = json.loads(columns["payload"])
    return Notice(**columns)

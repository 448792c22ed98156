"""What rules say now, incidents and their history. The engine (alerts/engine.py) decides; this keeps.

A state row is there while a rule is not ok about a subject. An incident is what people see: all firings of a
rule that share its scope. Of a rule and scope at most one incident fires at a time.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from edgepress_server.alerts.rule import Severity
from edgepress_server.errors import ConflictError, NotFoundError
from edgepress_server.store.alert_channels import AlertChannels
from edgepress_server.store.alert_facts import AlertFacts
from edgepress_server.store.alert_rules import AlertRules
from edgepress_server.store.alert_silences import AlertSilences
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.facts import Facts
from edgepress_server.store.series.windows import SeriesWindows

StateName = Literal["pending", "firing", "resolving"]
IncidentState = Literal["firing", "resolved"]
KEEP_MS: Final = 180 * 24 * 3600 * 1000  # history and incidents that are over
KEEP_TRANSITIONS: Final = 500_000


@dataclass(frozen=True)
class StateRow:
    rule: str
    subject: str
    state: StateName
    since: int  # Unix ms, as all times
    began_at: int
    data_at: int
    value: float | None
    sentence: str
    incident: str | None


@dataclass(frozen=True)
class Incident:
    id: str
    rule: str
    scope: dict[str, str]
    severity: Severity
    title: str
    runbook: str
    state: IncidentState
    sentence: str
    worst: float | None
    subjects: int
    most_subjects: int
    first_subject: str
    model: str | None
    profile: str | None
    artifact: str | None
    rollout: str | None
    opened_at: int
    since: int
    updated_at: int
    resolved_at: int | None
    acknowledged_by: str | None
    acknowledged_at: int | None
    acknowledged_note: str
    reopened: list[int]
    flapping: bool
    silenced: bool
    told: str
    told_at: int | None
    told_subjects: int
    notices: int


@dataclass(frozen=True)
class Transition:
    id: int
    at: int
    rule: str
    subject: str
    incident: str | None
    what: str
    value: float | None
    fire_at: float | None
    sentence: str
    actor: str | None


Line = tuple[str, str, str | None, str, float | None, float | None, str, str | None]


class Alerts:
    """``rules``, ``silences``, ``channels``, ``facts`` and ``windows`` stand beside it."""

    def __init__(self, database: Database, events: Events, facts: Facts) -> None:
        self._database = database
        self._events = events
        self.rules = AlertRules(database, events, facts)
        self.silences = AlertSilences(database, events)
        self.channels = AlertChannels(database, events)
        self.facts = AlertFacts(database)
        self.windows = SeriesWindows(database)

    # --- states -------------------------------------------------------------------------------------------

    def states(self, rule: str | None = None) -> list[StateRow]:
        rows = self._database.rows("SELECT * FROM alert_states WHERE ? IS NULL OR rule = ?", (rule, rule))
        return [StateRow(**dict(row)) for row in rows]

    def members(self, incident: str, offset: int = 0, limit: int = 100) -> list[StateRow]:
        """Subjects of an incident that fire now, the longest first."""
        rows = self._database.rows(
            "SELECT * FROM alert_states WHERE incident = ? ORDER BY began_at, subject LIMIT ? OFFSET ?",
            (incident, limit, offset),
        )
        return [StateRow(**dict(row)) for row in rows]

    def of_subject(self, subject: str) -> list[StateRow]:
        """What fires about one subject."""
        rows = self._database.rows(
            "SELECT * FROM alert_states WHERE subject = ? AND state <> 'pending' ORDER BY began_at",
            (subject,),
        )
        return [StateRow(**dict(row)) for row in rows]

    def put_states(self, rows: Iterable[StateRow]) -> None:
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO alert_states (rule, subject, state, since, began_at, data_at, value,"
                " sentence, incident) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(r.rule, r.subject, r.state, r.since, r.began_at, r.data_at, r.value, r.sentence, r.incident)
                 for r in rows],
            )  # fmt: skip

    def drop_states(self, keys: Iterable[tuple[str, str]]) -> None:
        with self._database.transaction() as connection:
            connection.executemany("DELETE FROM alert_states WHERE rule = ? AND subject = ?", list(keys))

    # --- incidents ----------------------------------------------------------------------------------------

    def get(self, identity: str) -> Incident:
        """Raises NotFoundError."""
        row = self._database.row("SELECT * FROM alert_incidents WHERE id = ?", (identity,))
        if row is None:
            raise NotFoundError(
                "alert_unknown",
                f"There is no alert {identity[:40]!r}; `edgepress alert list --all` shows them.",
            )
        return _incident(row)

    def firing(self) -> list[Incident]:
        rows = self._database.rows("SELECT * FROM alert_incidents WHERE state = 'firing' ORDER BY opened_at")
        return [_incident(row) for row in rows]

    def unsettled(self, since_ms: int) -> list[Incident]:
        """Those that fire, that people have still to be told about, or that flapped lately."""
        rows = self._database.rows(
            "SELECT * FROM alert_incidents WHERE state = 'firing' OR told NOT IN ('', 'resolved')"
            " OR (flapping = 1 AND updated_at >= ?)",
            (since_ms,),
        )
        return [_incident(row) for row in rows]

    def newest_of(self, rule: str, scope: dict[str, str]) -> Incident | None:
        row = self._database.row(
            "SELECT * FROM alert_incidents WHERE rule = ? AND scope = ? ORDER BY opened_at DESC, rowid DESC",
            (rule, _json(scope)),
        )
        return None if row is None else _incident(row)

    def page(
        self,
        *,
        state: IncidentState | None = None,
        severity: Severity | None = None,
        rule: str | None = None,
        subject: str | None = None,
        offset: int = 0,
        limit: int = 100,
    ) -> tuple[int, list[Incident]]:
        """(how many fit, some of them): firing before resolved, severest first, then the newest."""
        where = (
            "(:state IS NULL OR state = :state) AND (:severity IS NULL OR severity = :severity)"
            " AND (:rule IS NULL OR rule = :rule) AND (:subject IS NULL OR first_subject = :subject OR id IN"
            " (SELECT incident FROM alert_transitions WHERE subject = :subject AND what = 'fired'))"
        )
        given = {"state": state, "severity": severity, "rule": rule, "subject": subject}
        total = self._database.rows(f"SELECT count(*) AS n FROM alert_incidents WHERE {where}", given)[0]["n"]  # noqa: S608 - constant above
        rows = self._database.rows(
            f"SELECT * FROM alert_incidents WHERE {where} ORDER BY state = 'resolved',"  # noqa: S608
            " CASE WHEN state = 'resolved' THEN 0 WHEN severity = 'critical' THEN 1"
            " WHEN severity = 'warning' THEN 2 ELSE 3 END, since DESC, rowid DESC"
            " LIMIT :limit OFFSET :offset",
            {**given, "limit": limit, "offset": offset},
        )
        return int(total), [_incident(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """Of those that fire: severity -> how many; and acknowledged, silenced, flapping."""
        row = self._database.rows(
            "SELECT sum(severity = 'critical') AS critical, sum(severity = 'warning') AS warning,"
            " sum(severity = 'info') AS info, sum(acknowledged_by IS NOT NULL) AS acknowledged,"
            " sum(silenced) AS silenced, sum(flapping) AS flapping FROM alert_incidents"
            " WHERE state = 'firing'"
        )[0]
        return {name: int(row[name] or 0) for name in row.keys()}  # noqa: SIM118 - a Row iterates its values

    def open(self, incident: dict[str, Any], *, sentence: str) -> Incident:
        """Inside a transaction. ``incident``: what `Incident` holds, without what begins as nothing."""
        now = self._database.now_ms()
        identity = secrets.token_hex(6)
        row = {
            "id": identity, "state": "firing", "opened_at": now, "since": now, "updated_at": now,
            "sentence": sentence, **incident, "scope": _json(incident["scope"]),
        }  # fmt: skip
        with self._database.transaction() as connection:
            connection.execute(
                f"INSERT INTO alert_incidents ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",  # noqa: S608 - names of ours
                tuple(row.values()),
            )
        return self.get(identity)

    def change(self, identity: str, **columns: Any) -> None:
        """Set columns of an incident (names of `Incident`)."""
        if "reopened" in columns:
            columns["reopened"] = json.dumps(columns["reopened"])
        columns.setdefault("updated_at", self._database.now_ms())
        with self._database.transaction() as connection:
            connection.execute(
                f"UPDATE alert_incidents SET {', '.join(f'{name} = ?' for name in columns)} WHERE id = ?",  # noqa: S608 - names of ours
                (*columns.values(), identity),
            )

    def acknowledge(self, identity: str, note: str, *, actor: str) -> Incident:
        """Somebody sees to it. Raises NotFoundError, ConflictError when it is over."""
        with self._database.transaction():
            incident = self.get(identity)
            if incident.state != "firing":
                raise ConflictError("alert_over", f"The alert {identity} is over; nobody has to see to it.")
            self.change(
                identity,
                acknowledged_by=actor,
                acknowledged_at=self._database.now_ms(),
                acknowledged_note=note,
            )
            sentence = f"{actor} sees to it" + (f": {note}" if note else "")
            self.tell(incident, "acknowledged", sentence, actor=actor)
            return self.get(identity)

    def take_back(self, identity: str, *, actor: str) -> Incident:
        """Nobody sees to it any more. Raises NotFoundError, ConflictError."""
        with self._database.transaction():
            incident = self.get(identity)
            if incident.acknowledged_by is None:
                raise ConflictError("not_acknowledged", f"Nobody has acknowledged the alert {identity}.")
            self.change(identity, acknowledged_by=None, acknowledged_at=None, acknowledged_note="")
            self.tell(incident, "unacknowledged", f"{actor}: nobody sees to it any more", actor=actor)
            return self.get(identity)

    # --- history ------------------------------------------------------------------------------------------

    def tell(
        self,
        incident: Incident,
        what: str,
        sentence: str,
        *,
        actor: str | None = None,
        value: float | None = None,
    ) -> None:
        """A line of the incident itself, and the event by which pages are live."""
        with self._database.transaction():
            self.note([(incident.rule, "", incident.id, what, value, None, sentence, actor)])
            self._events.append(
                "alert",
                incident.id,
                what,
                actor=actor,
                data={
                    "rule": incident.rule,
                    "title": incident.title,
                    "severity": incident.severity,
                    "message": sentence,
                    "subjects": incident.subjects,
                    "profile": incident.profile,
                    "model": incident.model,
                    "device": incident.first_subject.removeprefix("device:")
                    if incident.first_subject.startswith("device:")
                    else None,
                },
            )

    def note(self, rows: Sequence[Line]) -> None:
        """(rule, subject, incident, what, value, fire_at, sentence, actor), all of now."""
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO alert_transitions (at, rule, subject, incident, what, value, fire_at, sentence,"
                " actor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(now, *row) for row in rows],
            )

    def history(
        self,
        *,
        incident: str | None = None,
        rule: str | None = None,
        subject: str | None = None,
        from_ms: int = 0,
        to_ms: int = 2**53,
        before: int = 2**53,
        limit: int = 100,
    ) -> list[Transition]:
        """Newest first; the next page is what is ``before`` the last id."""
        rows = self._database.rows(
            "SELECT * FROM alert_transitions WHERE id < :before AND at >= :from_ms AND at < :to_ms"
            " AND (:incident IS NULL OR incident = :incident) AND (:rule IS NULL OR rule = :rule)"
            " AND (:subject IS NULL OR subject = :subject) ORDER BY id DESC LIMIT :limit",
            {"before": before, "from_ms": from_ms, "to_ms": to_ms, "incident": incident, "rule": rule,
             "subject": subject, "limit": limit},
        )  # fmt: skip
        return [Transition(**dict(row)) for row in rows]

    def prune(self) -> None:
        """What is older than KEEP_MS, and beyond KEEP_TRANSITIONS lines."""
        old = self._database.now_ms() - KEEP_MS
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM alert_transitions WHERE at < ?"
                " OR id <= (SELECT max(id) FROM alert_transitions) - ?",
                (old, KEEP_TRANSITIONS),
            )
            connection.execute(
                "DELETE FROM alert_incidents WHERE state = 'resolved' AND resolved_at < ? AND id NOT IN"
                " (SELECT incident FROM alert_states WHERE incident IS NOT NULL)",
                (old,),
            )


def _json(scope: dict[str, str]) -> str:
    return json.dumps(scope, sort_keys=True)


def _incident(row: sqlite3.Row) -> Incident:
    columns = dict(row)
    columns["scope"] = json.loads(columns["scope"])
    columns["reopened"] = json.loads(columns["reopened"])
    columns["flapping"] = bool(columns["flapping"])
    columns["silenced"] = bool(columns["silenced"])
    return Incident(**columns)

"""Findings: a budget that devices miss, and what became of it. States (watch/engine.py takes the steps):

open --auto--> calibrating --jobs over--> searching --found--> released --devices keep it--> resolved
     --else--> proposed --a person accepts--> calibrating | released
                        --a person--------> dismissed
calibrating | searching | released --came to nothing--> open          (tried again later, not for ever)
any of these --the devices keep the budget again, or the artifact runs no more--> resolved

Scope "device": some devices of a profile miss what the others keep. Nothing follows by itself: it stays
open or is dismissed, until it resolves. Of one (model, profile, kind, scope) at most one finding is not
over; while one was dismissed, no new one is made for the same artifact.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from edgepress_server.errors import NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

FindingKind = Literal["latency", "memory", "energy", "prediction"]
FindingScope = Literal["profile", "device"]
FindingState = Literal["open", "proposed", "calibrating", "searching", "released", "resolved", "dismissed"]
OVER: Final[tuple[FindingState, ...]] = ("resolved", "dismissed")
KEEP_OVER: Final = 500  # findings that are over, the newest


@dataclass(frozen=True)
class Finding:
    id: str
    kind: FindingKind
    scope: FindingScope
    model: str
    profile: str
    digest: str  # the artifact that runs while it is missed
    rollout: str | None  # that brought it
    measured: float  # us, bytes, mJ, or measured / predicted, by kind
    limit: float
    figures: dict[str, float]  # what was measured together with it: p95_us, rss_bytes, energy_mj
    predicted_us: float | None
    devices: list[str]  # that miss it
    judged: int
    inferences: int
    since: int  # Unix ms, as all *_at
    sentence: str
    state: FindingState
    message: str
    accepted_by: str | None
    release_too: bool
    jobs: list[str]  # profiling jobs
    search: str | None
    chosen: str | None  # digest
    release: str | None
    new_rollout: str | None
    attempts: int  # searches so far
    next_try_at: int | None
    created_at: int
    updated_at: int
    ended_at: int | None


@dataclass(frozen=True)
class Step:
    """One line of a finding's story."""

    number: int
    at: int  # Unix ms
    what: (
        str  # missed, profiling, calibrated, search, found, not_found, released, rollout, kept, resolved ...
    )
    sentence: str
    about: str | None  # "search", "release", "rollout", "profiling", "profile"
    about_id: str | None


@dataclass(frozen=True)
class Observed:
    """What telemetry says of it now."""

    digest: str
    rollout: str | None
    measured: float
    limit: float
    figures: dict[str, float]
    predicted_us: float | None
    devices: Sequence[str]
    judged: int
    inferences: int
    since: int
    sentence: str


class Findings:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    # --- reading ------------------------------------------------------------------------------------------

    def get(self, finding_id: str) -> Finding:
        """Raises NotFoundError."""
        row = self._database.row("SELECT * FROM findings WHERE id = ?", (finding_id,))
        if row is None:
            raise NotFoundError(
                "finding_unknown",
                f"There is no finding {finding_id[:40]!r}; `edgepress finding list` shows them.",
            )
        return _finding(row)

    def list(
        self,
        *,
        model: str | None = None,
        profile: str | None = None,
        new_rollout: str | None = None,
        over: bool = True,
        limit: int = 200,
    ) -> list[Finding]:
        """Those that are not over first, then the newest."""
        rows = self._database.rows(
            "SELECT * FROM findings WHERE (:model IS NULL OR model = :model)"
            " AND (:profile IS NULL OR profile = :profile)"
            " AND (:rollout IS NULL OR new_rollout = :rollout OR rollout = :rollout)"
            " AND (:over OR state NOT IN ('resolved', 'dismissed'))"
            " ORDER BY state IN ('resolved', 'dismissed'), created_at DESC, rowid DESC LIMIT :limit",
            {"model": model, "profile": profile, "rollout": new_rollout, "over": over, "limit": limit},
        )
        return [_finding(row) for row in rows]

    def live(self, model: str, profile: str, kind: FindingKind, scope: FindingScope) -> Finding | None:
        """The one that is not over."""
        row = self._database.row(
            "SELECT * FROM findings WHERE model = ? AND profile = ? AND kind = ? AND scope = ?"
            " AND state NOT IN ('resolved', 'dismissed')",
            (model, profile, kind, scope),
        )
        return None if row is None else _finding(row)

    def newest_over(self, model: str, profile: str, kind: FindingKind, scope: FindingScope) -> Finding | None:
        """The last of them that ended."""
        row = self._database.row(
            "SELECT * FROM findings WHERE model = ? AND profile = ? AND kind = ? AND scope = ?"
            " AND state IN ('resolved', 'dismissed') ORDER BY ended_at DESC, rowid DESC LIMIT 1",
            (model, profile, kind, scope),
        )
        return None if row is None else _finding(row)

    def was_dismissed(
        self, model: str, profile: str, kind: FindingKind, scope: FindingScope, digest: str
    ) -> bool:
        """Whether a person said of this very artifact that nothing is to be done."""
        row = self._database.row(
            "SELECT state FROM findings WHERE model = ? AND profile = ? AND kind = ? AND scope = ? AND "
            "digest = ?"
            " ORDER BY created_at DESC, rowid DESC LIMIT 1",
            (model, profile, kind, scope, digest),
        )
        return row is not None and row["state"] == "dismissed"

    def steps(self, finding_id: str) -> Sequence[Step]:
        """Oldest first."""
        rows = self._database.rows(
            "SELECT number, at, what, sentence, about, about_id FROM finding_steps WHERE finding = ?"
            " ORDER BY number",
            (finding_id,),
        )
        return [Step(**dict(row)) for row in rows]

    def searches_since(self, model: str, profile: str, since_ms: int) -> int:
        """How many searches findings of this model and profile have started since."""
        row = self._database.row(
            "SELECT count(*) AS n FROM finding_steps s JOIN findings f ON f.id = s.finding"
            " WHERE f.model = ? AND f.profile = ? AND s.what = 'search' AND s.at >= ?",
            (model, profile, since_ms),
        )
        return 0 if row is None else int(row["n"])

    # --- writing ------------------------------------------------------------------------------------------

    def open(
        self,
        model: str,
        profile: str,
        kind: FindingKind,
        scope: FindingScope,
        seen: Observed,
        attempts: int = 0,
        next_try_at: int | None = None,
    ) -> Finding:
        """Inside the transaction that saw that there is none. `attempts`, `next_try_at`: of one before it."""
        finding_id, now = secrets.token_hex(6), self._database.now_ms()
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO findings (id, kind, scope, model, profile, digest, rollout, measured,"
                " measured_limit, figures, predicted_us, devices, judged, inferences, since, sentence, "
                "state, attempts, next_try_at, created_at, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'open', ?, ?, ?, ?)",
                (
                    finding_id,
                    kind,
                    scope,
                    model,
                    profile,
                    seen.digest,
                    seen.rollout,
                    seen.measured,
                    seen.limit,
                    json.dumps(seen.figures),
                    seen.predicted_us,
                    json.dumps(list(seen.devices)),
                    seen.judged,
                    seen.inferences,
                    seen.since,
                    seen.sentence,
                    attempts,
                    next_try_at,
                    now,
                    now,
                ),
            )
            self.tell(finding_id, "missed", seen.sentence)
            self._prune()
            return self.get(finding_id)

    def see(self, finding: Finding, seen: Observed) -> Finding:
        """The newest figures of a finding that is not over. The artifact changes with them."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE findings SET digest = ?, rollout = ?, measured = ?, measured_limit = ?, figures = ?,"
                " predicted_us = ?, devices = ?, judged = ?, inferences = ?, sentence = ?, updated_at = ?"
                " WHERE id = ?",
                (
                    seen.digest,
                    seen.rollout,
                    seen.measured,
                    seen.limit,
                    json.dumps(seen.figures),
                    seen.predicted_us,
                    json.dumps(list(seen.devices)),
                    seen.judged,
                    seen.inferences,
                    seen.sentence,
                    self._database.now_ms(),
                    finding.id,
                ),
            )
            return self.get(finding.id)

    def move(self, finding: Finding, state: FindingState, message: str, **more: Any) -> Finding:
        """Write a state and what goes with it (columns by name); its event with it."""
        columns: dict[str, Any] = {"state": state, "message": message, **more}
        if "jobs" in columns:
            columns["jobs"] = json.dumps(columns["jobs"])
        if unknown := columns.keys() - _MOVABLE:
            raise TypeError(f"no column of a finding that may be moved: {', '.join(sorted(unknown))}")
        with self._database.transaction() as connection:
            now = self._database.now_ms()
            sets = ", ".join(f"{name} = :{name}" for name in columns)  # names of _MOVABLE only
            connection.execute(
                f"UPDATE findings SET {sets}, updated_at = :now, ended_at = :ended WHERE id = :id",  # noqa: S608
                {**columns, "now": now, "ended": now if state in OVER else None, "id": finding.id},
            )
            if state != finding.state:  # pages look again; the log has the step's own words
                self._event(finding, "state", None, message)
            return self.get(finding.id)

    def tell(
        self,
        finding_id: str,
        what: str,
        sentence: str,
        *,
        about: str | None = None,
        about_id: str | None = None,
        actor: str | None = None,
    ) -> None:
        """One more line of its story; the same line twice in a row is told once."""
        with self._database.transaction() as connection:
            last = self._database.row(
                "SELECT number, what, sentence FROM finding_steps WHERE finding = ? ORDER BY number DESC "
                "LIMIT 1",
                (finding_id,),
            )
            if last is not None and (last["what"], last["sentence"]) == (what, sentence):
                return
            connection.execute(
                "INSERT INTO finding_steps (finding, number, at, what, sentence, about, about_id)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    finding_id,
                    1 if last is None else last["number"] + 1,
                    self._database.now_ms(),
                    what,
                    sentence,
                    about,
                    about_id,
                ),
            )
            self._event(self.get(finding_id), what, actor, sentence)

    def _event(self, finding: Finding, action: str, actor: str | None, message: str) -> None:
        self._events.append(
            "finding",
            finding.id,
            action,
            actor=actor,
            data={"model": finding.model, "profile": finding.profile, "message": message},
        )

    def _prune(self) -> None:
        """Inside a transaction: of those that are over the newest are kept."""
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM findings WHERE id IN (SELECT id FROM findings WHERE state IN ('resolved', "
                "'dismissed')"
                " ORDER BY created_at DESC, rowid DESC LIMIT -1 OFFSET ?)",
                (KEEP_OVER,),
            )


_MOVABLE: Final = frozenset(
    {
        "state",
        "message",
        "accepted_by",
        "release_too",
        "jobs",
        "search",
        "chosen",
        "release",
        "new_rollout",
        "attempts",
        "next_try_at",
    }
)


def _finding(row: sqlite3.Row) -> Finding:
    columns = dict(row)
    columns["limit"] = columns.pop("measured_limit")
    columns["release_too"] = bool(columns["release_too"])
    for name in ("devices", "jobs", "figures"):
        columns[name] = json.loads(columns[name])
    return Finding(**columns)

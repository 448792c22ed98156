"""Rollouts: one release on its way to chosen devices. The rules are at the head of ``rollout/decide``.

People create, approve, pause, resume, abort and roll back here (through the API); the rollout engine moves
the states on. Every change writes its event, and its reason in words, in the same transaction.
"""

from __future__ import annotations

import builtins
import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.rollout.waves import Candidate, assign
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.releases import Release, Releases
from edgepress_server.store.rollout_moves import RolloutMoves
from edgepress_server.store.rollout_policy import Policy, Target, check_times, read_policy
from edgepress_server.store.rollout_rows import (
    DEVICE_STATES,
    FINAL,
    Approval,
    DeviceState,
    Rollout,
    RolloutDevice,
    RolloutState,
    Stage,
    read_device,
    stage_name,
    words,
)
from edgepress_server.store.rollout_targets import LeftOut, Targets

__all__ = ["DeviceState", "Policy", "Rollout", "RolloutDevice", "RolloutState", "Rollouts", "Stage", "Target"]


class Rollouts:
    def __init__(
        self,
        database: Database,
        events: Events,
        releases: Releases,
        targets: Targets,
        moves: RolloutMoves,
    ) -> None:
        self._database = database
        self._events = events
        self._releases = releases
        self._targets = targets
        self._moves = moves
        self.decisions = moves.decisions

    # --- what people do -----------------------------------------------------------------------------------

    def create(
        self,
        release: str,
        *,
        devices: Sequence[str] | None = None,
        profiles: Sequence[str] | None = None,
        labels: Mapping[str, str] | None = None,
        groups: Sequence[str] | None = None,
        query: str | None = None,
        policy: Policy | Mapping[str, Any] | None = None,
        actor: str | None = None,
        rollback_of: str | None = None,
    ) -> Rollout:
        """A rollout to the named devices, or to every enrolled one that has these profiles and labels, is in
        one of the groups and fits the query.

        Raises NotFoundError (release, device, group), InvalidInputError (policy, query), ConflictError (no
        device fits; a named one is revoked, not enrolled, runs a newer release or has a profile that the
        release lacks; the release was withdrawn).
        """
        rules = read_policy(policy)
        target = read_target(devices, profiles, labels, groups, query)
        rollout_id = secrets.token_hex(6)
        with self._database.transaction() as connection:
            what = self._releases.get(release)
            if what.state == "withdrawn":
                raise ConflictError(
                    "release_withdrawn", f"Release {release} was withdrawn. Make a new one and roll that out."
                )
            rows = self.chosen(what, devices, target)
            now = self._database.now_ms()
            check_times(rules, now)
            connection.execute(
                "INSERT INTO rollouts (id, release, state, policy, created_at, stage_since, actor, target,"
                " rollback_of) VALUES (?, ?, 'draft', ?, ?, ?, ?, ?, ?)",
                (
                    rollout_id,
                    release,
                    msgspec.json.encode(rules).decode(),
                    now,
                    now,
                    actor,
                    None if target is None else msgspec.json.encode(target).decode(),
                    rollback_of,
                ),
            )
            places = assign(candidates(rows), rules, rollout_id)
            connection.executemany(
                "INSERT INTO rollout_devices"
                " (rollout, device, digest, profile, stage, wave, state, updated_at)"
                " VALUES (?, ?, ?, ?, ?, ?, 'waiting', ?)",
                [
                    (
                        rollout_id,
                        place.device,
                        what.artifacts[place.profile],
                        place.profile,
                        "canary" if place.wave == 0 else "ramp",
                        place.wave,
                        now,
                    )
                    for place in places
                ],
            )
            self._events.append("rollout", rollout_id, "created", actor=actor, data={"release": release})
            canaries = sum(place.wave == 0 for place in places)
            self.decisions.add(
                rollout_id,
                "created",
                f"release {what.counter} of {what.model} for {_count(len(places), 'device')}, "
                f"{_count(canaries, 'canary', 'canaries')} first, {_count(len(rules.waves), 'wave')} after",
                actor=actor,
            )
        return self.get(rollout_id)

    def chosen(
        self, release: Release, devices: Sequence[str] | None, target: Target | None
    ) -> builtins.list[sqlite3.Row]:
        """Rows of whom it reaches, see `Targets`. Raises as `create` does."""
        left_out: Sequence[LeftOut] = ()
        if target is None:
            rows = self._targets.named(devices or (), release)
        else:
            rows, left_out = self._targets.matching(target, release)
        if not rows:
            raise ConflictError("no_devices", _nobody(release, left_out))
        return rows

    def approve(self, rollout_id: str, wave: int | None = None, *, actor: str | None = None) -> Rollout:
        """A person's word that a stage may begin (0: canaries); None: the next one that needs it.

        Saying it twice is no error. Raises ConflictError (no such stage, it needs no word, it is over).
        """
        with self._database.transaction() as connection:
            rollout = self._read(self._row(rollout_id))
            if rollout.state in (*FINAL, "rolling_back"):
                raise ConflictError(
                    "cannot_approve", f"The rollout is {words(rollout.state)}; nothing of it begins any more."
                )
            given = {each.wave for each in rollout.approvals}
            stages = [n for n in range(len(rollout.policy.waves) + 1) if rollout.policy.approval_needed(n)]
            if wave is None:
                wave = next((n for n in stages if n >= rollout.wave and n not in given), None)
            if wave is None or wave not in stages:
                named = ", ".join(stage_name(n, len(rollout.policy.waves)) for n in stages) or "none"
                which = "No stage waits for approval" if wave is None else "That stage needs no approval"
                raise ConflictError("no_approval_needed", f"{which}; by the policy these need it: {named}.")
            connection.execute(
                "INSERT OR IGNORE INTO rollout_approvals (rollout, wave, at, actor) VALUES (?, ?, ?, ?)",
                (rollout_id, wave, self._database.now_ms(), actor),
            )
            if wave not in given:
                said = f"{stage_name(wave, len(rollout.policy.waves))}, approved by {actor or 'a person'}"
                self.decisions.add(rollout_id, "approved", said, actor=actor)
                connection.execute("UPDATE rollouts SET waiting = '' WHERE id = ?", (rollout_id,))
                self._events.append("rollout", rollout_id, "approved", actor=actor, data={"wave": wave})
        return self.get(rollout_id)

    def pause(self, rollout_id: str, *, actor: str | None = None, reason: str = "") -> Rollout:
        """Issue nothing more until `resume`; what devices have begun they finish. Raises ConflictError."""
        with self._database.transaction():
            state = self.state(rollout_id)
            if state in (*FINAL, "paused", "rolling_back"):
                raise ConflictError(
                    "cannot_pause", f"The rollout is {words(state)}; there is nothing to pause."
                )
            said = reason or f"paused by {actor or 'a person'}"
            self._moves.set_state(rollout_id, "paused", said, what="paused", resume=state, actor=actor)
        return self.get(rollout_id)

    def resume(self, rollout_id: str, *, actor: str | None = None, overrule: bool = False) -> Rollout:
        """Go on where it stopped; devices that failed get another try, gates judge by figures from now on.

        ``overrule``: the gates of the stage that it is in are not looked at any more. Raises ConflictError.
        """
        with self._database.transaction() as connection:
            row = self._row(rollout_id)
            if row["state"] != "paused":
                raise ConflictError("not_paused", f"The rollout is {words(row['state'])}, not paused.")
            now = self._database.now_ms()
            again = connection.execute(
                "UPDATE rollout_devices SET state = 'waiting', reason = '', updated_at = ?"
                " WHERE rollout = ? AND state = 'failed'",
                (now, rollout_id),
            ).rowcount
            state: RolloutState = row["resume_state"] or "draft"
            connection.execute(
                "UPDATE rollouts SET begun_at = CASE WHEN begun_at IS NOT NULL THEN ? END, settled_at = NULL,"
                " gates_since = ?, overruled = CASE WHEN ? THEN wave ELSE overruled END WHERE id = ?",
                (now, now, overrule, rollout_id),
            )
            said = f"by {actor or 'a person'}"
            if again:
                said += f"; {_count(again, 'device')} that failed {'tries' if again == 1 else 'try'} again"
            if overrule:
                said += "; the gates of this stage are overruled"
            # Nobody is told anything while it soaks, and these are to be told again.
            self._moves.set_state(rollout_id, "ramp" if again and state == "soak" else state, "", actor=actor)
            self.decisions.add(rollout_id, "overruled" if overrule else "resumed", said, actor=actor)
        return self.get(rollout_id)

    def abort(self, rollout_id: str, *, actor: str | None = None) -> Rollout:
        """Devices that have not committed get back what they were to run before. Raises ConflictError."""
        with self._database.transaction():
            state = self.state(rollout_id)
            if state in FINAL:
                raise ConflictError(
                    "cannot_abort",
                    f"The rollout is {words(state)} already. Devices that committed to it go back with "
                    "`edgepress rollout rollback`.",
                )
            if state != "rolling_back":
                said = f"aborted by {actor or 'a person'}"
                self._moves.set_state(rollout_id, "rolling_back", said, actor=actor)
        return self.get(rollout_id)

    def rollback(self, rollout_id: str, *, actor: str | None = None, reason: str = "") -> Rollout:
        """All its devices, also those that committed and also of a rollout that is done or aborted, get back
        what they were to run before. Raises ConflictError."""
        with self._database.transaction() as connection:
            row = self._row(rollout_id)
            over = row["state"] == "aborted" and (row["rollback"] or not self._committed(rollout_id))
            if row["state"] == "draft" or over or (row["state"] == "rolling_back" and row["rollback"]):
                raise ConflictError(
                    "cannot_roll_back",
                    f"The rollout is {words(row['state'])}; there is nothing to roll back.",
                )
            connection.execute("UPDATE rollouts SET rollback = 1 WHERE id = ?", (rollout_id,))
            said = reason or f"rolled back by {actor or 'a person'}"
            self._moves.set_state(rollout_id, "rolling_back", said, what="rolling_back", actor=actor)
        return self.get(rollout_id)

    # --- reading ------------------------------------------------------------------------------------------

    def get(self, rollout_id: str) -> Rollout:
        """With its devices. Raises NotFoundError."""
        with self._database.snapshot():
            rollout = self._read(self._row(rollout_id))
            rollout.devices = self._devices(rollout_id)
            return rollout

    def summary(self, rollout_id: str) -> Rollout:
        """Without its devices. Raises NotFoundError."""
        with self._database.snapshot():
            return self._read(self._row(rollout_id))

    def state(self, rollout_id: str) -> RolloutState:
        state: RolloutState = self._row(rollout_id)["state"]
        return state

    def active(self) -> builtins.list[str]:
        """Ids of the rollouts that are not over, oldest first."""
        rows = self._database.rows(
            "SELECT id FROM rollouts WHERE state NOT IN ('done', 'aborted') ORDER BY created_at, rowid"
        )
        return [row["id"] for row in rows]

    def active_with(self, digest: str) -> Sequence[str]:
        """Ids of the rollouts, not over, that bring this artifact to a device."""
        rows = self._database.rows(
            "SELECT DISTINCT r.id FROM rollouts r JOIN rollout_devices d ON d.rollout = r.id"
            " WHERE d.digest = ? AND r.state NOT IN ('done', 'aborted')",
            (digest,),
        )
        return [row["id"] for row in rows]

    def digests_in_use(self) -> set[str]:
        """Artifacts that devices of a rollout are to fetch from the broker."""
        rows = self._database.rows(
            "SELECT DISTINCT d.digest FROM rollouts r JOIN rollout_devices d ON d.rollout = r.id"
            " WHERE r.state NOT IN ('draft', 'aborted') AND d.state IN ('waiting', 'wanted', 'fetching')"
        )
        return {row["digest"] for row in rows}

    def list(self, limit: int = 200) -> builtins.list[Rollout]:
        """The newest first; without their devices, which `counts` sums up."""
        with self._database.snapshot():
            rows = self._database.rows(
                "SELECT * FROM rollouts ORDER BY created_at DESC, id LIMIT ?", (limit,)
            )
            return [self._read(row) for row in rows]

    # --- inside -------------------------------------------------------------------------------------------

    def _row(self, rollout_id: str) -> sqlite3.Row:
        row = self._database.row("SELECT * FROM rollouts WHERE id = ?", (rollout_id,))
        if row is None:
            raise NotFoundError(
                "no_such_rollout", f"There is no rollout {rollout_id!r}; `edgepress rollout list` shows them."
            )
        return row

    def _read(self, row: sqlite3.Row) -> Rollout:
        counts = dict.fromkeys(map(str, DEVICE_STATES), 0)
        for count in self._database.rows(
            "SELECT state, count(*) AS n FROM rollout_devices WHERE rollout = ? GROUP BY state", (row["id"],)
        ):
            counts[count["state"]] = count["n"]
        approvals = self._database.rows(
            "SELECT wave, at, actor FROM rollout_approvals WHERE rollout = ? ORDER BY wave", (row["id"],)
        )
        undone = self._database.rows(
            "SELECT id FROM rollouts WHERE rollback_of = ? ORDER BY created_at, rowid", (row["id"],)
        )
        return Rollout(
            id=row["id"],
            release=self._releases.get(row["release"]),
            state=row["state"],
            reason=row["reason"],
            policy=msgspec.json.decode(row["policy"], type=Policy),
            created_at=row["created_at"],
            stage_since=row["stage_since"],
            finished_at=row["finished_at"],
            actor=row["actor"],
            counts=counts,
            devices=[],
            resume_state=row["resume_state"],
            wave=row["wave"],
            waiting=row["waiting"],
            begun_at=row["begun_at"],
            settled_at=row["settled_at"],
            target=None if row["target"] is None else msgspec.json.decode(row["target"], type=Target),
            approvals=[Approval(**dict(each)) for each in approvals],
            rollback_of=row["rollback_of"],
            rolled_back_by=[each["id"] for each in undone],
        )

    def _committed(self, rollout_id: str) -> bool:
        sql = "SELECT 1 FROM rollout_devices WHERE rollout = ? AND state = 'committed' LIMIT 1"
        return self._database.row(sql, (rollout_id,)) is not None

    def _devices(self, rollout_id: str) -> builtins.list[RolloutDevice]:
        rows = self._database.rows(
            "SELECT r.*, d.online, d.state AS report FROM rollout_devices r"
            " JOIN devices d ON d.name = r.device WHERE r.rollout = ? ORDER BY r.wave, r.device",
            (rollout_id,),
        )
        return [read_device(row) for row in rows]


def read_target(
    devices: Sequence[str] | None,
    profiles: Sequence[str] | None,
    labels: Mapping[str, str] | None,
    groups: Sequence[str] | None,
    query: str | None,
) -> Target | None:
    """None: the devices are named. Raises InvalidInputError where both are said."""
    target = Target(
        profiles=list(profiles or ()), labels=dict(labels or {}), groups=list(groups or ()), query=query or ""
    )
    if devices is None:
        return target
    if target != Target():
        raise InvalidInputError(
            "rollout_target",
            "Say which devices either by name or by profiles, labels, groups and query, not both.",
        )
    return None


def _nobody(release: Release, left_out: Sequence[LeftOut]) -> str:
    """Why a rollout reaches nobody: what keeps those out who were meant, a line for each reason."""
    if not left_out:
        return (
            "No enrolled device fits this rollout: the release has artifacts for "
            f"{', '.join(release.artifacts)}. Enrol a device of such a profile, or compress for yours."
        )
    by_code: dict[str, builtins.list[LeftOut]] = {}
    for each in left_out:
        by_code.setdefault(each.code, []).append(each)
    reasons = (f"{len(mine)} like this: {mine[0].reason}" for mine in by_code.values())
    return "No enrolled device that fits can take part in this rollout. " + " ".join(reasons)


def candidates(rows: Sequence[sqlite3.Row]) -> builtins.list[Candidate]:
    return [Candidate(row["name"], row["profile"], bool(row["online"]), row["seen_at"] or 0) for row in rows]


def _count(n: int, one: str, many: str = "") -> str:
    return f"{n} {one if n == 1 else many or one + 's'}"

"""What the rollout engine reads: what devices say, counts of devices that are alike, whom to tell. Read only.

None of it grows with what other rollouts did: each query is bound by an index of ``rollout_devices``.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from edgepress_server.store.database import Database
from edgepress_server.store.rollout_policy import Policy
from edgepress_server.store.rollout_rows import RolloutState

AWAY_MS: Final = 60_000  # a device that was heard from so lately counts as there: it may only have restarted

_OBSERVED: Final = (
    "SELECT r.rollout, r.device, r.digest, r.state, r.reason, r.want_counter, d.revoked_at,"
    " d.state AS report, w.rollout AS owner, coalesce(w.public_key <> d.public_key, 0) AS old_key,"
    " EXISTS (SELECT 1 FROM rollout_devices o JOIN rollouts young ON young.id = o.rollout"
    "  WHERE o.device = r.device AND young.state NOT IN ('draft', 'done', 'aborted')"
    "  AND (young.created_at, young.rowid) > (mine.created_at, mine.rowid)) AS later"
    " FROM rollout_devices r JOIN rollouts mine ON mine.id = r.rollout JOIN devices d ON d.name = r.device"
    " LEFT JOIN wants w ON w.device = r.device"
    " WHERE (mine.state NOT IN ('done', 'aborted') OR (mine.state = 'done' AND w.rollout = r.rollout"
    "  AND r.state IN ('waiting', 'wanted', 'fetching', 'trial', 'unreached')))"
)

_AFTER_ALL_COLUMNS: Final = "r.rollout, r.device, r.digest, o.release, o.state, o.reason, o.rollback"
_AFTER_ALL_RULES: Final = (
    " r.want_counter IS NOT NULL AND d.revoked_at IS NULL AND r.previous_digest <> r.digest"
    " AND json_extract(d.state, '$.running') = r.digest"
    " AND NOT EXISTS (SELECT 1 FROM rollout_devices y JOIN rollouts young ON young.id = y.rollout"
    "  WHERE y.device = r.device AND (young.rollback_of = r.rollout OR (young.state <> 'aborted'"
    "   AND (young.created_at, young.rowid) > (o.created_at, o.rowid))))"
)
# Few devices run something else than they are told, or are told what was taken back: from those on (CROSS
# JOIN keeps SQLite to it), so that the many rows of rollouts that are over are not gone through.
_AFTER_ALL: Final = (
    f"SELECT {_AFTER_ALL_COLUMNS} FROM wants w CROSS JOIN devices d ON d.name = w.device"  # noqa: S608 - constants
    "  AND json_extract(d.state, '$.running') <> w.digest"
    " CROSS JOIN rollout_devices r ON r.device = w.device AND r.previous_rollout = w.rollout"
    " CROSS JOIN rollouts o ON o.id = r.rollout WHERE o.state IN ('rolling_back', 'aborted')"
    " AND r.state IN ('skipped', 'failed', 'unreached') AND w.digest = r.previous_digest"
    f" AND {_AFTER_ALL_RULES} AND (:names IS NULL OR w.device IN (SELECT value FROM json_each(:names)))"
    f" UNION ALL SELECT {_AFTER_ALL_COLUMNS} FROM wants w CROSS JOIN rollouts o ON o.id = w.rollout"
    "  AND o.state = 'aborted' AND o.rollback = 1"
    " CROSS JOIN rollout_devices r ON r.rollout = w.rollout AND r.device = w.device"
    " CROSS JOIN devices d ON d.name = w.device WHERE r.state = 'committed'"
    f" AND {_AFTER_ALL_RULES} AND (:names IS NULL OR w.device IN (SELECT value FROM json_each(:names)))"
    " ORDER BY 1, 2"
)


class RolloutReads:
    def __init__(self, database: Database) -> None:
        self._database = database

    def observed(self, devices: Collection[str] | None) -> Sequence[sqlite3.Row]:
        """Rows of these devices (None: of all) in rollouts that care, with what is known of each now.

        ``owner``: the rollout that its want comes from. ``later``: a younger rollout, not over, has it too.
        ``old_key``: it enrolled anew since, so what it says about that want is that it cannot open it.
        """
        if devices is None:
            return self._database.rows(_OBSERVED)
        return self._database.rows(
            f"{_OBSERVED} AND r.device IN (SELECT value FROM json_each(?))",  # noqa: S608 - constant above
            (json.dumps(list(devices)),),
        )

    def members(self, rollout_id: str) -> list[str]:
        """Names of all its devices."""
        rows = self._database.rows("SELECT device FROM rollout_devices WHERE rollout = ?", (rollout_id,))
        return [row["device"] for row in rows]

    def row(self, rollout_id: str) -> sqlite3.Row | None:
        """The rollout with what its release says about itself."""
        return self._database.row(
            "SELECT o.*, l.model, l.counter AS release_counter, l.state AS release_state, l.withdrawn_reason"
            " FROM rollouts o JOIN releases l ON l.id = o.release WHERE o.id = ?",
            (rollout_id,),
        )

    def policy(self, rollout_id: str | None) -> Policy | None:
        """None: no such rollout."""
        row = self._database.row("SELECT policy FROM rollouts WHERE id = ?", (rollout_id,))
        return None if row is None else msgspec.json.decode(row["policy"], type=Policy)

    def with_waiting(self) -> list[str]:
        """Ids of rollouts that are done and have a late joiner to tell."""
        rows = self._database.rows(
            "SELECT id FROM rollouts WHERE state = 'done' AND EXISTS"
            " (SELECT 1 FROM rollout_devices d WHERE d.rollout = rollouts.id AND d.state = 'waiting')"
        )
        return [row["id"] for row in rows]

    def cells(self, rollout_id: str) -> Sequence[sqlite3.Row]:
        """profile, wave, state, there, enrolled, n; ``fresh``: when the first of those that are gone for a
        moment was last heard from (they count as there until AWAY_MS later)."""
        since = self._database.now_ms() - AWAY_MS
        return self._database.rows(
            "SELECT r.profile, r.wave, r.state, (d.online = 1 OR coalesce(d.seen_at, 0) > :since) AS there,"
            " d.public_key IS NOT NULL AS enrolled, count(*) AS n,"
            " min(CASE WHEN d.online = 0 AND d.seen_at > :since THEN d.seen_at END) AS fresh"
            " FROM rollout_devices r JOIN devices d ON d.name = r.device WHERE r.rollout = :id"
            " GROUP BY r.profile, r.wave, r.state, there, enrolled",
            {"id": rollout_id, "since": since},
        )

    def told_lately(self, rollout_id: str, since: int) -> tuple[int, int | None]:
        """(devices told since then, the moment the first of them was)."""
        row = self._database.row(
            "SELECT count(*) AS n, min(told_at) AS first FROM rollout_devices"
            " WHERE rollout = ? AND told_at > ?",
            (rollout_id, since),
        )
        return (0, None) if row is None else (row["n"], row["first"])

    def failed(self, rollout_id: str, limit: int = 3) -> list[tuple[str, str]]:
        rows = self._database.rows(
            "SELECT device, reason FROM rollout_devices WHERE rollout = ? AND state = 'failed'"
            " ORDER BY updated_at, device LIMIT ?",
            (rollout_id, limit),
        )
        return [(row["device"], row["reason"]) for row in rows]

    def approved(self, rollout_id: str) -> frozenset[int]:
        rows = self._database.rows("SELECT wave FROM rollout_approvals WHERE rollout = ?", (rollout_id,))
        return frozenset(row["wave"] for row in rows)

    def downloading(self) -> int:
        """Devices, there, that are at a download now, of whatever rollout."""
        row = self._database.row(
            "SELECT count(*) AS n FROM rollout_devices r JOIN rollouts o ON o.id = r.rollout"
            " JOIN devices d ON d.name = r.device"
            " WHERE r.state IN ('wanted', 'fetching') AND d.online = 1"
            " AND o.state NOT IN ('draft', 'aborted')"
        )
        return 0 if row is None else int(row["n"])

    def to_tell(self, rollout_id: str, up_to: int, limit: int, *, there_only: bool) -> list[str]:
        """Waiting devices of the waves up to this one: those that are there first."""
        since = self._database.now_ms() - AWAY_MS
        rows = self._database.rows(
            "SELECT r.device FROM rollout_devices r JOIN devices d ON d.name = r.device"
            " WHERE r.rollout = ? AND r.state = 'waiting' AND r.wave <= ? AND d.public_key IS NOT NULL"
            " AND d.revoked_at IS NULL AND (NOT ? OR d.online = 1 OR coalesce(d.seen_at, 0) > ?)"
            " ORDER BY d.online DESC, r.wave, r.device LIMIT ?",
            (rollout_id, up_to, there_only, since, limit),
        )
        return [row["device"] for row in rows]

    def to_promote(self, rollout_id: str, profile: str, limit: int) -> list[str]:
        """Waiting devices of a profile that are no canaries: those that are there first."""
        rows = self._database.rows(
            "SELECT r.device FROM rollout_devices r JOIN devices d ON d.name = r.device"
            " WHERE r.rollout = ? AND r.profile = ? AND r.state = 'waiting' AND r.wave > 0"
            " ORDER BY d.online DESC, d.seen_at DESC, r.device LIMIT ?",
            (rollout_id, profile, limit),
        )
        return [row["device"] for row in rows]

    def to_give_back(self, rollout_id: str) -> list[str]:
        """Devices that this rollout told last and that have not committed; those that wait for another try,
        too."""
        rows = self._database.rows(
            "SELECT r.device FROM rollout_devices r JOIN wants w ON w.device = r.device"
            " JOIN devices d ON d.name = r.device WHERE r.rollout = ? AND w.rollout = r.rollout"
            " AND r.state IN ('waiting', 'wanted', 'fetching', 'trial', 'failed', 'unreached')"
            " AND r.want_counter IS NOT NULL AND d.revoked_at IS NULL",
            (rollout_id,),
        )
        return [row["device"] for row in rows]

    def to_take_back(self, rollout_id: str) -> Sequence[sqlite3.Row]:
        """Devices that committed and that nobody else told anything since: device, profile, previous_*."""
        return self._database.rows(
            "SELECT r.device, d.profile, r.previous_digest, r.previous_release, a.model AS previous_model,"
            " a.profile AS previous_profile FROM rollout_devices r"
            " JOIN wants w ON w.device = r.device JOIN devices d ON d.name = r.device"
            " LEFT JOIN artifacts a ON a.digest = r.previous_digest WHERE r.rollout = ?"
            " AND r.state = 'committed' AND w.rollout = r.rollout AND d.revoked_at IS NULL",
            (rollout_id,),
        )

    def committed_after_all(self, devices: Collection[str] | None) -> Sequence[sqlite3.Row]:
        """Devices (None: of all) that run what was taken from them: they committed before they heard of it,
        or were given back something that was rolled back. rollout, device, release, digest, state (of the
        rollout), reason, rollback (1: who committed goes back, too).

        Each is found once: whom a rollout that takes this one back has got, or a younger one, is left to
        that.
        """
        return self._database.rows(
            _AFTER_ALL, {"names": None if devices is None else json.dumps(list(devices))}
        )

    def going_back(self, rollout_id: str) -> list[tuple[str, RolloutState, str]]:
        rows = self._database.rows(
            "SELECT id, state, reason FROM rollouts WHERE rollback_of = ? ORDER BY created_at, rowid",
            (rollout_id,),
        )
        return [(row["id"], row["state"], row["reason"]) for row in rows]

    def previous(self, rollout_id: str, device: str) -> tuple[str | None, str | None, str | None]:
        """(rollout, release, digest) that the device was to run before this rollout; Nones: nothing.

        Nobody goes back to what was given up meanwhile: a rollout that was aborted or taken back, and that
        the device had not committed to, is passed over for what came before it.
        """
        row = self._previous(rollout_id, device)
        while row is not None and row["given_up"]:
            row = self._previous(row["rollout"], device)
        return (None, None, None) if row is None else (row["rollout"], row["release"], row["digest"])

    def _previous(self, rollout_id: str, device: str) -> sqlite3.Row | None:
        return self._database.row(
            "SELECT r.previous_rollout AS rollout, r.previous_release AS release,"
            " r.previous_digest AS digest,"
            " coalesce(o.state IN ('rolling_back', 'aborted') AND p.state <> 'committed', 0) AS given_up"
            " FROM rollout_devices r LEFT JOIN rollouts o ON o.id = r.previous_rollout"
            " LEFT JOIN rollout_devices p ON p.rollout = r.previous_rollout AND p.device = r.device"
            " WHERE r.rollout = ? AND r.device = ?",
            (rollout_id, device),
        )

    def digest(self, rollout_id: str, device: str) -> str:
        """Raises LookupError where the device is not in the rollout."""
        row = self._database.row(
            "SELECT digest FROM rollout_devices WHERE rollout = ? AND device = ?", (rollout_id, device)
        )
        if row is None:
            raise LookupError(f"{device} is not in rollout {rollout_id}")
        return str(row["digest"])

    # --- late joiners -------------------------------------------------------------------------------------

    def open_to_joiners(self) -> Sequence[sqlite3.Row]:
        """Rollouts with a target that devices may still fit, youngest first; a few for each model."""
        return self._database.rows(
            "SELECT * FROM (SELECT o.id, o.state, o.target, o.policy, o.wave, o.release, o.created_at,"
            " o.rowid AS row, l.model, row_number() OVER (PARTITION BY l.model"
            "  ORDER BY o.created_at DESC, o.rowid DESC) AS age"
            " FROM rollouts o JOIN releases l ON l.id = o.release WHERE o.target IS NOT NULL"
            " AND o.state NOT IN ('draft', 'aborted', 'rolling_back') AND l.state = 'signed')"
            " WHERE age <= 20 ORDER BY created_at DESC, row DESC"
        )

    def belongs(self, device: str, rollout: sqlite3.Row) -> bool:
        """The device is in this rollout, or in a younger one that was not given up."""
        row = self._database.row(
            "SELECT 1 FROM rollout_devices d JOIN rollouts o ON o.id = d.rollout WHERE d.device = ?"
            " AND (o.id = ? OR (o.state <> 'aborted' AND (o.created_at, o.rowid) > (?, ?)))",
            (device, rollout["id"], rollout["created_at"], rollout["row"]),
        )
        return row is not None

"""Calibrations: what was fitted to each profile from times its devices measured. One is active, all are
history.

fitted --better than the active one, or none was--> active --a newer one is better--> replaced
       --worse on the same nets left out--> kept           --a person reverts-------> reverted
replaced --a person reverts the one after it--> active

One that another version of edgepress wrote and this one cannot read is as if it were not there; what it was
fitted to is fitted anew (refits.py).

A calibration was fitted beside the profile's own figures (`basis_of`). Where those were changed since, it
holds no more: the profile is as its datasheet says until the refit that the change asks for has ended.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from edgepress_devices.calibration import Calibration, from_json, to_json
from edgepress_devices.profile import DeviceProfile
from edgepress_server.errors import ConflictError
from edgepress_server.store.artifact_predictions import ArtifactError, ArtifactPredictions
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

log = logging.getLogger(__name__)

KEEP_CALIBRATIONS: Final = 50  # of a profile

CalibrationState = Literal["active", "kept", "replaced", "reverted"]


@dataclass(frozen=True)
class CalibrationRow:
    id: int  # grows
    profile: str
    state: CalibrationState
    at: int  # Unix ms
    calibration: Calibration
    basis: str  # see `basis_of`
    reports: tuple[int, ...]  # ids of the reports it was fitted to
    error_before: float | None  # relative, of the one before on the same nets left out; None: no basis at all
    error_after: float  # relative, median, on nets left out
    message: str  # what became better or worse, in words
    actor: str | None  # who reverted; None: the server itself


def basis_of(profile: DeviceProfile) -> str:
    """Identity of the figures that a calibration of this profile stands beside."""
    tables = (
        profile.cpu,
        profile.compute,
        profile.gpu,
        profile.memory,
        profile.runtime,
        profile.int8,
        profile.layout,
    )
    return hashlib.sha256(msgspec.json.encode(tables, order="deterministic")).hexdigest()[:16]


class Calibrations:
    def __init__(self, database: Database, events: Events, predictions: ArtifactPredictions) -> None:
        self._database = database
        self._events = events
        self._predictions = predictions

    def errors(self, profile_id: str) -> list[ArtifactError]:
        """How far predictions are from what the fleet measured in the last hour, of each artifact."""
        return self._predictions.errors(profile_id)

    def attach(self, profile: DeviceProfile) -> DeviceProfile:
        """The profile with its active calibration, in place of one that its file brought along."""
        row = self.active_row(profile.id)
        if row is None or row.basis != basis_of(profile):
            return profile
        return msgspec.structs.replace(profile, calibration=row.calibration)

    def active(self, profile_id: str) -> Calibration | None:
        """What was fitted last and holds; `attach` also looks whether the profile's figures are still the"
        " same."""
        row = self.active_row(profile_id)
        return None if row is None else row.calibration

    def active_row(self, profile_id: str) -> CalibrationRow | None:
        row = self._database.row(
            "SELECT * FROM calibrations WHERE profile = ? AND state = 'active'", (profile_id,)
        )
        return None if row is None else _calibration(row)

    def history(self, profile_id: str, limit: int = KEEP_CALIBRATIONS) -> list[CalibrationRow]:
        """Newest first."""
        rows = self._database.rows(
            "SELECT * FROM calibrations WHERE profile = ? ORDER BY id DESC LIMIT ?", (profile_id, limit)
        )
        return [one for row in rows if (one := _calibration(row)) is not None]

    def put(
        self,
        profile_id: str,
        calibration: Calibration,
        *,
        basis: str,
        reports: Sequence[int],
        error_before: float | None,
        error_after: float,
        message: str,
        activate: bool,
    ) -> CalibrationRow:
        """Store one; ``activate``: it holds from now on."""
        with self._database.transaction() as connection:
            if activate:
                connection.execute(
                    "UPDATE calibrations SET state = 'replaced' WHERE profile = ? AND state = 'active'",
                    (profile_id,),
                )
            cursor = connection.execute(
                "INSERT INTO calibrations (profile, state, at, calibration, basis, reports, error_before,"
                " error_after,"
                " message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    profile_id,
                    "active" if activate else "kept",
                    self._database.now_ms(),
                    to_json(calibration).decode(),
                    basis,
                    json.dumps(sorted(reports)),
                    error_before,
                    error_after,
                    message,
                ),
            )
            connection.execute(
                "DELETE FROM calibrations WHERE profile = ? AND state <> 'active' AND id NOT IN"
                " (SELECT id FROM calibrations WHERE profile = ? ORDER BY id DESC LIMIT ?)",
                (profile_id, profile_id, KEEP_CALIBRATIONS),
            )
            data = {
                "message": message,
                "devices": list(calibration.devices),
                "rejected": [{"device": one.device, "reason": one.reason} for one in calibration.rejected],
            }
            self._events.append(
                "profile", profile_id, "calibrated" if activate else "calibration kept", data=data
            )
            stored = self._get(int(cursor.lastrowid or 0))
            assert stored is not None  # noqa: S101 - written by this very version
            return stored

    def revert(self, profile_id: str, *, actor: str | None) -> CalibrationRow | None:
        """Take the active one out of use; the one that it replaced holds again, None when there was none.

        Raises ConflictError when none is active.
        """
        with self._database.transaction() as connection:
            active = self.active_row(profile_id)
            if active is None:
                raise ConflictError(
                    "not_calibrated",
                    f"Profile {profile_id} has no calibration that could be reverted. "
                    f"`edgepress profile calibrate {profile_id} --device NAME` makes one.",
                )
            connection.execute(
                "UPDATE calibrations SET state = 'reverted', actor = ? WHERE id = ?", (actor, active.id)
            )
            before = self._database.row(
                "SELECT id FROM calibrations WHERE profile = ? AND state = 'replaced' AND basis = ?"
                " ORDER BY id DESC LIMIT 1",
                (profile_id, active.basis),
            )
            if before is not None:
                connection.execute("UPDATE calibrations SET state = 'active' WHERE id = ?", (before["id"],))
            now = self.active_row(profile_id)
            self._events.append(
                "profile",
                profile_id,
                "calibration reverted",
                actor=actor,
                data={
                    "message": "The datasheet's figures hold again."
                    if now is None
                    else "The calibration before it holds again."
                },
            )
            return now

    def _get(self, number: int) -> CalibrationRow | None:
        row = self._database.row("SELECT * FROM calibrations WHERE id = ?", (number,))
        return None if row is None else _calibration(row)


def _calibration(row: sqlite3.Row) -> CalibrationRow | None:
    try:
        calibration = from_json(row["calibration"])
    except ValueError as error:
        log.warning("calibration %s of %s is of another version: %s", row["id"], row["profile"], error)
        return None
    return CalibrationRow(
        id=row["id"],
        profile=row["profile"],
        state=row["state"],
        at=row["at"],
        calibration=calibration,
        basis=row["basis"],
        reports=tuple(json.loads(row["reports"])),
        error_before=row["error_before"],
        error_after=row["error_after"],
        message=row["message"],
        actor=row["actor"],
    )

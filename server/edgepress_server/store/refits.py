"""Which profiles are to be fitted anew, and who does it.

Nothing is queued: what a profile's calibration is to be made from (`inputs`: the reports of its devices, and
the profile's own figures) is compared with what the last fit looked at. So a new report, a device that was
revoked or got another profile, and changed figures all lead to a fit, and a fit that was killed is found due
again.

due --take--> fitting (lease) --finish--> not due until the inputs are others
                              --crash or lapsed lease--> due again, MAX_ATTEMPTS times, then given up

Due is a profile also while an artifact that its devices run has no prediction made with the profile as it is
now (artifact_predictions.py).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgepress_devices.calibration import CALIBRATION_VERSION
from edgepress_devices.microbench.nets import PLAN_VERSION
from edgepress_devices.profile import DeviceProfile, InvalidProfile
from edgepress_server.errors import ConflictError, NotFoundError
from edgepress_server.store.artifact_predictions import ArtifactPredictions
from edgepress_server.store.calibrations import Calibrations, basis_of
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.profiles import Profiles
from edgepress_server.store.profiling_reports import ProfilingReports

log = logging.getLogger(__name__)

FIT: Final = f"{CALIBRATION_VERSION}.{PLAN_VERSION}"  # where either changes, everybody is fitted anew
LEASE_MS: Final = 15 * 60 * 1000  # a fit takes seconds; nobody renews
MAX_ATTEMPTS: Final = 3


@dataclass(frozen=True)
class Refit:
    """A fit that this worker holds."""

    profile: str
    inputs: str  # signature of what it looks at
    reports: tuple[int, ...]  # ids; empty: no times, only predictions are wanted
    fit_due: bool
    predict: tuple[str, ...]  # digests of artifacts whose prediction is missing
    worker: str
    attempt: int


@dataclass(frozen=True)
class RefitRow:
    """What became of the last fit of a profile."""

    profile: str
    running: bool
    message: str  # why it could not be fitted; "" when it could
    at: int  # Unix ms


class Refits:
    def __init__(
        self,
        database: Database,
        events: Events,
        profiles: Profiles,
        reports: ProfilingReports,
        calibrations: Calibrations,
        predictions: ArtifactPredictions,
    ) -> None:
        self._database = database
        self._events = events
        self._profiles = profiles
        self._reports = reports
        self._calibrations = calibrations
        self._predictions = predictions

    def take(self, worker: str) -> Refit | None:
        """The first profile that is due and that nobody works on, or None."""
        if not self._due(worker):
            return None  # looked for often: no write lock for nothing
        with self._database.transaction() as connection:
            for refit in self._due(worker):
                connection.execute(
                    "INSERT INTO refits (profile, inputs, worker, lease_until, attempts, message, at)"
                    " VALUES (?, '', ?, ?, ?, '', ?) ON CONFLICT (profile) DO UPDATE SET worker ="
                    " excluded.worker,"
                    " lease_until = excluded.lease_until, attempts = excluded.attempts",
                    (
                        refit.profile,
                        worker,
                        self._database.now_ms() + LEASE_MS,
                        refit.attempt,
                        self._database.now_ms(),
                    ),
                )
                if refit.attempt <= MAX_ATTEMPTS:
                    return refit
                self.interrupted(refit, "The server stopped while it ran.")  # and that is enough
        return None

    def finish(self, refit: Refit, message: str = "") -> None:
        """It has ended, with or without a calibration; ``message``: why without. Raises ConflictError when
        it is not this worker's any more."""
        with self._database.transaction() as connection:
            self.check_held(refit)
            connection.execute(
                "UPDATE refits SET inputs = ?, worker = NULL, lease_until = NULL, attempts = 0, message ="
                " ?, at = ?"
                " WHERE profile = ?",
                (
                    refit.inputs,
                    message if refit.fit_due else self._message(refit.profile),
                    self._now(),
                    refit.profile,
                ),
            )
            if message and refit.fit_due:
                self._events.append("profile", refit.profile, "calibration failed", data={"message": message})

    def interrupted(self, refit: Refit, reason: str) -> None:
        """Its process ended without a result: due again, or given up."""
        with self._database.transaction() as connection:
            try:
                self.check_held(refit)
            except ConflictError:
                return  # finished, or somebody else's
            if refit.attempt >= MAX_ATTEMPTS:
                self.finish(refit, f"{reason} It was tried {refit.attempt} times and is not tried again.")
                self._give_up_predictions(refit)
            else:
                connection.execute(
                    "UPDATE refits SET worker = NULL, lease_until = NULL WHERE profile = ?", (refit.profile,)
                )

    def _give_up_predictions(self, refit: Refit) -> None:
        """Those that no attempt has made. Of a profile that is gone meanwhile there are none."""
        try:
            identity = self.identity(refit.profile)
        except (NotFoundError, InvalidProfile) as error:
            log.warning("profile %s: %s", refit.profile, error)
            return
        for digest in self._predictions.missing(refit.profile, identity, refit.predict):
            self._predictions.put(refit.profile, digest, identity, None)

    def give_back(self, refit: Refit) -> None:
        """The server stops in good order: due again, the attempt not counted."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE refits SET worker = NULL, lease_until = NULL, attempts = attempts - 1"
                " WHERE profile = ? AND worker = ? AND attempts = ?",
                (refit.profile, refit.worker, refit.attempt),
            )

    def release_worker(self, worker: str) -> None:
        """This worker is known to be dead: do not wait for its lease."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE refits SET worker = NULL, lease_until = NULL WHERE worker = ?", (worker,)
            )

    def workers(self) -> set[str]:
        """Who holds a fit."""
        rows = self._database.rows("SELECT worker FROM refits WHERE worker IS NOT NULL")
        return {row["worker"] for row in rows}

    def held(self, profile: str, worker: str, attempt: int) -> Refit:
        """What this worker took, with everything that came since.

        Raises ConflictError when it is not its own, NotFoundError, InvalidProfile.
        """
        with self._database.snapshot():
            refit = self._look(
                profile,
                self._reports.inputs().get(profile, []),
                self._predictions.running().get(profile, []),
                worker,
                attempt,
            )
            self.check_held(refit)
            return refit

    def check_held(self, refit: Refit) -> None:
        row = self._database.row("SELECT worker, attempts FROM refits WHERE profile = ?", (refit.profile,))
        if row is None or (row["worker"], row["attempts"]) != (refit.worker, refit.attempt):
            raise ConflictError("lease_lost", f"The fit of {refit.profile} is no longer this worker's.")

    def last(self, profile_id: str) -> RefitRow | None:
        row = self._database.row("SELECT * FROM refits WHERE profile = ?", (profile_id,))
        if row is None:
            return None
        running = row["worker"] is not None and row["lease_until"] > self._now()
        return RefitRow(row["profile"], running, row["message"], row["at"])

    def settled(self, profile_id: str) -> bool:
        """Nothing waits to be fitted or predicted for it, and nobody is at it."""
        last = self.last(profile_id)
        return not (last is not None and last.running) and all(
            refit.profile != profile_id for refit in self._due("")
        )

    def identity(self, profile_id: str) -> str:
        """Changes whenever predictions for this profile do. Raises NotFoundError, InvalidProfile."""
        return _identity(self._profiles.resolve(profile_id))

    # --- what is due ----------------------------------------------------------------------------------------

    def _due(self, worker: str) -> list[Refit]:
        inputs, running = self._reports.inputs(), self._predictions.running()
        rows = {row["profile"]: row for row in self._database.rows("SELECT * FROM refits")}
        now = self._now()
        found: list[Refit] = []
        for profile in sorted({*inputs, *running}):
            row = rows.get(profile)
            if row is not None and row["worker"] is not None and row["lease_until"] > now:
                continue
            attempt = 1 + (row["attempts"] if row is not None else 0)
            try:
                refit = self._look(
                    profile, inputs.get(profile, []), running.get(profile, []), worker, attempt
                )
            except (NotFoundError, InvalidProfile) as error:
                log.warning("profile %s is not calibrated: %s", profile, error)
                continue
            if refit.fit_due or refit.predict:
                found.append(refit)
        return found

    def _look(
        self, profile: str, reports: Sequence[int], running: Sequence[str], worker: str, attempt: int
    ) -> Refit:
        """What there is to do for a profile. Raises NotFoundError, InvalidProfile."""
        row = self._database.row("SELECT inputs FROM refits WHERE profile = ?", (profile,))
        resolved = self._profiles.resolve(profile)
        basis, identity = basis_of(resolved), _identity(resolved)
        signature = json.dumps([FIT, basis, list(reports)]) if reports else ""
        return Refit(
            profile=profile,
            inputs=signature,
            reports=tuple(reports),
            fit_due=bool(reports) and (row is None or row["inputs"] != signature),
            predict=tuple(self._predictions.missing(profile, identity, running)),
            worker=worker,
            attempt=attempt,
        )

    def _message(self, profile: str) -> str:
        last = self.last(profile)
        return last.message if last is not None else ""

    def _now(self) -> int:
        return self._database.now_ms()


def _identity(profile: DeviceProfile) -> str:
    """By the calibration that it goes by, which may be that of a profile it stands on."""
    calibration = profile.calibration
    return f"{basis_of(profile)}:{calibration.at_ms if calibration is not None else 0}"

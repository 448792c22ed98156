"""Profiling jobs: what a device is asked to measure. States:

queued --told in its want--> sent --it says so--> running --its report------------> done
                              ^-----waiting-----'   (of an installation, say)
queued | sent | running --the device says why------------------------------------> failed
                        --it was revoked, its order cannot be signed, its report
                          is of no use-------------------------------------------> failed
                        --time is up---> expired --a report that comes late------> done
                        --a person-----> cancelled

One job of a device is open at a time, the oldest; the others wait behind it. A job travels in the device's
want, and a device does each id once: so a job may be told twice and a report may come twice, and nothing
counts twice. A report and the state of its job change in one transaction. `done` of the device alone, before
the report came through its outbox, changes no state: what counts is what is stored.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from edgepress_devices.microbench.nets import PLAN_VERSION
from edgepress_devices.protocol import ProfilingJob, ProfilingReport, ProfilingState
from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.devices import Devices
from edgepress_server.store.events import Events
from edgepress_server.store.profiling_reports import (
    ImplausibleReportError,
    ProfilingReports,
    check_report,
)

log = logging.getLogger(__name__)

SECONDS_MIN, SECONDS_MAX = 5, 600
EXPIRES_MS: Final = 24 * 3600 * 1000
EXPIRES_MIN_MS: Final = 60_000
EXPIRES_MAX_MS: Final = 30 * 24 * 3600 * 1000
OPEN_MAX: Final = 8  # jobs of one device that are not over
KEEP_JOBS: Final = 2000  # that are over, of all devices

What = Literal["device", "model"]
ProfilingJobState = Literal["queued", "sent", "running", "done", "failed", "expired", "cancelled"]
OPEN: Final = ("queued", "sent", "running")
_OPEN_SQL: Final = "state IN ('queued', 'sent', 'running')"


@dataclass(frozen=True)
class ProfilingJobRow:
    id: str
    device: str
    what: What
    digest: str | None  # what = "model": the artifact it is about
    seconds: int  # of measuring
    plan: int  # version of the calibration nets
    state: ProfilingJobState
    percent: int  # 0..100
    message: str  # what it waits for, or why it ended
    report: int | None
    created_at: int  # Unix ms, as all *_at
    expires_at: int
    sent_at: int | None
    started_at: int | None
    finished_at: int | None
    actor: str | None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    def as_message(self) -> ProfilingJob:
        """What the device reads in its want."""
        return ProfilingJob(
            id=self.id, what=self.what, seconds=self.seconds, digest=self.digest, plan=self.plan
        )


class Profiling:
    def __init__(
        self, database: Database, events: Events, devices: Devices, reports: ProfilingReports
    ) -> None:
        self._database = database
        self._events = events
        self._devices = devices
        self.reports = reports

    # --- people ---------------------------------------------------------------------------------------

    def request(
        self,
        device: str,
        what: What,
        seconds: int,
        actor: str | None,
        digest: str | None = None,
        expires_ms: int = EXPIRES_MS,
    ) -> ProfilingJobRow:
        """Ask a device to measure itself, or the artifact it runs (``digest`` None: what runs now).

        A job that asks for the same and is open is answered instead of a second one. Raises NotFoundError,
        InvalidInputError, ConflictError (not enrolled, runs nothing, too many jobs wait).
        """
        if not SECONDS_MIN <= seconds <= SECONDS_MAX:
            raise InvalidInputError(
                "seconds", f"A device measures for {SECONDS_MIN} to {SECONDS_MAX} seconds, not {seconds}."
            )
        if not EXPIRES_MIN_MS <= expires_ms <= EXPIRES_MAX_MS:
            raise InvalidInputError("expires", "A job waits for its device from one minute to 30 days.")
        with self._database.transaction() as connection:
            digest = self._digest(device, what, digest)
            waiting = [job for job in self.list(device=device) if job.is_open]
            for job in waiting:
                if (job.what, job.digest, job.seconds) == (what, digest, seconds):
                    return job
            if len(waiting) >= OPEN_MAX:
                raise ConflictError(
                    "too_many_profiling_jobs",
                    f"{len(waiting)} profiling jobs wait for {device} already. Wait for them or cancel some.",
                )
            job_id, now = secrets.token_hex(6), self._database.now_ms()
            connection.execute(
                "INSERT INTO profiling_jobs (id, device, what, digest, seconds, plan, state, created_at,"
                " expires_at,"
                " actor) VALUES (?, ?, ?, ?, ?, ?, 'queued', ?, ?, ?)",
                (job_id, device, what, digest, seconds, PLAN_VERSION, now, now + expires_ms, actor),
            )
            self._prune()
            return self._said(job_id, "queued", actor=actor)

    def _digest(self, name: str, what: What, digest: str | None) -> str | None:
        device = self._devices.get(name)
        if device.revoked_at is not None or device.enrolled_at is None:
            raise ConflictError(
                "device_not_enrolled",
                f"{name} {'was revoked' if device.revoked_at is not None else 'has not enrolled yet'}, so"
                f" it cannot "
                f"be asked to measure. `edgepress device code {name}` makes it a code to enrol with.",
            )
        if what == "device":
            if digest is not None:
                raise InvalidInputError(
                    "digest", 'Only a job of what = "model" is about an artifact; leave digest out.'
                )
            return None
        running = device.state.running if device.state is not None else None
        if running is None:
            raise ConflictError(
                "device_runs_nothing", f"{name} runs no artifact now. Roll one out to it first."
            )
        if digest is not None and digest != running:
            raise ConflictError(
                "device_runs_other",
                f"{name} runs artifact {running[:12]} and not {digest[:12]}. Roll that one out to it first.",
            )
        return running

    def cancel(self, job_id: str, *, actor: str | None) -> ProfilingJobRow:
        """Cancelling twice is no error. Raises NotFoundError, ConflictError when it has ended otherwise."""
        with self._database.transaction():
            job = self.get(job_id)
            if job.state == "cancelled":
                return job
            if not job.is_open:
                raise ConflictError(
                    "job_ended",
                    f"Profiling job {job_id} is {job.state} already; there is nothing to cancel.",
                )
            return self._end(job, "cancelled", "Cancelled.", actor=actor)

    def get(self, job_id: str) -> ProfilingJobRow:
        """Raises NotFoundError."""
        job = self._find(job_id)
        if job is None:
            raise NotFoundError("profiling_unknown", f"There is no profiling job {job_id[:40]!r}.")
        return job

    def list(
        self, *, device: str | None = None, profile: str | None = None, limit: int = 200
    ) -> list[ProfilingJobRow]:
        """Newest first; of one device, or of the devices that have this profile now."""
        rows = self._database.rows(
            "SELECT * FROM profiling_jobs WHERE (:device IS NULL OR device = :device) AND (:profile IS NULL"
            " OR device IN (SELECT name FROM devices WHERE profile = :profile))"
            " ORDER BY created_at DESC, rowid DESC LIMIT :limit",
            {"device": device, "profile": profile, "limit": limit},
        )
        return [_job(row) for row in rows]

    # --- the engine: what belongs into wants --------------------------------------------------------------

    def current(self, device: str) -> ProfilingJobRow | None:
        """What the device is to measure now: its oldest open job."""
        row = self._database.row(
            f"SELECT * FROM profiling_jobs WHERE device = ? AND {_OPEN_SQL}"  # noqa: S608 - a constant
            " ORDER BY created_at, rowid LIMIT 1",
            (device,),
        )
        return None if row is None else _job(row)

    def to_tell(self, limit: int = 200) -> Sequence[str]:
        """Devices whose newest want does not carry the job it should, or carries one that is over."""
        should = {
            row["device"]: row["id"]
            for row in self._database.rows(
                f"SELECT device, id FROM profiling_jobs WHERE {_OPEN_SQL}"  # noqa: S608 - a constant
                " ORDER BY created_at DESC, rowid DESC"  # of a device, the oldest is read last
            )
        }
        carries = {
            row["device"]: row["profiling"]
            for row in self._database.rows("SELECT device, profiling FROM wants WHERE profiling IS NOT NULL")
        }
        different = [name for name in {*should, *carries} if should.get(name) != carries.get(name)]
        if not different:
            return []
        enrolled = {
            row["name"]
            for row in self._database.rows(
                "SELECT name FROM devices WHERE revoked_at IS NULL AND public_key IS NOT NULL"
            )
        }
        return sorted(name for name in different if name in enrolled)[:limit]

    def set_sent(self, job_id: str) -> None:
        """Its want was signed and stored."""
        with self._database.transaction() as connection:
            if self.get(job_id).state == "queued":
                connection.execute(
                    "UPDATE profiling_jobs SET state = 'sent', sent_at = ? WHERE id = ?",
                    (self._database.now_ms(), job_id),
                )
                self._said(job_id, "sent")

    def fail(self, job_id: str, message: str) -> None:
        """It cannot be done, and the sentence says why. One that is over stays as it is."""
        with self._database.transaction():
            job = self.get(job_id)
            if job.is_open:
                self._end(job, "failed", message)

    def settle(self) -> int:
        """End what waited too long, and what its device can never do; returns how many."""
        now = self._database.now_ms()
        rows = self._database.rows(
            "SELECT j.*, d.revoked_at FROM profiling_jobs j JOIN devices d ON d.name = j.device"
            " WHERE j.state IN ('queued', 'sent', 'running') AND (j.expires_at <= ? OR d.revoked_at IS NOT"
            " NULL)",
            (now,),
        )
        for row in rows:
            with self._database.transaction():
                job = self._find(row["id"])
                if job is None or not job.is_open:
                    continue
                if row["revoked_at"] is not None:
                    self._end(job, "failed", f"{job.device} was revoked.")
                else:
                    self._end(job, "expired", _expired_words(job))
        return len(rows)

    # --- what the link hears ------------------------------------------------------------------------------

    def heard(self, device: str, state: ProfilingState) -> None:
        """``State.profiling`` of a device. About a job that is over or not its own it changes nothing."""
        known = self._find(state.id)
        if known is None or known.device != device or not known.is_open:
            return
        with self._database.transaction() as connection:
            job = self.get(state.id)
            if not job.is_open:
                return
            if state.state == "failed":
                self._end(
                    job, "failed", _sentence(state.reason or f"{device} could not do it and did not say why")
                )
                return
            now = self._database.now_ms()
            running = state.state in ("running", "done")
            percent = 100 if state.state == "done" else state.percent
            message = "The report is on its way." if state.state == "done" else state.reason or ""
            new: tuple[Any, ...] = ("running" if running else "sent", percent, message)
            if new == (job.state, job.percent, job.message):
                return
            connection.execute(
                "UPDATE profiling_jobs SET state = ?, percent = ?, message = ?, sent_at ="
                " coalesce(sent_at, ?),"
                " started_at = CASE WHEN ? THEN coalesce(started_at, ?) ELSE started_at END WHERE id = ?",
                (*new, now, running, now, job.id),
            )
            self._said(job.id, "progress")

    def receive(self, device: str, at: int, report: ProfilingReport) -> str | None:
        """Keep a report and end its job; why it was refused, or None. One that came before changes"
        " nothing."""
        with self._database.transaction() as connection:
            job = self._find(report.id)
            if job is None or job.device != device:
                return f"no profiling job {report.id[:40]!r} was asked of {device}"
            if job.report is not None or job.state == "cancelled":
                log.info("a report of job %s, which is %s, was dropped", job.id, job.state)
                return None
            if (report.what, report.digest) != (job.what, job.digest) or report.plan != job.plan:
                return self._refuse(job, f"it answers another question than job {job.id} asked")
            try:
                check_report(report)
            except ImplausibleReportError as error:
                return self._refuse(job, str(error))
            row = self.reports.add(device, at, report)
            connection.execute("UPDATE profiling_jobs SET report = ? WHERE id = ?", (row.id, job.id))
            if job.state == "failed":
                return None  # it said itself that it failed; what it had measured until then is kept
            if row.usable:
                self._end(job, "done", _sentence(report.reason or ""))
            else:
                self._end(job, "failed", row.unusable_reason)
            return None

    def _refuse(self, job: ProfilingJobRow, reason: str) -> str:
        if job.is_open:
            self._end(job, "failed", f"What {job.device} measured cannot be true: {reason}.")
        return f"report of profiling job {job.id}: {reason}"

    # --- rows ---------------------------------------------------------------------------------------------

    def _find(self, job_id: str) -> ProfilingJobRow | None:
        row = self._database.row("SELECT * FROM profiling_jobs WHERE id = ?", (job_id,))
        return None if row is None else _job(row)

    def _end(
        self, job: ProfilingJobRow, state: ProfilingJobState, message: str, *, actor: str | None = None
    ) -> ProfilingJobRow:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE profiling_jobs SET state = ?, message = ?, percent = CASE WHEN ? = 'done' THEN 100"
                " ELSE percent"
                " END, finished_at = ? WHERE id = ?",
                (state, message, state, self._database.now_ms(), job.id),
            )
            return self._said(job.id, state, actor=actor)

    def _said(self, job_id: str, action: str, *, actor: str | None = None) -> ProfilingJobRow:
        job = self.get(job_id)
        data = {
            "device": job.device,
            "what": job.what,
            "state": job.state,
            "percent": job.percent,
            "message": job.message,
        }
        self._events.append("profiling", job_id, action, actor=actor, data=data)
        return job

    def _prune(self) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                f"DELETE FROM profiling_jobs WHERE NOT {_OPEN_SQL} AND id NOT IN"  # noqa: S608 - a constant
                f" (SELECT id FROM profiling_jobs WHERE NOT {_OPEN_SQL} ORDER BY created_at DESC LIMIT ?)",
                (KEEP_JOBS,),
            )


def _expired_words(job: ProfilingJobRow) -> str:
    hours = (job.expires_at - job.created_at) / 3_600_000
    waited = f"{hours:.0f} hours" if hours >= 2 else f"{60 * hours:.0f} minutes"
    if job.state == "running":
        return f"{job.device} went away at {job.percent} % and was not back within {waited}."
    if job.state == "sent":
        why = "it was off, busy, or its agent is too old to measure"
        return f"{job.device} did not begin within {waited}: {why}."
    return f"{job.device} was not told within {waited}."


def _sentence(reason: str) -> str:
    """What a device says, as the messages of this store are."""
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}." if reason else ""


def _job(row: sqlite3.Row) -> ProfilingJobRow:
    return ProfilingJobRow(**dict(row))

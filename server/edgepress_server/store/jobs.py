"""The queue of compression jobs. States:

queued --take--> running --finish--> done            (artifact and state in one transaction)
                         --fail----> failed          (a sentence says why)
                         --crash or lapsed lease---> queued again, at most MAX_ATTEMPTS in all, then failed
queued | running --cancel--> cancelled               (a running one when its process has ended)

A worker holds a job by a lease that it renews; a worker that died lets it lapse. Every write of a worker
names the worker and the attempt, so one that lost its lease can change nothing: LeaseLostError.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from dataclasses import dataclass
from typing import Any, Literal

from edgepress_server.errors import ConflictError, NotFoundError
from edgepress_server.store.artifacts import Artifacts
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

LEASE_MS = 20_000
MAX_ATTEMPTS = 3

JobState = Literal["queued", "running", "done", "failed", "cancelled"]


class LeaseLostError(ConflictError):
    """The job is no longer this worker's: it was cancelled, or taken over after the lease had lapsed."""

    def __init__(self, job_id: str) -> None:
        super().__init__("lease_lost", f"Job {job_id} is no longer this worker's; its result was dropped.")


@dataclass(frozen=True)
class Job:
    id: str
    kind: str
    model: str
    recipe: str
    profile: str
    dataset: str | None
    options: dict[str, Any]
    state: JobState
    progress: float  # 0..1
    step: str
    message: str
    attempts: int
    lease_until: int | None  # Unix ms
    worker: str | None
    cancel_requested: bool
    artifact: str | None
    created_at: int  # Unix ms
    started_at: int | None
    finished_at: int | None
    actor: str | None


@dataclass(frozen=True)
class Result:
    """What a finished compression hands over; the artifact's blob is stored already."""

    digest: str
    size_bytes: int
    report: dict[str, Any]


class Jobs:
    def __init__(self, database: Database, events: Events, artifacts: Artifacts) -> None:
        self._database = database
        self._events = events
        self._artifacts = artifacts

    # --- people ---------------------------------------------------------------------------------------

    def submit(
        self,
        *,
        model: str,
        recipe: str,
        profile: str,
        dataset: str | None,
        options: dict[str, Any] | None = None,
        actor: str | None,
    ) -> Job:
        """Queue a compression; the very same one that is already queued or running is joined instead."""
        text = json.dumps(options or {}, sort_keys=True)
        with self._database.transaction() as connection:
            same = self._database.row(
                "SELECT * FROM jobs WHERE model = ? AND recipe = ? AND profile = ? AND dataset IS ? AND "
                "options = ? "
                "AND state IN ('queued', 'running') AND cancel_requested = 0",
                (model, recipe, profile, dataset, text),
            )
            if same is not None:
                return _job(same)
            job_id = secrets.token_hex(6)
            connection.execute(
                "INSERT INTO jobs (id, kind, model, recipe, profile, dataset, options, state, created_at, "
                "actor) "
                "VALUES (?, 'compress', ?, ?, ?, ?, ?, 'queued', ?, ?)",
                (job_id, model, recipe, profile, dataset, text, self._database.now_ms(), actor),
            )
            self._events.append(
                "job", job_id, "queued", actor=actor, data={"model": model, "profile": profile}
            )
            return self.get(job_id)

    def get(self, job_id: str) -> Job:
        """Raises NotFoundError."""
        row = self._database.row("SELECT * FROM jobs WHERE id = ?", (job_id,))
        if row is None:
            raise NotFoundError("job_unknown", f"There is no job {job_id[:40]!r}.")
        return _job(row)

    def waits(self) -> bool:
        """Whether one is queued."""
        return self._database.row("SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1") is not None

    def running(self) -> list[Job]:
        return [_job(row) for row in self._database.rows("SELECT * FROM jobs WHERE state = 'running'")]

    def list(self, *, model: str | None = None, limit: int = 200) -> list[Job]:
        """Newest first."""
        rows = self._database.rows(
            "SELECT * FROM jobs WHERE ? IS NULL OR model = ? ORDER BY created_at DESC, rowid DESC LIMIT ?",
            (model, model, limit),
        )
        return [_job(row) for row in rows]

    def cancel(self, job_id: str, *, actor: str | None) -> Job:
        """A queued job is cancelled now, a running one when its worker has stopped it.

        Cancelling twice is no error. Raises NotFoundError, ConflictError when it has ended otherwise.
        """
        with self._database.transaction() as connection:
            job = self.get(job_id)
            if job.state in ("done", "failed"):
                raise ConflictError(
                    "job_ended", f"Job {job_id} is {job.state} already; there is nothing to cancel."
                )
            if job.state == "running" and not job.cancel_requested:
                connection.execute("UPDATE jobs SET cancel_requested = 1 WHERE id = ?", (job_id,))
                self._events.append("job", job_id, "cancelling", actor=actor)
            elif job.state == "queued":
                self._end(job, "cancelled", "Cancelled before it started.", actor=actor)
            return self.get(job_id)

    # --- workers --------------------------------------------------------------------------------------

    def take(self, worker: str) -> Job | None:
        """The oldest queued job, now running under this worker's lease; None when there is none.

        Jobs whose lease has lapsed are put back first.
        """
        waiting = self._database.row(
            "SELECT 1 FROM jobs WHERE state = 'queued' OR (state = 'running' AND lease_until <= ?) LIMIT 1",
            (self._database.now_ms(),),
        )
        if waiting is None:
            return None  # looked for often: no write lock for nothing
        with self._database.transaction() as connection:
            now = self._database.now_ms()
            for row in self._database.rows(
                "SELECT * FROM jobs WHERE state = 'running' AND lease_until <= ?", (now,)
            ):
                self._interrupted(_job(row), "The server stopped while it ran.")
            oldest = self._database.row(
                "SELECT id FROM jobs WHERE state = 'queued' ORDER BY created_at, rowid LIMIT 1"
            )
            if oldest is None:
                return None
            job_id = str(oldest["id"])
            connection.execute(
                "UPDATE jobs SET state = 'running', worker = ?, lease_until = ?, attempts = attempts + 1, "
                "progress = 0, "
                "step = 'start', message = '', started_at = ?, finished_at = NULL WHERE id = ?",
                (worker, now + LEASE_MS, now, job_id),
            )
            self._events.append("job", job_id, "started")
            return self.get(job_id)

    def renew(self, job: Job) -> Job:
        """Hold it for another LEASE_MS. Raises LeaseLostError."""
        with self._database.transaction() as connection:
            self._check_held(job)
            connection.execute(
                "UPDATE jobs SET lease_until = ? WHERE id = ?", (self._database.now_ms() + LEASE_MS, job.id)
            )
            return self.get(job.id)

    def report_progress(self, job: Job, fraction: float, step: str, message: str) -> None:
        """Raises LeaseLostError, also when a person asked to cancel."""
        with self._database.transaction() as connection:
            if self._check_held(job).cancel_requested:
                raise LeaseLostError(job.id)
            fraction = min(1.0, max(0.0, fraction))
            connection.execute(
                "UPDATE jobs SET progress = ?, step = ?, message = ? WHERE id = ?",
                (fraction, step, message, job.id),
            )
            self._events.append(
                "job", job.id, "progress", data={"progress": fraction, "step": step, "message": message}
            )

    def finish(self, job: Job, result: Result) -> Job:
        """The artifact's row and the job's end in one transaction. Raises LeaseLostError."""
        with self._database.transaction() as connection:
            if self._check_held(job).cancel_requested:
                raise LeaseLostError(job.id)
            self._artifacts.add(
                result.digest,
                model=job.model,
                profile=job.profile,
                recipe=job.recipe,
                size_bytes=result.size_bytes,
                report=result.report,
                job=job.id,
            )
            connection.execute(
                "UPDATE jobs SET artifact = ?, progress = 1, step = '' WHERE id = ?", (result.digest, job.id)
            )
            self._end(job, "done", "")
            return self.get(job.id)

    def fail(self, job: Job, message: str) -> Job:
        """It cannot succeed, and the sentence says why. Raises LeaseLostError."""
        with self._database.transaction():
            self._check_held(job)
            self._end(job, "failed", message)
            return self.get(job.id)

    def interrupted(self, job: Job, reason: str) -> Job:
        """Its process ended without a result: cancelled if that was asked for, queued again, or failed at
        last.

        Raises LeaseLostError.
        """
        with self._database.transaction():
            self._interrupted(self._check_held(job), reason)
            return self.get(job.id)

    def give_back(self, job: Job) -> Job:
        """The server stops in good order: queued again, the attempt not counted. Raises LeaseLostError."""
        with self._database.transaction() as connection:
            self._interrupted(self._check_held(job), "The server was stopped.")
            connection.execute(
                "UPDATE jobs SET attempts = max(0, attempts - 1) WHERE id = ? AND state = 'queued'", (job.id,)
            )
            return self.get(job.id)

    def release_worker(self, worker: str) -> None:
        """This worker is known to be dead: do not wait for its leases."""
        with self._database.transaction():
            for job in self.running():
                if job.worker == worker:
                    self._interrupted(job, "The server stopped while it ran.")

    def _interrupted(self, job: Job, reason: str) -> None:
        if job.cancel_requested:
            self._end(job, "cancelled", "Cancelled.")
        elif job.attempts >= MAX_ATTEMPTS:
            self._end(job, "failed", f"{reason} It was tried {job.attempts} times and is not tried again.")
        else:
            with self._database.transaction() as connection:
                connection.execute(
                    "UPDATE jobs SET state = 'queued', worker = NULL, lease_until = NULL, progress = 0, "
                    "step = '', "
                    "message = ? WHERE id = ?",
                    (f"{reason} It starts anew (attempt {job.attempts + 1} of {MAX_ATTEMPTS}).", job.id),
                )
                self._events.append("job", job.id, "queued", data={"message": reason})

    def _check_held(self, job: Job) -> Job:
        now = self.get(job.id)
        if now.state != "running" or now.worker != job.worker or now.attempts != job.attempts:
            raise LeaseLostError(job.id)
        return now

    def _end(self, job: Job, state: JobState, message: str, *, actor: str | None = None) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE jobs SET state = ?, message = ?, worker = NULL, lease_until = NULL, finished_at = ? "
                "WHERE id = ?",
                (state, message, self._database.now_ms(), job.id),
            )
            self._events.append(
                "job", job.id, state, actor=actor, data={"model": job.model, "message": message}
            )


def _job(row: sqlite3.Row) -> Job:
    return Job(
        **{
            **dict(row),
            "options": json.loads(row["options"]),
            "cancel_requested": bool(row["cancel_requested"]),
        }
    )

"""The profiling thread: does the job that the want asks for, in a child process, when nothing is installed.

``profiling_job`` decides; here it is written down, the child is started and ended, and its report is handed
on. Everything but ``run`` may be called from any thread.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from edgepress_agent.durable import Disk, sweep
from edgepress_agent.errors import ProfilingError
from edgepress_agent.profile_process import ProfileProcess, ProfileTask
from edgepress_agent.profiling_job import (
    Begin,
    Drop,
    Fail,
    Nothing,
    ProfilingRecord,
    Take,
    next_action,
    read_profiling_record,
    recovered,
    taken,
)
from edgepress_devices.protocol import ProfilingJob, ProfilingReport, ProfilingState

RETRY_S: Final = 60.0  # after a disk that could not be written
REASON_MAX_CHARS: Final = 500  # protocol.Text
PERCENT_STEP: Final = 5  # told to the server; finer would be states for nothing
RUNNING_REASON: Final = "an installation is under way"

log = logging.getLogger(__name__)


class Measurement(Protocol):
    """A child that measures, as ``profile_process.ProfileProcess``."""

    def wait(self, progress: Callable[[int], None]) -> ProfilingReport: ...
    def kill(self) -> None: ...


class Reports(Protocol):
    """Where reports wait for the server, as ``outbox.ReportShelf``. Methods raise OSError."""

    def has(self, job_id: str) -> bool: ...
    def put(self, report: ProfilingReport) -> None: ...


class RunningArtifact(msgspec.Struct, frozen=True):
    digest: str
    path: Path


class Profiler:
    """``running()`` is what answers requests now, ``answered()`` how many were answered, ``changed()`` is
    called after news for the state, ``reported()`` when a report may be sent. Raises OSError.
    """

    def __init__(
        self,
        folder: Path,
        *,
        disk: Disk,
        identity: str,
        threads: int,
        forms: tuple[str, ...],
        reports: Reports,
        running: Callable[[], RunningArtifact | None],
        answered: Callable[[], int] = lambda: 0,
        changed: Callable[[], None] = lambda: None,
        reported: Callable[[], None] = lambda: None,
        start: Callable[[ProfileTask], Measurement] = ProfileProcess,
    ) -> None:
        self._folder = folder / "profiling"
        self._scratch = self._folder / "scratch"
        self._disk = disk
        self._threads, self._forms = threads, forms
        self._reports = reports
        self._running, self._answered = running, answered
        self._changed, self._reported = changed, reported
        self._start = start
        self._wake = threading.Condition()
        self._news = True  # something may have to be done
        self._job: ProfilingJob | None = None
        self._asked = False  # a want was accepted since the start: until then nothing is dropped
        self._held = True
        self._closed = False
        self._child: Measurement | None = None
        self._percent = 0
        self._trouble: str | None = None
        disk.make_folder(self._folder)
        sweep(disk, self._folder)
        disk.remove(self._scratch)
        self._record = self._recover(identity)

    # --- from any thread ----------------------------------------------------------------------------------

    def wanted(self, job: ProfilingJob | None) -> None:
        """The newest accepted want asks for this job, or for none."""
        with self._wake:
            same = self._asked and job == self._job
            self._job, self._asked = job, True
            child = None if same or (job is not None and job.id == self._record.id) else self._child
            self._notify()
        if child is not None:
            child.kill()

    def hold(self) -> None:
        """An installation begins: on return nothing is measured, and nothing will be before ``release``."""
        with self._wake:
            self._held = True
            child = self._child
            self._notify()
        if child is not None:
            child.kill()

    def release(self) -> None:
        with self._wake:
            if self._held:
                self._held = False
                self._notify()

    def close(self) -> None:
        """The agent ends now, in good order."""
        with self._wake:
            self._closed = True
            child = self._child
            self._notify()
        if child is not None:
            child.kill()

    @property
    def measuring(self) -> bool:
        return self._child is not None

    def state(self) -> ProfilingState | None:
        """The newest job, for the server and for people; None when there was none."""
        record = self._record
        if not record.id:
            return None
        reason = record.reason
        if record.is_open and self._trouble is not None:
            reason = self._trouble
        elif record.state == "waiting" and self._held:
            reason = RUNNING_REASON
        percent = {"running": self._percent, "done": 100}.get(record.state, 0)
        return ProfilingState(record.id, record.state, percent, reason)

    # --- the thread ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until ``close``."""
        while not self._closed:
            try:
                again = self._step()
                self._trouble = None
            except OSError as error:
                self._trouble = f"the state folder cannot be written: {error.strerror or error}"[:500]
                log.error("profiling: %s; tried again in %.0f s", self._trouble, RETRY_S)
                self._changed()
                again = False
            with self._wake:
                if not again and not self._closed:
                    timeout_s = RETRY_S if self._trouble else None
                    self._wake.wait_for(lambda: self._news or self._closed, timeout_s)
                self._news = False

    def _step(self) -> bool:
        """Do one action; whether another may follow at once."""
        with self._wake:
            job, held, asked = self._job, self._held, self._asked
        if not asked:
            return False
        running = self._running()
        action = next_action(job, self._record, held=held, running=running.digest if running else None)
        match action:
            case Nothing():
                return False
            case Take(job):
                self._write(taken(self._record, job))
            case Drop(reason) | Fail(reason):
                self._end("failed", reason)
            case Begin(job):
                self._begin(job, running)
        return True

    def _begin(self, job: ProfilingJob, running: RunningArtifact | None) -> None:
        self._percent = 0
        self._disk.make_folder(self._scratch)
        # Counted before it begins: if this process dies in it, the next one knows.
        self._write(msgspec.structs.replace(self._record, state="running", starts=self._record.starts + 1))
        is_model = job.what == "model" and running is not None
        task = ProfileTask(
            id=job.id,
            what=job.what,
            seconds=job.seconds,
            threads=self._threads,
            scratch=str(self._scratch),
            forms=self._forms,
            artifact=str(running.path) if is_model and running is not None else None,
            digest=job.digest if is_model else None,
        )
        answered_before = self._answered()
        try:
            report = self._measure(job, task)
        except ProfilingError as error:
            if self._interrupted(job):
                self._write(
                    msgspec.structs.replace(self._record, state="waiting", starts=self._record.starts - 1)
                )
            else:
                self._end("failed", str(error))
            return
        finally:
            self._disk.remove(self._scratch)
        report.inferences = max(0, self._answered() - answered_before)
        self._reports.put(report)  # first the report, then "done"
        self._end("done", report.reason)
        self._reported()

    def _measure(self, job: ProfilingJob, task: ProfileTask) -> ProfilingReport:
        """Raises ProfilingError, also where it was interrupted."""
        with self._wake:  # so that who holds it now finds either a child to end or none that will come
            if self._interrupted(job):
                raise ProfilingError("it was interrupted before it began")
            child = self._child = self._start(task)
        try:
            report = child.wait(self._progress)
        finally:
            with self._wake:
                self._child = None
        if (report.id, report.what, report.digest) != (task.id, task.what, task.digest):
            raise ProfilingError("the measuring process answered for another job")
        return report

    def _interrupted(self, job: ProfilingJob) -> bool:
        with self._wake:
            return self._held or self._closed or self._job is None or self._job.id != job.id

    def _progress(self, percent: int) -> None:
        told = percent // PERCENT_STEP != self._percent // PERCENT_STEP
        self._percent = percent
        if told:
            self._changed()

    # --- the record ---------------------------------------------------------------------------------------

    def _recover(self, identity: str) -> ProfilingRecord:
        record = read_profiling_record(self._folder / "record")
        if record.identity != identity:
            return ProfilingRecord(identity=identity)
        now = recovered(record, reported=bool(record.id) and self._reports.has(record.id))
        if now != record:  # before the report is sent and forgotten
            self._disk.write_whole(self._folder / "record", msgspec.json.encode(now))
        return now

    def _end(self, state: str, reason: str | None) -> None:
        said = None if reason is None else reason[:REASON_MAX_CHARS]
        final = msgspec.structs.replace(self._record, state=state, reason=said, starts=0)
        log.info("profiling job %s %s%s", final.id, state, f": {said}" if said else "")
        self._write(final)

    def _write(self, record: ProfilingRecord) -> None:
        self._disk.write_whole(self._folder / "record", msgspec.json.encode(record))
        self._record = record
        self._changed()

    def _notify(self) -> None:
        self._news = True
        self._wake.notify_all()

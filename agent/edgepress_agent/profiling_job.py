"""A profiling job on this device: where it stands on the disk, and what to do next about it. Pure.

Rules
-----
1. The want says which job is to have been done. A job is taken up once: an id that is done, failed or was
   stopped is never begun again, whatever happened in between. ``finished`` remembers the last ones.
2. It waits while an installation is under way, and an installation interrupts it: it begins again afterwards.
3. A start is counted on the disk before it begins. An orderly interruption takes the count back; what remains
   are deaths of the agent (power, ``kill -9``). After ``STARTS_MAX`` of them the job has failed.
4. The report is on the disk before the job is "done", and only then is it sent. A report that is there when
   the agent starts makes the job done: it is not measured twice.
5. A job that is no longer wanted is stopped, and counts as failed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

from edgepress_devices.microbench.plan import PLAN_VERSION
from edgepress_devices.protocol import ProfilingJob

STARTS_MAX: Final = 2
FINISHED_KEPT: Final = 32
RECORD_MAX_BYTES: Final = 65_536

JobState = Literal["waiting", "running", "done", "failed"]


class ProfilingRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The newest job; ``id`` empty = there was none."""

    identity: str = ""  # whose it is: another identity begins with none
    id: str = ""
    state: JobState = "waiting"
    reason: str | None = None
    starts: int = 0  # begun, and neither ended nor interrupted in good order
    finished: tuple[str, ...] = ()  # ids of earlier jobs

    @property
    def is_open(self) -> bool:
        return bool(self.id) and self.state in ("waiting", "running")


@dataclass(frozen=True)
class Nothing:
    """Wait for the next event."""


@dataclass(frozen=True)
class Take:
    """Write the job down as waiting; the one before it is finished."""

    job: ProfilingJob


@dataclass(frozen=True)
class Drop:
    """Nobody wants the open job any more."""

    reason: str


@dataclass(frozen=True)
class Fail:
    reason: str


@dataclass(frozen=True)
class Begin:
    job: ProfilingJob


Action = Nothing | Take | Drop | Fail | Begin


def next_action(
    job: ProfilingJob | None, record: ProfilingRecord, *, held: bool, running: str | None
) -> Action:
    """``job``: of the accepted want. ``held``: an installation is under way, or the agent has just started.
    ``running``: digest of the artifact that answers now.
    """
    if job is None:
        return Drop("the server took this job back") if record.is_open else Nothing()
    if job.id != record.id:
        return Nothing() if job.id in record.finished else Take(job)
    if not record.is_open or held:
        return Nothing()
    reason = _impossible(job, record, running)
    return Begin(job) if reason is None else Fail(reason)


def _impossible(job: ProfilingJob, record: ProfilingRecord, running: str | None) -> str | None:
    """Why this job cannot be begun here; None where it can."""
    if record.starts >= STARTS_MAX:
        return f"the agent died {record.starts} times during this job"
    if job.what == "device" and job.plan != PLAN_VERSION:
        return (
            f"this agent knows the calibration nets of plan {PLAN_VERSION}, the job is about plan {job.plan}:"
            " update the older side"
        )
    if job.what == "model" and (job.digest is None or job.digest != running):
        runs = f"this device runs {running[:12]}" if running else "this device runs no model"
        return f"the job is about artifact {(job.digest or 'none')[:12]}, {runs}"
    return None


def taken(record: ProfilingRecord, job: ProfilingJob) -> ProfilingRecord:
    """The record with this job as the newest one."""
    finished = record.finished if not record.id else (*record.finished, record.id)[-FINISHED_KEPT:]
    return ProfilingRecord(identity=record.identity, id=job.id, finished=finished)


def recovered(record: ProfilingRecord, *, reported: bool) -> ProfilingRecord:
    """What a record means after a restart. ``reported``: the job's report lies on the disk."""
    if record.state != "running":
        return record
    if reported:
        return msgspec.structs.replace(record, state="done", starts=0)
    return msgspec.structs.replace(record, state="waiting")


def read_profiling_record(path: Path) -> ProfilingRecord:
    """The stored record; a missing or unreadable file reads as none. Raises OSError."""
    try:
        with path.open("rb") as file:
            return msgspec.json.decode(file.read(RECORD_MAX_BYTES), type=ProfilingRecord)
    except (FileNotFoundError, NotADirectoryError):
        return ProfilingRecord()
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ProfilingRecord()  # only a broken medium gets here: files are replaced whole

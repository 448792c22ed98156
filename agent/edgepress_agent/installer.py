"""Does the steps that ``job.next_step`` names, one at a time, each on disk before it is reported.

The order inside a step is what a power cut leaves whole: see the comments. Files are changed through
``disk``, models are loaded and tried by ``engine``; both are passed in. The agent's start, and going
back to the last good model, are in ``recovery``.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic

import msgspec

from edgepress_agent import crash_loop
from edgepress_agent.durable import Disk
from edgepress_agent.errors import ModelRefusedError, NotNowError, StoppedError, WantError
from edgepress_agent.fetch import FetchFolder, clear_fetches
from edgepress_agent.job import (
    Begin,
    Commit,
    Conclude,
    Desired,
    Fetch,
    Have,
    Reject,
    RollBack,
    Stage,
    Step,
    StopRunning,
    Try,
    Verify,
    Wait,
    next_step,
)
from edgepress_agent.journal import Journal, Record
from edgepress_agent.model_engine import Beside, M, ModelEngine
from edgepress_agent.probation_watch import ProbationWatch
from edgepress_agent.recovery import REASON_MAX_CHARS, Recovery
from edgepress_agent.shadow import verdict
from edgepress_agent.slots import Slot, SlotInfo, Slots, decoded_path, file_identity
from edgepress_agent.source import Source, base_slot, choose_source, full_source, no_delta
from edgepress_agent.trust import Accepted
from edgepress_agent.watchdog import HANG_S
from edgepress_devices.protocol import Limits, Shadow, TrialReport

__all__ = ["REASON_MAX_CHARS", "Installer", "ModelEngine"]

RETRY_FIRST_S: Final = 30.0
RETRY_MAX_S: Final = 900.0
DELTA_STARTS_MAX: Final = 2
SLOW_STEP_S: Final = 600.0  # decoding and loading a large model on a small board: nothing else takes so long

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Trying(Generic[M]):
    """A model that passed the trial's checks and now answers in the shadow of the one that runs."""

    slot: Slot
    info: SlotInfo
    model: M
    report: TrialReport
    shadow: Shadow
    beside: Beside


class Installer(Generic[M]):
    """One device's job. Not thread-safe: one thread calls it.

    ``check_room(folder, file_bytes, have_bytes, unpacked_bytes)`` raises NotNowError; ``keep_on()`` raises
    StoppedError when the agent is stopping; ``changed()`` is called after every transition; ``alive(s)``
    says that within so many seconds it, or ``keep_on``, is called again.
    """

    def __init__(
        self,
        folder: Path,
        *,
        disk: Disk,
        journal: Journal,
        engine: ModelEngine[M],
        check_room: Callable[[Path, int, int, int], None],
        keep_on: Callable[[], None] = lambda: None,
        changed: Callable[[], None] = lambda: None,
        alive: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self.slots = Slots(folder, disk)
        self.journal = journal
        self.accepted: Accepted | None = None
        self.source: Source | None = None  # what is fetched for the accepted want
        self.fetch: FetchFolder | None = None  # of that source
        self.running: SlotInfo | None = None
        self.trouble: str | None = None  # failed, and not even the journal could be written
        self._folder = folder
        self._disk = disk
        self._engine = engine
        self._check_room = check_room
        self._keep_on = keep_on
        self._changed = changed
        self._alive = alive
        self._identity = ""
        self._retry_at_s = 0.0
        self._retries = 0
        self._hashed: tuple[int, int, int] | None = None  # the file that this process read last, every byte
        self._trying: _Trying[M] | None = None
        self._told_requests = 0  # of the shadow run, in the last state
        self._probation = ProbationWatch(journal, engine.served)
        self._condemned: str | None = None

    @property
    def trial(self) -> TrialReport | None:
        """What the trial under way, or else the newest one, saw. From any thread."""
        trying = self._trying
        return self.journal.record.trial if trying is None else _with_shadow(trying)

    def start(self, identity: str) -> None:
        """Clear away what a crash left, and run the current model or go back to the last good one.

        ``identity``: whose device this is; another one than before forgets models and counters. Raises
        OSError.
        """
        self._identity = identity
        recovery = self._recovery()
        self._alive(SLOW_STEP_S)
        self.running = recovery.start(identity)
        self.trouble = recovery.trouble

    # --- what is wanted -----------------------------------------------------------------------------------

    def check_same(self, accepted: Accepted) -> None:
        """A counter names one want for ever. Raises WantError for another one with the same counter."""
        before = self.accepted
        if before is None or before.counter != accepted.counter:
            return
        if before.want.digest != accepted.want.digest:
            raise WantError(f"two different wants have the counter {accepted.counter}; only the first counts")

    def accept(self, accepted: Accepted) -> None:
        """Follow this want from now on. Raises OSError."""
        record = self.journal.record
        want = accepted.want
        trying = self._trying
        if trying is not None and (want.digest, want.shadow) != (trying.info.digest, trying.shadow):
            self._end_trial()
        if accepted.counter > record.want:
            changes: dict[str, Any] = {}
            final = record.step in ("rejected", "failed", "rolled_back")
            if record.target != want.digest or final:
                changes = {"step": "idle", "target": None, **_FRESH}
            floor = max(record.time_floor_s, want.issued_at)
            self._write(want=accepted.counter, time_floor_s=floor, reason=None, **changes)
            self._retry_at_s, self._retries = 0.0, 0
        source = None if want.digest is None else self._choose(accepted)  # may find the disk unreadable
        self.accepted = accepted
        self._take_source(source)

    def _choose(self, accepted: Accepted) -> Source:
        refused = self.journal.record.delta_refused
        return choose_source(
            accepted, self.slots, refused=refused, chunks_here=lambda source: self._folder_of(source).count()
        )

    def _take_source(self, source: Source | None) -> None:
        self.source = source
        if source is None:
            self.fetch = None
        elif self.fetch is None or self.fetch.path.name != source.digest:
            self.fetch = self._folder_of(source)

    def _folder_of(self, source: Source) -> FetchFolder:
        return FetchFolder(
            self._folder,
            self._disk,
            digest=source.digest,
            size_bytes=source.size_bytes,
            chunks=source.chunks,
        )

    def refuse(self, error: WantError) -> None:
        """The director asks for what must not be done: answer with a rejection, keep what runs. Raises
        OSError.
        """
        record = self.journal.record
        reason = str(error)[:REASON_MAX_CHARS]
        if record.want == error.counter and record.step == "rejected" and record.reason == reason:
            return  # the retained want again
        self._end_trial()
        self.accepted = None
        self._take_source(None)
        counter = max(error.counter, record.want)
        self._write(want=counter, step="rejected", reason=reason, target=None, **_FRESH)

    # --- one step -----------------------------------------------------------------------------------------

    def have(self) -> Have:
        """The facts that decide."""
        record = self.journal.record
        digest = self.accepted.want.digest if self.accepted else None
        trying = self._trying
        return Have(
            step="failed" if self.trouble else record.step,
            target=digest if self.trouble else record.target,
            running=self.running.digest if self.running else None,
            staged=digest if digest and self.slots.find(digest) else None,
            chunks=self.fetch.count() if self.fetch else 0,
            checked=self.fetch.checked if self.fetch else False,
            room=self.fetch.has_room() if self.fetch else True,
            trial_starts=record.trial_starts,
            retry_at_s=self._retry_at_s,
            shadow="none" if trying is None else "over" if trying.beside.tally().over else "running",
            condemned=self._condemned,
        )

    def advance(self, now_s: float, clock_s: int) -> Step:
        """Decide and do one step, and say which. ``now_s`` only grows; ``clock_s`` is Unix time.

        A full disk or too little memory becomes FAILED and is tried again. Raises StoppedError.
        """
        self._look(now_s, clock_s)
        step = self.upcoming(now_s, clock_s)
        if not isinstance(step, Wait | Fetch):
            self._alive(SLOW_STEP_S)
        try:
            self._do(step)
        except NotNowError as error:
            self._fail(str(error), now_s)
        except OSError as error:
            self._fail(f"the state folder cannot be written: {error.strerror or error}", now_s)
        self._alive(HANG_S)
        return step

    def upcoming(self, now_s: float, clock_s: int) -> Step:
        """The step that ``advance`` would do now."""
        if now_s < self._retry_at_s:
            return Wait(until_s=self._retry_at_s)
        return next_step(self._desired(clock_s), self.have(), now_s)

    def store_chunks(self, pieces: Sequence[tuple[int, bytes]], now_s: float) -> bool:
        """Put (n, plaintext) chunks on the disk; False when that failed."""
        if self.fetch is None or not pieces:
            return False
        try:
            self.fetch.store(pieces)
        except OSError as error:
            self._fail(f"the artifact cannot be written: {error.strerror or error}", now_s)
            return False
        return True

    def _look(self, now_s: float, clock_s: int) -> None:
        """At what goes on by itself: the model that runs, and one that answers in its shadow."""
        try:
            self._condemned = self._probation.look(self.running.digest if self.running else None, now_s)
        except OSError as error:
            log.warning("the model's probation cannot be noted: %s", error.strerror or error)
        trying, desired = self._trying, self._desired(clock_s)
        if trying is None:
            return
        if desired is None or not desired.may_install:  # its time passed: nothing is tried any more
            try:
                self._end_trial()
            except OSError as error:
                self._fail(f"the state folder cannot be written: {error.strerror or error}", now_s)
        elif (requests := trying.beside.tally().requests) != self._told_requests:
            self._told_requests = requests
            self._changed()

    def _desired(self, clock_s: int) -> Desired | None:
        if self.accepted is None:
            return None
        now_s = max(clock_s, self.journal.record.time_floor_s)
        chunks = self.source.chunks if self.source else 0
        return Desired(self.accepted.want.digest, chunks, may_install=now_s < self.accepted.expires_s)

    def _do(self, step: Step) -> None:
        match step:
            case Wait() | Fetch():
                pass
            case StopRunning():
                self._stop_running()
            case Begin():
                self._begin()
            case Verify():
                self._verify()
            case Stage():
                self._stage()
            case Try():
                self._try()
            case Conclude():
                self._conclude()
            case Commit():
                self._commit()
            case RollBack(reason):
                self._roll_back(reason)
            case Reject(reason):
                self._reject(reason)

    def _stop_running(self) -> None:
        self._end_trial()
        self.slots.point_nowhere()
        self._engine.deactivate()
        self.running = None
        clear_fetches(self._folder, self._disk, keep=1)  # an aborted one may be wanted again
        self._write(step="idle", target=None, reason=None, probation=None, **_FRESH)

    def _begin(self) -> None:
        accepted, source, fetch = self._job()
        digest = accepted.want.digest
        if self.slots.find(digest or ""):
            self._write(step="staged", target=digest, reason=None, trial_starts=0)
            return
        if accepted.delta is not None and not source.is_delta and not accepted.want.delivery.full:
            why = no_delta(accepted, self.slots, refused=self.journal.record.delta_refused)
            self._reject(f"the delta cannot be used ({why}), and the full artifact is not to be fetched")
            return
        unpacked = accepted.delta.onnx_bytes if source.is_delta and accepted.delta else 0
        have_bytes = source.size_bytes if fetch.has_room() else 0
        try:
            self._check_room(self._folder, source.size_bytes, have_bytes, unpacked)
        except NotNowError:
            if not fetch.clear_others():  # a download that was broken off, kept in case it is wanted again
                raise
            self._check_room(self._folder, source.size_bytes, have_bytes, unpacked)
        fetch.begin()
        self._write(step="fetching", target=digest, reason=None, trial_starts=0)

    def _verify(self) -> None:
        accepted, source, fetch = self._job()
        info = self._new_info(accepted, source)
        try:
            if not fetch.has_digest(self._keep_on):
                short = source.digest[:12]
                raise ModelRefusedError(f"the artifact that came does not have the digest {short}...")
            self._hashed = file_identity(fetch.artifact)
            if source.is_delta:
                self._apply_delta(accepted, fetch, info)
        except ModelRefusedError as error:
            if source.is_delta:
                self._refuse_delta(accepted, source, str(error))
            else:
                self._reject(str(error))
            return
        fetch.mark_checked(info)
        self._write(step="verified", target=info.digest, delta_starts=0)

    def _apply_delta(self, accepted: Accepted, fetch: FetchFolder, info: SlotInfo) -> None:
        """Make the model beside the delta that it came as, as long as its base lies here."""
        slot = base_slot(accepted, self.slots)
        base_info = self.slots.info(slot) if slot else None
        if slot is None or base_info is None:
            raise ModelRefusedError("the model that it builds on is gone from its slot")
        starts = self.journal.record.delta_starts
        if starts >= DELTA_STARTS_MAX:
            raise ModelRefusedError(f"the agent died {starts} times while it applied it")
        base = self.slots.artifact(slot)

        def fill(target: BinaryIO) -> None:
            self._engine.apply_delta(fetch.artifact, target, info, base, base_info)

        # Counted before it begins: if this process dies in it, the next one knows.
        self.journal.write(delta_starts=starts + 1)
        self._alive(SLOW_STEP_S)
        try:
            self._disk.write_through(decoded_path(fetch.artifact), fill)
        except (StoppedError, NotNowError, OSError):
            self.journal.write(delta_starts=starts)  # no death
            raise

    def _refuse_delta(self, accepted: Accepted, source: Source, reason: str) -> None:
        reason = f"the delta cannot be used: {reason}"
        log.warning("%s", reason)
        if not accepted.want.delivery.full:
            self._reject(reason)
            return
        said = f"{reason}; the full artifact is fetched"[:REASON_MAX_CHARS]
        self._write(step="idle", target=None, reason=said, delta_refused=source.digest, delta_starts=0)
        if self.fetch is not None:
            self.fetch.discard()
        self._take_source(full_source(accepted))

    def _stage(self) -> None:
        accepted, _, fetch = self._job()
        self.slots.stage(fetch.path)
        self._write(step="staged", target=accepted.want.digest)

    def _try(self) -> None:
        accepted, _, _ = self._job()
        slot, info = self._staged(accepted)
        if not (self._is_as_hashed(slot, info) or self.slots.is_whole(slot, info, self._keep_on)):
            log.warning("what lies in the slot is damaged: it is fetched again")
            if slot == self.slots.current():  # found out at the start, when the disk took no change
                self.slots.point_nowhere()
            self.slots.discard(slot)
            self._write(step="idle", target=None, trial_starts=0)
            return
        artifact = self.slots.artifact(slot)
        # Counted before it begins: if this process dies in it, the next one knows.
        record = self._write(
            step="trial", target=info.digest, trial_starts=self.journal.record.trial_starts + 1
        )
        self._alive(SLOW_STEP_S)
        try:
            model, report = self._engine.try_model(artifact, info, _limits(accepted), self._keep_on)
            if (shadow := accepted.want.shadow) is not None:
                beside = self._engine.start_shadow(artifact, model, shadow)
                if beside is not None:
                    self._trying = _Trying(slot, info, model, report, shadow, beside)
                    self._told_requests = 0
                    self._write(shadow_boot=crash_loop.read_boot_id())
                    return
                log.info("no model answers here yet: there is nothing to be in the shadow of")
        except ModelRefusedError as error:
            self._reject(str(error), error.report)
            return
        except (StoppedError, NotNowError, OSError):
            # An orderly end is no death in the trial.
            self._end_trial(starts=record.trial_starts - 1)
            raise
        self._take_over(slot, info, model, report)

    def _is_as_hashed(self, slot: Slot, info: SlotInfo) -> bool:
        """This process has just read every byte of it, and it was only moved since."""
        try:
            return info.delta is None and self._hashed == file_identity(self.slots.artifact(slot))
        except OSError:
            return False

    def _conclude(self) -> None:
        """The shadow run is over."""
        trying = self._trying
        if trying is None:
            return
        trying.beside.stop()
        report, reason = _with_shadow(trying), verdict(trying.shadow, trying.beside.tally())
        self._trying = None
        if reason is not None:
            self._reject(reason, report)
        else:
            self._take_over(trying.slot, trying.info, trying.model, report)

    def _take_over(self, slot: Slot, info: SlotInfo, model: M, report: TrialReport) -> None:
        before = self._engine.served()
        self.slots.switch(slot, info)  # the pointer first: after a power cut from here on the new model runs
        self._engine.activate(model)
        self.running = info
        self._commit(report=report, before=before)

    def _commit(self, report: TrialReport | None = None, before: tuple[int, int] = (0, 0)) -> None:
        """It runs. After its trial, or after a cut between pointer and journal, its probation begins."""
        accepted, _, fetch = self._job()
        slot, info = self._staged(accepted)
        changes: dict[str, Any] = {}
        if self.journal.record.step == "trial":
            changes["probation"] = self._probation.begin(info.digest, before)
            changes["trial"] = report or self.journal.record.trial
        self._tidy(fetch.discard)
        self.slots.relabel(slot, info)
        floor = max(self.journal.record.release_floor, info.release)
        changes |= {"step": "committed", "target": info.digest, "reason": None, "release_floor": floor}
        self._write(**changes, **_FRESH)
        self.running = info
        self._retries = 0

    def _roll_back(self, reason: str) -> None:
        """The model that runs is bad: the last good one answers from here on."""
        slot, info = self.slots.current(), self.running
        self._condemned = None
        if slot is None or info is None:
            return
        self._end_trial()
        found = self._recovery().fall_back(slot, info, reason)
        if found is None:
            log.error("%s, but there is no other model to go back to", reason)
            self._probation.pardon()
            return
        model, self.running = found
        self._engine.activate(model)
        self._tidy(lambda: self.slots.discard(slot))
        self._changed()

    def _reject(self, reason: str, report: TrialReport | None = None) -> None:
        accepted, _, fetch = self._job()
        digest = accepted.want.digest
        changes: dict[str, Any] = {} if report is None else {"trial": report}
        self._write(step="rejected", target=digest, reason=reason[:REASON_MAX_CHARS], **_FRESH, **changes)
        self._tidy(fetch.discard)
        slot = self.slots.find(digest or "")
        if slot is not None and slot != self.slots.current():
            self._tidy(lambda: self.slots.discard(slot))

    def _tidy(self, change: Callable[[], None]) -> None:
        """Room is made later where it cannot be made now: what was decided stands all the same."""
        try:
            change()
        except OSError as error:
            log.warning("what is of no use any more cannot be removed: %s", error.strerror or error)

    def _end_trial(self, starts: int | None = None) -> None:
        """A trial ends without a word about the model; ``starts``: how many deaths there were before it."""
        trying, self._trying = self._trying, None
        if trying is not None:
            trying.beside.stop()
        elif starts is None:
            return
        deaths = max(0, self.journal.record.trial_starts - 1) if starts is None else starts
        self._write(step="staged", trial_starts=deaths, shadow_boot=None)

    def _fail(self, reason: str, now_s: float) -> None:
        """Not now: try again, each time later."""
        self._retry_at_s = now_s + min(RETRY_MAX_S, RETRY_FIRST_S * 2**self._retries)
        self._retries = min(self._retries + 1, 10)
        reason = reason[:REASON_MAX_CHARS]
        digest = self.accepted.want.digest if self.accepted else None
        try:
            self._write(step="failed", target=digest, reason=reason, trial_starts=0)
        except OSError:
            self.trouble = reason
            log.error("%s", reason)
            self._changed()

    def _write(self, **changes: Any) -> Record:
        before = self.journal.record.step
        record = self.journal.write(**changes)
        self.trouble = None
        if record.step != before or record.reason:
            log.info(
                "%s%s%s",
                record.step,
                f" {record.target[:12]}" if record.target else "",
                f": {record.reason}" if record.reason else "",
            )
        self._changed()
        return record

    def _job(self) -> tuple[Accepted, Source, FetchFolder]:
        accepted, source, fetch = self.accepted, self.source, self.fetch
        if accepted is None or source is None or fetch is None or accepted.statement is None:
            raise RuntimeError("a step of an installation without a want")  # next_step never asks for that
        return accepted, source, fetch

    def _new_info(self, accepted: Accepted, source: Source) -> SlotInfo:
        """Of what is fetched."""
        want, statement, delta = accepted.want, accepted.statement, accepted.delta
        if statement is None:
            raise RuntimeError("an artifact without a statement")  # trust.verify_want never lets it by
        info = SlotInfo(
            want.digest or "",
            source.size_bytes,
            statement.model,
            statement.profile,
            accepted.release,
            identity=self._identity,
        )
        if delta is None or not source.is_delta:
            return info
        return msgspec.structs.replace(
            info, delta=delta.digest, onnx_sha256=delta.onnx_sha256, onnx_bytes=delta.onnx_bytes
        )

    def _staged(self, accepted: Accepted) -> tuple[Slot, SlotInfo]:
        """Where the wanted artifact lies, and what it is by the words of this want."""
        slot = self.slots.find(accepted.want.digest or "")
        info = self.slots.info(slot) if slot else None
        if slot is None or info is None or accepted.statement is None:
            raise NotNowError("the staged artifact is gone from its slot; it is fetched again")
        statement = accepted.statement
        return slot, msgspec.structs.replace(
            info,
            model=statement.model,
            profile=statement.profile,
            release=accepted.release,
            identity=self._identity,
        )

    def _recovery(self) -> Recovery[M]:
        return Recovery(
            self._folder,
            disk=self._disk,
            slots=self.slots,
            journal=self.journal,
            engine=self._engine,
            keep_on=self._keep_on,
            slow=lambda: self._alive(SLOW_STEP_S),
        )


_FRESH: Final[dict[str, Any]] = {
    "trial_starts": 0,
    "shadow_boot": None,
    "delta_starts": 0,
    "delta_refused": None,
}
"""What a journal says of an artifact that was not taken up yet."""


def _limits(accepted: Accepted) -> Limits:
    """Those that the release vouches for and the rollout's: the stricter of both."""
    said = accepted.statement.limits if accepted.statement else Limits()
    asked = accepted.want.limits
    return Limits(_least(said.p95_us, asked.p95_us), _least(said.rss_bytes, asked.rss_bytes))


def _least(*limits: int | None) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _with_shadow(trying: _Trying[Any]) -> TrialReport:
    tally = trying.beside.tally()
    return msgspec.structs.replace(trying.report, requests=tally.requests, agreed=tally.agreed)

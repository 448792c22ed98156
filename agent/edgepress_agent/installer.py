"""Does the steps that ``job.next_step`` names, one at a time, each on disk before it is reported.

The order inside a step is what a power cut leaves whole: see the comments. Files are changed through
``disk``, models are loaded and tried by ``engine``; both are passed in.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

from edgepress_agent.durable import Disk
from edgepress_agent.errors import ModelRefusedError, NotNowError, StoppedError, WantError
from edgepress_agent.fetch import FetchFolder, clear_fetches, file_sha256
from edgepress_agent.job import (
    LOAD_STARTS_MAX,
    Begin,
    Commit,
    Desired,
    Fetch,
    Have,
    Reject,
    Stage,
    Step,
    StopRunning,
    Try,
    Verify,
    Wait,
    next_step,
)
from edgepress_agent.journal import Journal
from edgepress_agent.slots import Slot, SlotInfo, Slots, other
from edgepress_agent.source import Source, choose_source
from edgepress_agent.trust import Accepted
from edgepress_devices.protocol import Limits

RETRY_FIRST_S: Final = 30.0
RETRY_MAX_S: Final = 900.0
REASON_MAX_CHARS: Final = 500  # protocol.Text

log = logging.getLogger(__name__)
M = TypeVar("M")


class ModelEngine(Protocol[M]):
    """What the installer needs of ``engine.Engine``."""

    def load(self, artifact: Path, info: SlotInfo) -> M: ...
    def try_model(self, artifact: Path, info: SlotInfo, limits: Limits, keep_on: Callable[[], None]) -> M: ...
    def activate(self, model: M) -> None: ...
    def deactivate(self) -> None: ...


class Installer(Generic[M]):
    """One device's job. Not thread-safe: one thread calls it.

    ``check_room(folder, artifact_bytes, have_bytes)`` raises NotNowError; ``keep_on()`` raises StoppedError
    when the agent is stopping; ``changed()`` is called after every transition.
    """

    def __init__(
        self,
        folder: Path,
        *,
        disk: Disk,
        journal: Journal,
        engine: ModelEngine[M],
        check_room: Callable[[Path, int, int], None],
        keep_on: Callable[[], None] = lambda: None,
        changed: Callable[[], None] = lambda: None,
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
        self._retry_at_s = 0.0
        self._retries = 0

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
        if accepted.counter > record.want:
            changes: dict[str, Any] = {}
            final = record.step in ("rejected", "failed", "rolled_back")
            if record.target != want.digest or final:
                changes = {"step": "idle", "target": None, "trial_starts": 0}
            floor = max(record.time_floor_s, want.issued_at)
            self._write(want=accepted.counter, time_floor_s=floor, reason=None, **changes)
            self._retry_at_s, self._retries = 0.0, 0
        self.accepted = accepted
        self._take_source(None if want.digest is None else choose_source(accepted, self.slots))

    def _take_source(self, source: Source | None) -> None:
        self.source = source
        if source is None:
            self.fetch = None
        elif self.fetch is None or self.fetch.path.name != source.digest:
            self.fetch = FetchFolder(
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
        self.accepted = None
        self._take_source(None)
        self._write(
            want=max(error.counter, record.want), step="rejected", reason=reason, target=None, trial_starts=0
        )

    # --- one step -----------------------------------------------------------------------------------------

    def have(self) -> Have:
        """The facts that decide."""
        record = self.journal.record
        digest = self.accepted.want.digest if self.accepted else None
        return Have(
            step="failed" if self.trouble else record.step,
            target=digest if self.trouble else record.target,
            running=self.running.digest if self.running else None,
            staged=digest if digest and self.slots.find(digest) else None,
            chunks=self.fetch.count() if self.fetch else 0,
            checked=self.fetch.checked if self.fetch else False,
            trial_starts=record.trial_starts,
            retry_at_s=self._retry_at_s,
        )

    def advance(self, now_s: float, clock_s: int) -> Step:
        """Decide and do one step, and say which. ``now_s`` only grows; ``clock_s`` is Unix time.

        A full disk or too little memory becomes FAILED and is tried again. Raises StoppedError.
        """
        step = self.upcoming(now_s, clock_s)
        try:
            self._do(step)
        except NotNowError as error:
            self._fail(str(error), now_s)
        except OSError as error:
            self._fail(f"the state folder cannot be written: {error.strerror or error}", now_s)
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
            case Commit():
                self._commit()
            case Reject(reason):
                self._reject(reason)

    def _stop_running(self) -> None:
        self.slots.point_nowhere()
        self._engine.deactivate()
        self.running = None
        clear_fetches(self._folder, self._disk)
        self._write(step="idle", target=None, reason=None, trial_starts=0)

    def _begin(self) -> None:
        digest, fetch, info = self._job()
        if self.slots.find(digest):
            self._write(step="staged", target=digest, reason=None, trial_starts=0)
            return
        have_bytes = info.size if fetch.has_room() else 0
        self._check_room(self._folder, info.size, have_bytes)
        fetch.begin()
        self._write(step="fetching", target=digest, reason=None, trial_starts=0)

    def _verify(self) -> None:
        digest, fetch, info = self._job()
        if not fetch.has_digest(self._keep_on):
            self._reject(f"the artifact that came does not have the digest {digest[:12]}...")
            return
        fetch.mark_checked(info)
        self._write(step="verified", target=digest)

    def _stage(self) -> None:
        digest, fetch, _ = self._job()
        self.slots.stage(fetch.path)
        self._write(step="staged", target=digest)

    def _try(self) -> None:
        digest, _, info = self._job()
        slot = self._slot_of(digest)
        limits = self.accepted.statement.limits if self.accepted and self.accepted.statement else Limits()
        # Counted before it begins: if this process dies in it, the next one knows.
        record = self._write(step="trial", target=digest, trial_starts=self.journal.record.trial_starts + 1)
        try:
            model = self._engine.try_model(self.slots.artifact(slot), info, limits, self._keep_on)
        except ModelRefusedError as error:
            self._reject(str(error))
            return
        except (StoppedError, NotNowError, OSError):
            # An orderly end is no death in the trial.
            self._write(step="staged", trial_starts=record.trial_starts - 1)
            raise
        self.slots.switch(slot)  # the pointer first: after a power cut from here on the new model runs
        self._engine.activate(model)
        self.running = info
        self._commit()

    def _commit(self) -> None:
        digest, fetch, info = self._job()
        fetch.discard()
        floor = max(self.journal.record.release_floor, info.release)
        self._write(step="committed", target=digest, reason=None, trial_starts=0, release_floor=floor)
        self._retries = 0

    def _reject(self, reason: str) -> None:
        digest, fetch, _ = self._job()
        self._write(step="rejected", target=digest, reason=reason[:REASON_MAX_CHARS], trial_starts=0)
        fetch.discard()
        slot = self.slots.find(digest)
        if slot is not None and slot != self.slots.current():
            self.slots.discard(slot)

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

    def _write(self, **changes: Any) -> Any:
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

    def _job(self) -> tuple[str, FetchFolder, SlotInfo]:
        accepted, fetch = self.accepted, self.fetch
        if accepted is None or fetch is None or accepted.want.digest is None or accepted.statement is None:
            raise RuntimeError("a step of an installation without a want")  # next_step never asks for that
        want, statement = accepted.want, accepted.statement
        info = SlotInfo(accepted.want.digest, want.size, statement.model, statement.profile, accepted.release)
        return accepted.want.digest, fetch, info

    def _slot_of(self, digest: str) -> Slot:
        slot = self.slots.find(digest)
        if slot is None:
            raise NotNowError("the staged artifact is gone from its slot; it is fetched again")
        return slot

    # --- at start -----------------------------------------------------------------------------------------

    def start(self, identity: str) -> None:
        """Clear away what a crash left, and run the current model or go back to the last good one.

        ``identity``: whose device this is; another one than before forgets models and counters. Raises
        OSError.
        """
        self.slots.prepare()
        if self.journal.record.identity != identity:
            self.slots.clear()
            clear_fetches(self._folder, self._disk)
            self.journal.reset(identity)
        while (slot := self.slots.current()) is not None:
            info = self.slots.info(slot)
            if info is None or self._load(slot, info):
                return

    def _load(self, slot: Slot, info: SlotInfo) -> bool:
        """Whether this slot's model answers now; if not, the pointer has moved on."""
        record = self.journal.record
        starts = record.load_starts if record.loading == info.digest else 0
        if starts >= LOAD_STARTS_MAX:
            self._fall_back(slot, info, f"the agent died {starts} times while it loaded this model")
            return False
        if not self._undamaged(slot, info):
            self._fall_back(slot, info, "the model's file was damaged on this disk", damaged=True)
            return False
        self.journal.write(loading=info.digest, load_starts=starts + 1)
        try:
            model = self._engine.load(self.slots.artifact(slot), info)
        except (ModelRefusedError, NotNowError) as error:
            self._fall_back(slot, info, f"the model no longer loads: {error}")
            return False
        self._engine.activate(model)
        self.running = info
        self.journal.write(loading=None, load_starts=0)
        return True

    def _undamaged(self, slot: Slot, info: SlotInfo) -> bool:
        try:
            return file_sha256(self.slots.artifact(slot), self._keep_on) == info.digest
        except OSError as error:
            log.error("%s cannot be read: %s", self.slots.artifact(slot), error.strerror)
            return False

    def _fall_back(self, slot: Slot, info: SlotInfo, reason: str, *, damaged: bool = False) -> None:
        """Point to the last good model, or nowhere. A damaged file is fetched again, a bad model is not."""
        last_good = self.slots.info(other(slot))
        usable = last_good is not None and last_good.trusted
        # Without another model, trying this one afresh (fetch, trial) is better than running nothing.
        step = "rolled_back" if usable and not damaged else "failed"
        self._write(step=step, target=info.digest, reason=reason[:REASON_MAX_CHARS], trial_starts=0)
        if usable:
            self.slots.switch(other(slot))
        else:
            self.slots.point_nowhere()
        self.slots.discard(slot)

"""The agent's start: clear away what a crash left, and run what ran, or the last good model.

Rules
-----
1. A slot belongs to whoever enrolled this device: another identity's models are removed. Where the journal
   was lost this tells what may stay, and the floor of release counters is taken from what does.
2. A model's files are read and compared with their digests before it is loaded.
3. Loading is counted before it begins. ``LOAD_STARTS_MAX`` deaths in it, or a crash loop (``crash_loop``), or
   files that are damaged, and the device goes back to the last good model.
   Without one a crash loop goes on: a model that answers between two crashes is better than none, and the
   server can send another one meanwhile.
4. A disk that cannot be written must not keep a good model from running: then nothing is counted.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic

from edgepress_agent import crash_loop
from edgepress_agent.durable import Disk
from edgepress_agent.errors import ModelRefusedError, NotNowError
from edgepress_agent.fetch import clear_fetches
from edgepress_agent.job import LOAD_STARTS_MAX
from edgepress_agent.journal import Journal, Record
from edgepress_agent.model_engine import M, ModelEngine
from edgepress_agent.probation_watch import open_account
from edgepress_agent.slots import SLOTS, Slot, SlotInfo, Slots, other

REASON_MAX_CHARS: Final = 500  # protocol.Text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fault:
    """Why a model must not run."""

    reason: str
    damaged: bool = False  # its files on this disk: the artifact itself may be fetched again


class Recovery(Generic[M]):
    """``trouble`` is why the disk could not be written, if it could not; ``keep_on`` may raise;
    ``slow`` is called before what may take long.
    """

    def __init__(
        self,
        folder: Path,
        *,
        disk: Disk,
        slots: Slots,
        journal: Journal,
        engine: ModelEngine[M],
        keep_on: Callable[[], None],
        slow: Callable[[], None],
    ) -> None:
        self.trouble: str | None = None
        self._folder = folder
        self._disk = disk
        self._slots = slots
        self._journal = journal
        self._engine = engine
        self._keep_on = keep_on
        self._slow = slow

    def start(self, identity: str) -> SlotInfo | None:
        """What answers now. Raises OSError where the state folder cannot even be read."""
        before = self._journal.record  # as the process before left it
        self._try_disk(self._slots.prepare)
        self._try_disk(lambda: self._disk.remove(self._folder / ".old-fetch"))  # a cut came while it went
        if before.identity != identity:
            self._try_disk(lambda: self._belong_to(identity))
        self._excuse_reboot(before)
        tried: set[Slot] = set()
        slot = self._slots.current()
        while slot is not None:
            tried.add(slot)
            info = self._slots.info(slot)
            if info is None:
                return None
            fault = self._load(slot, info, before)
            if fault is None:
                return info
            slot = self._fall_back(slot, info, fault, tried)
        return None

    def fall_back(self, slot: Slot, info: SlotInfo, reason: str) -> tuple[M, SlotInfo] | None:
        """From a model that runs to the last good one: that is loaded first, so that requests go on being
        answered. None where there is none. Raises OSError.
        """
        last_good = self._good_beside(slot)
        if last_good is None or not self._undamaged(other(slot), last_good):
            return None
        self._slow()
        try:
            model = self._engine.load(self._slots.artifact(other(slot)), last_good)
        except (ModelRefusedError, NotNowError) as error:
            log.error("the last good model does not load: %s", error)
            return None
        # First the journal: after a power cut from here on the bad model is not run again.
        self._write(step="rolled_back", target=info.digest, reason=_text(reason), probation=None)
        self._slots.switch(other(slot), last_good)
        return model, last_good

    def _belong_to(self, identity: str) -> None:
        nameless = not self._journal.record.identity and any(map(self._slots.info, SLOTS))
        lost = self._journal.lost or nameless  # its owner is the first thing that a journal says
        if lost:
            log.error("the journal was lost: what lies in the slots is checked again")
        for slot in SLOTS:
            info = self._slots.info(slot)
            if info is not None and info.identity != identity:
                if slot == self._slots.current():
                    self._slots.point_nowhere()
                self._slots.discard(slot)
        if not lost:
            clear_fetches(self._folder, self._disk)
        kept = [info for slot in SLOTS if (info := self._slots.info(slot)) is not None and info.trusted]
        floor = max((info.release for info in kept), default=0)
        # Numbers of transitions must go on growing: the clock is ahead of what was counted one by one.
        seq = int(time.time()) if lost else 0
        self._journal.reset(identity, seq=seq, release_floor=floor)

    def _excuse_reboot(self, before: Record) -> None:
        """A board that lost its power in a shadow run, which takes long, did not die of the model."""
        if before.step == "trial" and before.shadow_boot not in (None, crash_loop.read_boot_id()):
            starts = max(0, before.trial_starts - 1)
            self._try_disk(lambda: self._journal.write(trial_starts=starts, shadow_boot=None))

    def _load(self, slot: Slot, info: SlotInfo, before: Record) -> Fault | None:
        """None where this slot's model answers now, else why it must not."""
        record = self._journal.record
        if record.step == "rolled_back" and record.target == info.digest:
            return Fault(record.reason or "it was rolled back")  # going back was cut off
        starts = record.load_starts if record.loading == info.digest else 0
        if starts >= LOAD_STARTS_MAX:
            return Fault(f"the agent died {starts} times while it loaded this model")
        busy = before.step == "trial" or before.loading is not None or before.delta_starts > 0
        account = open_account(record.probation, info.digest, busy=busy)
        if account is not None and (reason := crash_loop.condemned(account)) is not None:
            if self._good_beside(slot):
                return Fault(reason)
            log.error("%s, but there is no other model to go back to", reason)
        if not self._undamaged(slot, info):
            return Fault("the model's file was damaged on this disk", damaged=True)
        self._try_disk(
            lambda: self._journal.write(loading=info.digest, load_starts=starts + 1, probation=account)
        )
        self._slow()
        try:
            model = self._engine.load(self._slots.artifact(slot), info)
        except (ModelRefusedError, NotNowError) as error:
            return Fault(f"the model no longer loads: {error}")
        self._engine.activate(model)
        self._try_disk(lambda: self._journal.write(loading=None, load_starts=0))
        return None

    def _good_beside(self, slot: Slot) -> SlotInfo | None:
        """The model in the other slot, if it passed its trial here."""
        info = self._slots.info(other(slot))
        return info if info is not None and info.trusted else None

    def _undamaged(self, slot: Slot, info: SlotInfo) -> bool:
        try:
            return self._slots.is_whole(slot, info, self._keep_on)
        except OSError as error:
            log.error("%s cannot be read: %s", self._slots.path(slot), error.strerror)
            return False

    def _fall_back(self, slot: Slot, info: SlotInfo, fault: Fault, tried: set[Slot]) -> Slot | None:
        """Point to the last good model, or nowhere, and say which slot that is. A damaged file is fetched
        again, a bad model is not.
        """
        last_good = self._good_beside(slot)
        usable = last_good is not None and other(slot) not in tried
        # Without another model, trying this one afresh (fetch, trial) is better than running nothing.
        final = usable and not fault.damaged

        def change() -> None:
            self._write(
                step="rolled_back" if final else "failed",
                target=info.digest,
                reason=_text(fault.reason),
                trial_starts=0,
                probation=None,
            )
            if usable:
                self._slots.switch(other(slot), last_good)
            else:
                self._slots.point_nowhere()
            self._slots.discard(slot)

        self._try_disk(change)
        return other(slot) if usable else None

    def _write(self, **changes: Any) -> None:
        record = self._journal.write(**changes)
        log.error("%s %s: %s", record.step, (record.target or "")[:12], record.reason)

    def _try_disk(self, change: Callable[[], object]) -> None:
        try:
            change()
        except OSError as error:
            self.trouble = f"the state folder cannot be written: {error.strerror or error}"
            log.error("%s", self.trouble)


def _text(reason: str) -> str:
    return reason[:REASON_MAX_CHARS]

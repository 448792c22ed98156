"""Carries out what `decide` says, on the store. What it keeps in memory only says where nothing is to do:
kill it, start it again.

A tick reads the events since the last one. Devices that reported are looked at, and rollouts whose devices
did, that a person changed, or whose time has come. Every decision is read, made and written in one
transaction, so people's pause and abort never cross it; devices are told in batches of one transaction each,
which stop where a person did. A want is signed and stored there; the link publishes what is stored.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError, ServerError
from edgepress_server.rollout.act import Acts
from edgepress_server.rollout.after_all import AfterAll
from edgepress_server.rollout.decide import decide
from edgepress_server.rollout.facts import Tell, Wait
from edgepress_server.rollout.joiners import Joiners
from edgepress_server.rollout.look import Looks
from edgepress_server.rollout.orders import Orders, Target
from edgepress_server.rollout.timers import earliest
from edgepress_server.store import Store
from edgepress_server.store.wants import StoredWant
from edgepress_server.trust.keys import Keys
from edgepress_server.trust.want import WANT_LIFETIME_S

log = logging.getLogger(__name__)

ROUNDS_PER_TICK: Final = 50  # decisions of one rollout in one tick, so that none starves the others
NOT_SIGNED_MS: Final = 600_000  # one that cannot be signed again does not hold up the others
BATCHES_PER_TICK: Final = 3  # of devices told, in one tick: what they are told is to be sent, too
EVENTS_MAX: Final = 5000  # more than that happened: look at everything
_QUIET: Final = ("progress", "wave", "joined")  # what the engine itself writes about rollouts


@dataclass
class _Changed:
    """What happened since the last tick."""

    devices: set[str] | None = field(default_factory=set)  # None: look at all
    rollouts: set[str] = field(default_factory=set)
    everything: bool = False


class Engine:
    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._orders = Orders(store, keys)
        self._looks = Looks(store)
        self._acts = Acts(store, keys, self._orders)
        self._after_all = AfterAll(store, self._orders)
        self._joiners = Joiners(store)
        self._seen_event: int | None = None
        self._not_signed: dict[str, int] = {}  # devices whose order could not be signed again: until when
        self._due: dict[str, int | None] = {}  # rollout -> when to look again; None: when something happens

    def tick(self) -> bool:
        """Look at what happened and at what is due; True when there is more to do at once.

        Where the store fails (full, busy), what happened was read and not yet acted on: the next tick looks
        at everything.
        """
        try:
            return self._tick()
        except ServerError:
            self._seen_event = None
            raise

    def _tick(self) -> bool:
        more = self._profile()
        changed = self._changes()
        if changed.devices is None or changed.devices:
            changed.rollouts |= self._looks.observe(changed.devices)
            changed.rollouts |= self._after_all.look(changed.devices)
            changed.rollouts |= self._joiners.look(changed.devices)
        now = self._store.now_ms()
        ids = [*self._store.rollouts.active(), *self._store.rollout_reads.with_waiting()]
        for rollout_id in ids:
            due = self._due.get(rollout_id, 0)
            if changed.everything or rollout_id in changed.rollouts or (due is not None and due <= now):
                more = self._run(rollout_id) or more
        for gone in self._due.keys() - set(ids):
            del self._due[gone]
            self._looks.forget(gone)
        return more or self._store.events.last_id() != self._seen_event

    def refresh(self) -> int:
        """Sign again the wants that are half spent, under other rules, or sealed to a key that its device
        replaced."""
        half_spent = self._store.now_ms() + WANT_LIFETIME_S * 500
        now = self._store.now_ms()
        self._not_signed = {name: until for name, until in self._not_signed.items() if until > now}
        stale = self._store.wants.stale(half_spent, without=self._not_signed)
        for old in stale:
            with self._store.transaction():
                if self._store.wants.find(old.device) == old and not self._renew(old):
                    self._not_signed[old.device] = now + NOT_SIGNED_MS
        return len(stale)

    # --- what happened ------------------------------------------------------------------------------------

    def _changes(self) -> _Changed:
        events = self._store.events
        if self._seen_event is None:
            self._seen_event = events.last_id()
            return _Changed(None, everything=True)
        found = events.after(self._seen_event, EVENTS_MAX)
        changed = _Changed()
        if not found:
            return changed
        lost = found[0].id != self._seen_event + 1 or len(found) == EVENTS_MAX
        self._seen_event = events.last_id() if lost else found[-1].id
        if lost:
            return _Changed(None, everything=True)
        names: set[str] = set()
        for event in found:
            if event.kind == "device":
                names.add(event.subject)
            elif event.kind == "rollout" and event.action not in _QUIET:
                changed.rollouts.add(event.subject)
                row = self._store.rollout_reads.row(event.subject)
                if row is not None and row["rollback_of"] is not None:
                    changed.rollouts.add(row["rollback_of"])  # it waits for this one
                if event.data.get("state") == "signed":  # it takes its devices over from older ones
                    names.update(self._store.rollout_reads.members(event.subject))
            elif event.kind == "release" or event.action in ("delivery_rules", "delta"):
                changed.everything = True
            elif event.kind == "server" and event.action.startswith("group"):
                return _Changed(None, everything=True)
        changed.devices = names
        return changed

    # --- one rollout --------------------------------------------------------------------------------------

    def _run(self, rollout_id: str) -> bool:
        """Decide and act until there is nothing to do but wait; True when there is more to do at once."""
        batches = BATCHES_PER_TICK
        for _ in range(ROUNDS_PER_TICK):
            tell = self._round(rollout_id)
            if tell is None:
                return False
            if tell.n:
                batches -= self._acts.tell(rollout_id, tell, batches)
                if batches <= 0:
                    break
        self._due[rollout_id] = 0
        return True

    def _round(self, rollout_id: str) -> Tell | None:
        """Read, decide, act; None when there was nothing to do. Telling is left to the caller (n 0: none)."""
        with self._store.database.snapshot():  # most looks find nothing to do: no write lock for them
            if self._wait_only(rollout_id):
                return None
        with self._store.transaction():
            known = self._looks.read(rollout_id)
            tell = Tell(0, 0)
            for action in decide(known.facts, self._store.now_ms()):
                if isinstance(action, Tell):
                    tell = action
                else:
                    self._acts.act(known.facts, action)
        return tell

    def _wait_only(self, rollout_id: str) -> bool:
        """There is nothing to do but wait: notes until when. What it waits for is for people to read."""
        known = self._looks.read(rollout_id)
        actions = decide(known.facts, self._store.now_ms())
        wait = next((each for each in actions if isinstance(each, Wait)), None)
        if len(actions) > (0 if wait is None else 1):
            return False
        self._due[rollout_id] = earliest(known.look_again, None if wait is None else wait.until)
        row = self._store.rollout_reads.row(rollout_id)
        return row is None or wait is None or row["waiting"] == wait.sentence

    # --- wants apart from rollouts ------------------------------------------------------------------------

    def _profile(self) -> bool:
        """Tell devices what to measure, and that they need not any more; True when somebody was told.

        What they are to run stays: the same order is signed again, with the next counter.
        """
        profiling = self._store.profiling
        profiling.settle()
        told = 0
        for device in profiling.to_tell():
            with self._store.transaction():
                old = self._store.wants.find(device)
                same = (
                    Target(None, None, None) if old is None else Target(old.rollout, old.release, old.digest)
                )
                try:
                    self._orders.issue(device, same)
                    told += 1
                except (InvalidInputError, NotFoundError, ConflictError) as error:
                    log.error("%s cannot be told what to measure: %s", device, error)
                    job = profiling.current(device)
                    if job is not None:
                        profiling.fail(job.id, str(error))
                    self._store.wants.forget_profiling(device)
        return told > 0

    def _renew(self, old: StoredWant) -> bool:
        try:
            counter = self._orders.issue(old.device, Target(old.rollout, old.release, old.digest))
        except (InvalidInputError, NotFoundError, ConflictError) as error:
            log.error("the order of %s cannot be signed again: %s", old.device, error)
            return False
        if old.rollout is not None and old.public_key != self._store.devices.get(old.device).public_key:
            self._store.rollout_moves.set_want_counter(old.rollout, old.device, counter)
        return True

"""Carries out what `decide` says, on the store. It keeps nothing in memory: kill it, start it again.

Every round of one rollout is one transaction that reads, decides and writes, so people's pause and abort
never cross it. A want is signed and stored there; the link publishes what is stored.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.rollout.decide import (
    Action,
    DeviceFacts,
    GiveBack,
    GoTo,
    Issue,
    Mark,
    Promote,
    RolloutFacts,
    Sign,
    decide,
)
from edgepress_server.store import Store
from edgepress_server.store.rollouts import Rollout, read_report
from edgepress_server.store.wants import StoredWant
from edgepress_server.trust.keys import Keys
from edgepress_server.trust.want import WANT_LIFETIME_S, make_want

log = logging.getLogger(__name__)

ACTIONS_PER_TRANSACTION: Final = 100  # a signed want takes about 0.3 ms: nobody waits long for the lock
ROUNDS_PER_TICK: Final = 50  # a fleet of 5,000 is told within one tick, and no rollout starves the others


@dataclass(frozen=True)
class Target:
    """What a device is to run, and which rollout and release say so; digest None: nothing."""

    rollout: str | None
    release: str | None
    digest: str | None


class Engine:
    def __init__(self, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys

    def tick(self) -> bool:
        """One look at every rollout that is not over and at profiling jobs; True when there is more to do."""
        more = self._profile()
        for rollout_id in self._store.rollouts.active():
            for _ in range(ROUNDS_PER_TICK):
                if not self._round(rollout_id):
                    break
            else:
                more = True
        return more

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
                    self._issue(device, same)
                    told += 1
                except (InvalidInputError, NotFoundError, ConflictError) as error:
                    log.error("%s cannot be told what to measure: %s", device, error)
                    job = profiling.current(device)
                    if job is not None:
                        profiling.fail(job.id, str(error))
                    self._store.wants.forget_profiling(device)
        return told > 0

    def refresh(self) -> int:
        """Sign again the wants that are half spent, or sealed to a key that its device replaced."""
        half_spent = self._store.now_ms() + WANT_LIFETIME_S * 500
        stale = self._store.wants.stale(half_spent)
        for old in stale:
            with self._store.transaction():
                if self._store.wants.find(old.device) == old:
                    self._renew(old)
        return len(stale)

    def _renew(self, old: StoredWant) -> None:
        try:
            counter = self._issue(old.device, Target(old.rollout, old.release, old.digest))
        except (InvalidInputError, NotFoundError, ConflictError) as error:
            log.error("the order of %s cannot be signed again: %s", old.device, error)
            return
        if old.rollout is not None and old.public_key != self._store.devices.get(old.device).public_key:
            self._store.rollouts.set_want_counter(old.rollout, old.device, counter)

    def _round(self, rollout_id: str) -> bool:
        """Read, decide, act; True when something was done."""
        with self._store.database.snapshot():  # most looks find nothing to do: no write lock for them
            if not self._decide(rollout_id):
                return False
        with self._store.transaction():
            actions = self._decide(rollout_id)
            rollout = self._store.rollouts.summary(rollout_id)
            for action in actions[:ACTIONS_PER_TRANSACTION]:
                self._act(rollout, action)
            self._store.events.append("rollout", rollout_id, "progress")
        return bool(actions)

    def _decide(self, rollout_id: str) -> list[Action]:
        rollout = self._store.rollouts.summary(rollout_id)
        rows = self._store.rollouts.device_rows(rollout_id)
        devices = [
            DeviceFacts(
                device=row["device"],
                profile=row["profile"],
                digest=row["digest"],
                stage=row["stage"],
                state=row["state"],
                reason=row["reason"],
                want_counter=row["want_counter"],
                enrolled=row["public_key"] is not None,
                revoked=row["revoked_at"] is not None,
                superseded=bool(row["later"])
                or (row["want_counter"] is not None and row["owner"] != rollout_id),
                report=None if row["old_key"] else read_report(row["report"]),
            )
            for row in rows
        ]
        facts = RolloutFacts(
            state=rollout.state,
            policy=rollout.policy,
            stage_since=rollout.stage_since,
            devices=devices,
            reason=rollout.reason,
        )
        return decide(facts, self._store.now_ms())

    def _act(self, rollout: Rollout, action: Action) -> None:
        rollouts = self._store.rollouts
        match action:
            case Mark(device, state, reason):
                rollouts.set_device_state(rollout.id, device, state, reason)
            case Promote(device):
                rollouts.promote(rollout.id, device)
            case Sign():
                self._sign(rollout)
            case Issue(device):
                self._tell(rollout, device)
            case GiveBack(device):
                self._give_back(rollout, device)
            case GoTo(state, reason):
                resume = rollout.state if state == "paused" else None
                rollouts.set_state(rollout.id, state, reason, resume=resume)
                log.info("rollout %s: %s %s", rollout.id, state, reason)

    def _sign(self, rollout: Rollout) -> None:
        limits = rollout.policy.limits
        if limits.p95_us is not None or limits.rss_bytes is not None:
            for digest in rollout.release.artifacts.values():
                statement = self._store.releases.sign_with_limits(self._keys, rollout.release, digest, limits)
                self._store.rollouts.put_statement(rollout.id, digest, statement)
        self._store.rollouts.set_state(rollout.id, "signed", "")

    def _tell(self, rollout: Rollout, device: str) -> None:
        old = self._store.wants.find(device)
        previous = (None, None, None) if old is None else (old.rollout, old.release, old.digest)
        digest = self._store.rollouts.digest(rollout.id, device)
        try:
            counter = self._issue(device, Target(rollout.id, rollout.release.id, digest))
        except (InvalidInputError, NotFoundError, ConflictError) as error:
            self._store.rollouts.set_device_state(rollout.id, device, "failed", str(error))
            return
        self._store.rollouts.set_issued(rollout.id, device, counter, previous)

    def _give_back(self, rollout: Rollout, device: str) -> None:
        try:
            self._issue(device, Target(*self._store.rollouts.previous(rollout.id, device)))
        except (InvalidInputError, NotFoundError, ConflictError) as error:
            log.error("rollout %s: %s does not get its order back: %s", rollout.id, device, error)
            self._store.rollouts.set_device_state(rollout.id, device, "skipped", str(error))

    def _issue(self, device: str, target: Target) -> int:
        """Sign and store a want. Raises InvalidInputError, NotFoundError."""
        store = self._store
        public_key = store.devices.get(device).public_key or ""
        now = datetime.fromtimestamp(store.now_ms() / 1000, UTC)
        size, statement, content_key = 0, None, None
        if target.digest is not None:
            size = store.releases.artifact_bytes(target.digest)
            statement = store.rollouts.statement(target.rollout, target.release or "", target.digest)
            content_key = store.releases.content_key(target.digest)
        job = store.profiling.current(device)
        if job is not None:
            store.profiling.set_sent(job.id)
        return store.wants.issue(
            device,
            lambda counter: make_want(
                self._keys,
                device=device,
                counter=counter,
                digest=target.digest,
                size=size,
                statement=statement,
                content_key=content_key,
                public_key=public_key,
                profiling=None if job is None else job.as_message(),
                now=now,
            ),
            rollout=target.rollout,
            release=target.release,
            digest=target.digest,
            public_key=public_key,
            profiling=None if job is None else job.id,
        )

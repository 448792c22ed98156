"""Carries out single actions of `decide`, inside the transaction of the decision."""

from __future__ import annotations

import logging
import re
from typing import Final

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError, ServerError
from edgepress_server.rollout.facts import (
    Action,
    Begin,
    GiveBack,
    GoTo,
    NextWave,
    Note,
    Promote,
    RollBack,
    RolloutFacts,
    Settled,
    TakeBack,
    Tell,
    Unreach,
    Wait,
)
from edgepress_server.rollout.orders import NoDeltaError, Orders, Target
from edgepress_server.rollout.take_back import TakesBack
from edgepress_server.store import Store
from edgepress_server.store.rollout_reads import AWAY_MS
from edgepress_server.trust.keys import Keys

log = logging.getLogger(__name__)

DEVICES_PER_TRANSACTION: Final = 100  # a signed want takes about 0.5 ms: nobody waits long for the lock


class Acts:
    def __init__(self, store: Store, keys: Keys, orders: Orders) -> None:
        self._store = store
        self._orders = orders
        self._takes_back = TakesBack(store, keys, orders)

    def act(self, rollout: RolloutFacts, action: Action) -> None:  # noqa: PLR0912 - one case for each action
        moves, decisions = self._store.rollout_moves, self._store.rollout_moves.decisions
        match action:
            case Promote(profile, n, why):
                for device in self._store.rollout_reads.to_promote(rollout.id, profile, n):
                    moves.promote(rollout.id, device)
                    decisions.add(rollout.id, "promoted", f"{device} becomes a canary: {why}")
            case Begin(why):
                moves.begin(rollout.id, why)
            case Settled():
                moves.set_settled(rollout.id)
            case NextWave(wave, why):
                if why:
                    decisions.add(rollout.id, "passed", why)
                moves.set_wave(rollout.id, wave)
            case GoTo(state, reason, what):
                resume = rollout.state if state == "paused" else None
                if state == "signed" and rollout.policy.delta != "never":
                    self._store.deltas.want_for(rollout.release_id)
                moves.set_state(rollout.id, state, reason, what=what, resume=resume)
                log.info("rollout %s: %s %s", rollout.id, state, reason)
            case GiveBack():
                self._give_back(rollout)
            case TakeBack():
                self._takes_back.take_back(rollout)
            case RollBack(reason):
                self._store.rollouts.rollback(rollout.id, reason=reason)
                log.info("rollout %s: rolled back: %s", rollout.id, reason)
            case Unreach(reason, up_to):
                n = moves.unreach(rollout.id, up_to, reason, self._store.now_ms() - AWAY_MS)
                said = f"{n} {'device' if n == 1 else 'devices'} {reason}"
                decisions.add(rollout.id, "unreached", f"{said}: nobody waits for them any longer")
            case Note(what, why):
                decisions.add(rollout.id, what, why)
            case Wait(sentence):
                self._wait(rollout, sentence)
            case Tell():
                raise ValueError("devices are told in transactions of their own")

    def tell(self, rollout_id: str, asked: Tell, batches: int) -> int:
        """Tell devices, a batch at a time, while nobody stops it; how many batches it took (at least 1)."""
        left, done = asked.n, 0
        stage: tuple[str, int] | None = None
        while left > 0 and done < batches:
            with self._store.transaction():
                row = self._store.rollout_reads.row(rollout_id)
                if row is None or row["release_state"] != "signed":
                    break
                now = (row["state"], row["wave"])
                stage = now if stage is None else stage
                if now != stage or row["state"] in ("paused", "aborted", "rolling_back"):
                    break
                devices = self._store.rollout_reads.to_tell(
                    rollout_id,
                    asked.up_to,
                    min(left, DEVICES_PER_TRANSACTION),
                    there_only=asked.there_only,
                )
                for device in devices:
                    self._tell(rollout_id, row["release"], device)
                if devices:
                    self._store.events.append("rollout", rollout_id, "progress")
            done += 1
            left -= len(devices)
            if not devices:
                break
        return max(1, done)

    def _tell(self, rollout_id: str, release: str, device: str) -> None:
        moves = self._store.rollout_moves
        old = self._store.wants.find(device)
        previous = (None, None, None) if old is None else (old.rollout, old.release, old.digest)
        try:
            digest = self._store.rollout_reads.digest(rollout_id, device)
            counter = self._orders.issue(device, Target(rollout_id, release, digest))
        except NoDeltaError as error:
            moves.set_device_state(rollout_id, device, "skipped", error.message)
        except (InvalidInputError, NotFoundError, ConflictError) as error:
            moves.set_device_state(rollout_id, device, "failed", str(error))
        else:
            moves.set_issued(rollout_id, device, counter, previous)

    def _give_back(self, rollout: RolloutFacts) -> None:
        """A batch of those that are under way: their downloads stop. Who was not told is left out."""
        moves, reads = self._store.rollout_moves, self._store.rollout_reads
        for device in reads.to_give_back(rollout.id)[:DEVICES_PER_TRANSACTION]:
            previous = reads.previous(rollout.id, device)
            try:
                self._orders.issue(device, Target(*previous))
                moves.set_previous(rollout.id, device, previous)
            except ServerError as error:
                if error.status >= 500:
                    raise
                log.error("rollout %s: %s does not get its order back: %s", rollout.id, device, error)
                moves.set_device_state(rollout.id, device, "skipped", str(error))
        if rollout.give_back <= DEVICES_PER_TRANSACTION:
            moves.skip_unsettled(rollout.id, "aborted before it was installed")

    def _wait(self, rollout: RolloutFacts, sentence: str) -> None:
        """For people. The log gets a line where it waits for something else than before: figures alone that
        change make none."""
        self._store.rollout_moves.set_waiting(rollout.id, sentence)
        newest = self._store.rollout_moves.decisions.newest(rollout.id)
        if newest is None or newest.what != "waiting" or _kind(newest.why) != _kind(sentence):
            self._store.rollout_moves.decisions.add(rollout.id, "waiting", sentence)


def _kind(sentence: str) -> str:
    """The sentence without its figures."""
    return re.sub(r"[\d.,:]+|\b(device|devices|canary|canaries)\b", "", sentence)

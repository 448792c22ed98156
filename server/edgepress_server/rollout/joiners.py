"""Late joiners: a device that enrols, or comes to fit, while a rollout runs takes part; after it is done,
too, until a younger rollout of the same model is meant for the device.

It is drawn into a wave as if it had been there from the start, and enters the current one where that is over.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection

import msgspec

from edgepress_server.errors import ServerError
from edgepress_server.rollout.waves import joiner_wave
from edgepress_server.store import Store
from edgepress_server.store.releases import Release
from edgepress_server.store.rollout_policy import Policy, Target
from edgepress_server.store.rollout_targets import Matcher, subject, unfit

log = logging.getLogger(__name__)


class Joiners:
    def __init__(self, store: Store) -> None:
        self._store = store

    def look(self, devices: Collection[str] | None) -> set[str]:
        """Let those of these devices (None: of all) join that fit now; ids of the rollouts that grew."""
        store = self._store
        opened = [
            (row, _policy(row), matcher, store.releases.get(row["release"]))
            for row in store.rollout_reads.open_to_joiners()
            if (matcher := self._matcher(row)) is not None
        ]
        if not any(policy.late_joiners for _, policy, _, _ in opened):
            return set()
        grown: dict[str, int] = {}
        for device in store.rollout_targets.rows(devices):
            joined = self._join(device, opened)
            if joined is not None:
                grown[joined] = grown.get(joined, 0) + 1
        for rollout_id, n in grown.items():
            said = f"{n} {'device that came' if n == 1 else 'devices that came'} later"
            store.rollout_moves.decisions.add(rollout_id, "joined", said)
            store.events.append("rollout", rollout_id, "joined", data={"devices": n})
        return set(grown)

    def _join(
        self, device: sqlite3.Row, opened: list[tuple[sqlite3.Row, Policy, Matcher, Release]]
    ) -> str | None:
        """The youngest rollout that is meant for the device has it, or nobody: each model decides alone."""
        if device["public_key"] is None:
            return None
        seen_models = set()
        for row, policy, matcher, release in opened:
            if row["model"] in seen_models or not matcher(subject(device)):
                continue
            seen_models.add(row["model"])
            if not policy.late_joiners or unfit(device, release) is not None:
                continue
            if self._store.rollout_reads.belongs(device["name"], row):
                continue
            digest = release.artifacts[device["profile"]]
            wave = joiner_wave(row["id"], device["name"], policy.waves, row["wave"])
            self._store.rollout_moves.join(
                row["id"], device["name"], profile=device["profile"], digest=digest, wave=wave
            )
            log.info("rollout %s: %s joins in wave %s", row["id"], device["name"], wave)
            return str(row["id"])
        return None

    def _matcher(self, row: sqlite3.Row) -> Matcher | None:
        """None: its group was deleted meanwhile; nobody can fit any more."""
        try:
            return self._store.rollout_targets.matcher(msgspec.json.decode(row["target"], type=Target))
        except ServerError as error:
            log.warning("rollout %s takes nobody who comes later: %s", row["id"], error.message)
            return None


def _policy(row: sqlite3.Row) -> Policy:
    return msgspec.json.decode(row["policy"], type=Policy)

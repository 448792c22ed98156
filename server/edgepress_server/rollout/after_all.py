"""Devices that committed while a rollout was given up, before they heard of it.

Who is in its trial then, or offline, runs the new model when it reads the order to go back, and refuses that:
the release is older than what it runs. So it counts as committed after all. Of an aborted rollout such
devices keep what they run; a rollout that was rolled back takes them back as the others, by a release of
their own.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Collection

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.rollout.orders import Orders, Target
from edgepress_server.store import Store

log = logging.getLogger(__name__)


class AfterAll:
    def __init__(self, store: Store, orders: Orders) -> None:
        self._store = store
        self._orders = orders

    def look(self, devices: Collection[str] | None) -> set[str]:
        """Among these devices (None: all); ids of the rollouts that they are committed to now."""
        found = self._store.rollout_reads.committed_after_all(devices)
        rollouts = {row["rollout"] for row in found}
        for rollout_id in sorted(rollouts):
            with self._store.transaction():  # a person may have gone on meanwhile: what holds now counts
                rows = [
                    row
                    for row in self._store.rollout_reads.committed_after_all(
                        [row["device"] for row in found if row["rollout"] == rollout_id]
                    )
                    if row["rollout"] == rollout_id
                ]
                told = [row for row in rows if self._tell(row)]
                if told:
                    self._note(told)
        return rollouts

    def _tell(self, row: sqlite3.Row) -> bool:
        """Its order is what it runs."""
        rollout_id, device = row["rollout"], row["device"]
        moves = self._store.rollout_moves
        try:
            counter = self._orders.issue(device, Target(rollout_id, row["release"], row["digest"]))
        except (InvalidInputError, NotFoundError, ConflictError) as error:
            log.error("rollout %s: %s runs what it was to give back: %s", rollout_id, device, error)
            return False
        moves.set_want_counter(rollout_id, device, counter)
        moves.set_device_state(rollout_id, device, "committed", "")
        return True

    def _note(self, rows: list[sqlite3.Row]) -> None:
        first, moves = rows[0], self._store.rollout_moves
        names = ", ".join(row["device"] for row in rows[:3]) + (" and others" if len(rows) > 3 else "")
        late = (
            f"{names} had committed before they heard of it"
            if len(rows) > 1
            else (f"{names} had committed before it heard of it")
        )
        if not first["rollback"]:
            keep = "keep" if len(rows) > 1 else "keeps"
            moves.decisions.add(first["rollout"], "aborted", f"{late}, and {keep} it")
            self._store.events.append("rollout", first["rollout"], "progress")
            return
        go = "go" if len(rows) > 1 else "goes"
        moves.decisions.add(first["rollout"], "rolling_back", f"{late}, and {go} back, too")
        if first["state"] == "aborted":  # it was over
            moves.set_state(first["rollout"], "rolling_back", first["reason"])

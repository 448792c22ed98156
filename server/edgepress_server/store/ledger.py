"""Which batches are stored: the exactly-once of telemetry.

A batch is named for ever by (device, epoch, number). Of each epoch the store keeps ``number`` (every batch up
to it is stored, or given up by the device) and ``beyond`` (stored after a gap). The device is told ``number``
and forgets up to there: a batch that was lost on the way is kept there, and taken here when it comes again.
``TelemetryBatch.oldest`` says which ones will never come.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from edgepress_server.store.database import Database

BEYOND_MAX: Final = 1000

Stored = dict[tuple[str, str], int]  # (device, epoch) -> number to acknowledge


class Ledger:
    """The epochs of one transaction."""

    def __init__(self, database: Database, epochs: Iterable[tuple[str, str]]) -> None:
        self._database = database
        rows = database.rows(
            "SELECT b.device, b.epoch, b.number, b.beyond FROM json_each(?) j CROSS JOIN batches b"
            " ON b.device = j.value ->> 0 AND b.epoch = j.value ->> 1",
            (json.dumps(sorted(set(epochs))),),
        )
        self._epochs: dict[tuple[str, str], tuple[int, set[int]]] = {
            (row[0], row[1]): (row[2], set(json.loads(row[3])) if row[3] != "[]" else set()) for row in rows
        }

    def take(self, device: str, epoch: str, number: int, oldest: int = 0) -> bool:
        """True when this batch is new and is stored from now on."""
        key = (device, epoch)
        done, beyond = self._epochs.get(key) or (0, set())
        if number == done + 1 and not beyond and oldest <= number:  # the next one: nearly always
            self._epochs[key] = (number, beyond)
            return True
        new = number > done and number not in beyond
        if new:
            beyond.add(number)
        done = max(done, oldest - 1)
        if len(beyond) > BEYOND_MAX:
            done = max(done, min(beyond))  # so many came since that the gap will not be filled
        beyond = {n for n in beyond if n > done}
        while done + 1 in beyond:
            done += 1
            beyond.discard(done)
        self._epochs[key] = (done, beyond)
        return new

    def write(self) -> None:
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO batches (device, epoch, number, beyond, updated_at)"
                " VALUES (?, ?, ?, ?, ?)",
                [
                    (*key, done, json.dumps(sorted(beyond)) if beyond else "[]", now)
                    for key, (done, beyond) in self._epochs.items()
                ],
            )

    def acknowledge(self) -> Stored:
        return {key: done for key, (done, _) in self._epochs.items()}

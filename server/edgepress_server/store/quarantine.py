"""Batches that could not be read or cannot be true, kept with the reason for people to look at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from edgepress_server.store.database import Database

QUARANTINE_ROWS: Final = 1000
QUARANTINE_KEPT_MS: Final = 7 * 24 * 3600_000
QUARANTINE_BYTES: Final = 65_536  # of a payload kept; the rest says nothing that these do not


class Quarantined(msgspec.Struct, frozen=True):
    """A payload that is no batch. ``named`` = (epoch, number) where at least that could be read."""

    device: str
    at: int
    reason: str
    payload: bytes
    named: tuple[str, int] | None = None


class QuarantinedRow(msgspec.Struct, frozen=True):
    id: int
    device: str
    at: int  # Unix ms, when it came
    reason: str
    size: int  # bytes kept
    payload: bytes  # the first bytes


class Quarantine:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, spoilt: Iterable[Quarantined]) -> None:
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO quarantine (device, at, reason, payload) VALUES (?, ?, ?, ?)",
                [(q.device, q.at, q.reason, q.payload[:QUARANTINE_BYTES]) for q in spoilt],
            )

    def rows(self, limit: int = 100, device: str | None = None) -> list[QuarantinedRow]:
        """Newest first, with the first 256 bytes of each."""
        rows = self._database.rows(
            "SELECT id, device, at, reason, length(payload) AS size, substr(payload, 1, 256) AS payload"
            " FROM quarantine WHERE ? IS NULL OR device = ? ORDER BY id DESC LIMIT ?",
            (device, device, limit),
        )
        return [QuarantinedRow(**dict(row)) for row in rows]

    def prune(self) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM quarantine) - ?", (QUARANTINE_ROWS,)
            )
            connection.execute(
                "DELETE FROM quarantine WHERE at < ?", (self._database.now_ms() - QUARANTINE_KEPT_MS,)
            )

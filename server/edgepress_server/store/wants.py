"""Wants: the desired state of each device as last decided, signed, ready to publish.

A want's counter only grows, also over revocation and re-enrolment: it lives in ``devices.want_counter``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Final

import msgspec

from edgepress_server.store.database import Database
from edgepress_server.trust.want import IssuedWant

# The want's release was withdrawn, and the device does not run it.
STALE_AT_ONCE = 200
_TAKEN_BACK: Final = (
    "(coalesce(r.state, '') = 'withdrawn' AND coalesce(json_extract(d.state, '$.running'), '') <> w.digest)"
)


class StoredWant(msgspec.Struct, frozen=True):
    device: str
    counter: int
    rollout: str | None
    release: str | None
    digest: str | None  # None: run nothing
    payload: bytes
    expires_at: int  # Unix ms
    public_key: str
    profiling: str | None = None  # id of the profiling job it carries
    delta: str | None = None  # digest of the delta that it offers
    outdated: int = 0  # 1: rules that it carries have changed since


class Wants:
    def __init__(self, database: Database) -> None:
        self._database = database

    def issue(
        self,
        device: str,
        make: Callable[[int], IssuedWant],
        *,
        rollout: str | None,
        release: str | None,
        digest: str | None,
        public_key: str,
        profiling: str | None = None,
        delta: str | None = None,
    ) -> int:
        """Store what ``make`` signs for the device's next counter; returns the counter."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE devices SET want_counter = want_counter + 1 WHERE name = ?", (device,))
            row = self._database.row("SELECT want_counter FROM devices WHERE name = ?", (device,))
            if row is None:
                raise ValueError(f"no device {device!r}: a want is issued to a registered one")
            counter = int(row["want_counter"])
            issued = make(counter)
            connection.execute(
                "INSERT OR REPLACE INTO wants"
                " (device, counter, rollout, release, digest, payload, expires_at, public_key, profiling,"
                " delta)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    device,
                    counter,
                    rollout,
                    release,
                    digest,
                    issued.payload,
                    issued.expires_at,
                    public_key,
                    profiling,
                    delta,
                ),
            )
            return counter

    def outdate(self, device: str | None = None) -> None:
        """Rules have changed: wants of devices that are still to fetch are signed again; None = of all."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE wants SET outdated = 1 WHERE (? IS NULL OR device = ?) AND EXISTS (SELECT 1 FROM"
                " rollout_devices d WHERE d.rollout = wants.rollout AND d.device = wants.device"
                " AND d.state IN ('wanted', 'fetching'))",
                (device, device),
            )

    def forget_profiling(self, device: str) -> None:
        """The want cannot be signed without its profiling job. It may stay: a device does each job once."""
        with self._database.transaction() as connection:
            connection.execute("UPDATE wants SET profiling = NULL WHERE device = ?", (device,))

    def find(self, device: str) -> StoredWant | None:
        row = self._database.row("SELECT * FROM wants WHERE device = ?", (device,))
        return None if row is None else StoredWant(**dict(row))

    def newest(self) -> tuple[int, int]:
        """Another value whenever a want was issued since, at no cost: its row and its counter."""
        row = self._database.row("SELECT rowid, counter FROM wants ORDER BY rowid DESC LIMIT 1")
        return (0, 0) if row is None else (row[0], row[1])

    def counters(self) -> dict[str, int]:
        """device -> counter of the want that belongs on the broker; 0: none does, the device is revoked, or
        the want's release was withdrawn before the device ran it.

        A device that enrolled anew has a new key; its old want is left out until it is sealed to that.
        """
        rows = self._database.rows(
            f"SELECT w.device, CASE WHEN d.revoked_at IS NOT NULL OR {_TAKEN_BACK}"  # noqa: S608 - constant
            " THEN 0 ELSE w.counter END AS counter"
            " FROM wants w JOIN devices d ON d.name = w.device LEFT JOIN releases r ON r.id = w.release"
            " WHERE d.revoked_at IS NOT NULL OR w.public_key = d.public_key"
        )
        return {row["device"]: row["counter"] for row in rows}

    def stale(self, expires_before: int, without: Collection[str] = ()) -> Sequence[StoredWant]:
        """Wants to sign again: half spent, with rules that have changed, or sealed to a key that the device
        replaced by enrolling anew. Those of a release that waits for its signatures wait, too; ``without``:
        devices that are left out."""
        rows = self._database.rows(
            "SELECT w.* FROM wants w JOIN devices d ON d.name = w.device"  # noqa: S608 - a constant
            " LEFT JOIN releases r ON r.id = w.release"
            " WHERE d.revoked_at IS NULL AND d.public_key IS NOT NULL"
            f" AND coalesce(r.state, '') <> 'awaiting_signature' AND NOT {_TAKEN_BACK}"
            " AND (w.expires_at < ? OR w.public_key <> d.public_key OR w.outdated = 1)"
            " AND w.device NOT IN (SELECT value FROM json_each(?)) ORDER BY w.expires_at LIMIT ?",
            (expires_before, msgspec.json.encode(list(without)).decode(), STALE_AT_ONCE),
        )
        return [StoredWant(**dict(row)) for row in rows]

"""Devices whose clock is wrong, while it is: their samples are corrected, and people are told."""

from __future__ import annotations

from typing import Final

from edgepress_server.store.database import Database

SAY_AGAIN_MS: Final = 60_000  # between two notes of the same: the clock of one device is no news every second


class ClockFlags:
    """Of one process, which writes telemetry. `write` is called inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._flagged: dict[str, int] | None = None  # device -> when it was written down last
        self._changed: dict[str, tuple[int, int]] = {}

    def forget(self) -> None:
        """The transaction was rolled back."""
        self._flagged = None
        self._changed.clear()

    def saw(self, device: str, at: int, offset_ms: int) -> None:
        """The clock of a device is off by ``-offset_ms``; 0: it is right."""
        if self._flagged is None:
            self._flagged = {
                row["device"]: row["seen_at"] for row in self._database.rows("SELECT * FROM clocks")
            }
        if offset_ms == 0:
            if device in self._flagged:
                self._changed[device] = at, 0
        elif at - self._flagged.get(device, 0) >= SAY_AGAIN_MS:
            self._changed[device] = at, offset_ms

    def write(self) -> None:
        if not self._changed or self._flagged is None:
            return
        with self._database.transaction() as connection:
            for device, (at, offset_ms) in self._changed.items():
                if offset_ms == 0:
                    connection.execute("DELETE FROM clocks WHERE device = ?", (device,))
                    self._flagged.pop(device, None)
                else:
                    connection.execute(
                        "INSERT INTO clocks (device, offset_ms, since_at, seen_at) VALUES (?, ?, ?, ?)"
                        " ON CONFLICT (device) DO UPDATE SET offset_ms = excluded.offset_ms,"
                        " seen_at = excluded.seen_at",
                        (device, offset_ms, at, at),
                    )
                    self._flagged[device] = at
        self._changed.clear()

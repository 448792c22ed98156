"""All SQL of the telemetry tiers, and nothing else: what another database has to offer in its place."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Final

from edgepress_server.store.database import Database
from edgepress_server.store.series.table import HotRow

RAW: Final = 0
MINUTES: Final = 1
HOURS: Final = 2


class SeriesTables:
    """Methods that change something are called inside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- hot rows -----------------------------------------------------------------------------------------

    def add_hot(self, rows: Iterable[tuple[int, HotRow]]) -> None:
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO hot (series, first_at, last_at, rows, mask, width, cells, heads, wide, counts)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(series, *row) for series, row in rows],
            )

    def hot(self, series: int, from_ms: int, to_ms: int) -> list[HotRow]:
        """Those that have samples in this time, in the order they came."""
        rows = self._database.rows(
            f"SELECT {_HOT} FROM hot WHERE series = ? AND last_at >= ? AND first_at < ? ORDER BY id",  # noqa: S608 - constants
            (series, from_ms, to_ms),
        )
        return [HotRow(*row) for row in rows]

    def hot_since(self) -> dict[int, int]:
        """Series with hot rows -> time of the first sample in them."""
        rows = self._database.rows("SELECT series, min(first_at) FROM hot GROUP BY series")
        return {row[0]: row[1] for row in rows}

    def remove_hot(self, series: int, before_ms: int) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM hot WHERE series = ? AND first_at < ?", (series, before_ms))

    # --- open minutes -------------------------------------------------------------------------------------

    def write_open(self, rows: Iterable[tuple[Any, ...]]) -> None:
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO open_minutes (series, minute, artifact, cells, histograms)"
                " VALUES (?, ?, ?, ?, ?)",
                rows,
            )

    def open_rows(self, series: Sequence[int], from_ms: int, to_ms: int) -> list[sqlite3.Row]:
        """(series, minute, artifact, cells, histograms) by series and minute."""
        if len(series) == 1:
            return self._database.rows(
                f"SELECT {_OPEN} FROM open_minutes o WHERE o.series = ? AND o.minute >= ? AND o.minute < ?"  # noqa: S608 - constants
                " ORDER BY minute",
                (series[0], from_ms, to_ms),
            )
        return self._database.rows(
            f"SELECT {_OPEN} FROM json_each(?) j CROSS JOIN open_minutes o ON o.series = j.value"  # noqa: S608 - constants
            " AND o.minute >= ? AND o.minute < ? ORDER BY o.series, o.minute",
            (json.dumps(list(series)), from_ms, to_ms),
        )

    def open_of(self, keys: Iterable[tuple[int, int]]) -> list[sqlite3.Row]:
        """Rows of these (series, minute)."""
        return self._database.rows(
            f"SELECT {_OPEN} FROM json_each(?) j CROSS JOIN open_minutes o"  # noqa: S608 - constants
            " ON o.series = j.value ->> 0 AND o.minute = j.value ->> 1",
            (json.dumps([list(key) for key in keys]),),
        )

    def groups_open_before(self, before_ms: int, limit: int) -> list[int]:
        """Groups of devices with open minutes from before."""
        rows = self._database.rows(
            "SELECT s.id FROM series s WHERE s.kind <> 'device' AND EXISTS"
            " (SELECT 1 FROM open_minutes o WHERE o.series = s.id AND o.minute < ?) LIMIT ?",
            (before_ms, limit),
        )
        return [row[0] for row in rows]

    def remove_open(self, series: int, before_ms: int) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM open_minutes WHERE series = ? AND minute < ?", (series, before_ms)
            )

    def clear_open_of_devices(self) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM open_minutes WHERE series IN (SELECT id FROM series WHERE kind = 'device')"
            )

    # --- how power and energy were measured -----------------------------------------------------------------

    def write_methods(self, rows: Iterable[tuple[int, int, int]]) -> None:
        """(series, power, energy) each; 0 leaves what is there."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO methods (series, power, energy) VALUES (?, ?, ?) ON CONFLICT (series) DO UPDATE"
                " SET power = CASE excluded.power WHEN 0 THEN power ELSE excluded.power END,"
                " energy = CASE excluded.energy WHEN 0 THEN energy ELSE excluded.energy END",
                rows,
            )

    def methods(self, devices: Sequence[str]) -> list[tuple[str, int, int]]:
        """(device, power, energy) of those that ever told one."""
        rows = self._database.rows(
            "SELECT s.name, m.power, m.energy FROM json_each(?) j CROSS JOIN series s"
            " ON s.kind = 'device' AND s.name = j.value JOIN methods m ON m.series = s.id",
            (json.dumps(list(devices)),),
        )
        return [(row[0], row[1], row[2]) for row in rows]

    # --- sealed blocks ------------------------------------------------------------------------------------

    def add_blocks(self, blocks: Iterable[tuple[int, int, int, int, int, bytes]]) -> None:
        """(series, tier, first_at, last_at, rows, block) each."""
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT INTO blocks (series, tier, first_at, last_at, rows, block) VALUES (?, ?, ?, ?, ?, ?)",
                blocks,
            )

    def blocks(self, series: Sequence[int], tier: int, from_ms: int, to_ms: int) -> list[sqlite3.Row]:
        """(series, block, id) of those that have rows in this time, by series and time."""
        if len(series) == 1:
            return self._database.rows(
                "SELECT series, block, id FROM blocks WHERE series = ? AND tier = ? AND last_at >= ?"
                " AND first_at < ? ORDER BY last_at",
                (series[0], tier, from_ms, to_ms),
            )
        return self._database.rows(
            "SELECT b.series, b.block, b.id FROM json_each(?) j CROSS JOIN blocks b ON b.series = j.value"
            " AND b.tier = ? AND b.last_at >= ? AND b.first_at < ? ORDER BY b.series, b.last_at",
            (json.dumps(list(series)), tier, from_ms, to_ms),
        )

    def block_times(self, series: int, tier: int, since_ms: int) -> list[tuple[int, int, int]]:
        """(id, first_at, last_at) of those that end later."""
        rows = self._database.rows(
            "SELECT id, first_at, last_at FROM blocks WHERE series = ? AND tier = ? AND last_at >= ?"
            " ORDER BY last_at",
            (series, tier, since_ms),
        )
        return [(row[0], row[1], row[2]) for row in rows]

    def blocks_of(self, ids: Sequence[int]) -> list[bytes]:
        rows = self._database.rows(
            "SELECT b.block FROM json_each(?) j JOIN blocks b ON b.id = j.value", (json.dumps(list(ids)),)
        )
        return [row[0] for row in rows]

    def remove_blocks(self, ids: Sequence[int]) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM blocks WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(list(ids)),)
            )

    def remove_old(self, tier: int, before_ms: int, limit: int) -> int:
        """At most ``limit`` blocks that end before; how many went."""
        with self._database.transaction() as connection:
            return connection.execute(
                "DELETE FROM blocks WHERE id IN"
                " (SELECT id FROM blocks WHERE tier = ? AND last_at < ? ORDER BY last_at LIMIT ?)",
                (tier, before_ms, limit),
            ).rowcount

    def sealed_since(self, tier: int, since_ms: int) -> list[int]:
        """Series with blocks of this tier that end later."""
        rows = self._database.rows(
            "SELECT DISTINCT series FROM blocks WHERE tier = ? AND last_at >= ?", (tier, since_ms)
        )
        return [row[0] for row in rows]


_HOT: Final = "first_at, last_at, rows, mask, width, cells, heads, wide, counts"
_OPEN: Final = "o.series, o.minute, o.artifact, o.cells, o.histograms"

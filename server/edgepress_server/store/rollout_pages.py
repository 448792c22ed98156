"""A rollout's devices a page at a time: ten thousand are too many for one look."""

from __future__ import annotations

import sqlite3
from typing import Final, Literal

import msgspec

from edgepress_server.store.database import Database
from edgepress_server.store.rollout_rows import DeviceState, RolloutDevice, read_device, read_report

PAGE_MAX: Final = 1000


class RolloutDevicePage(msgspec.Struct):
    total: int  # that the filter fits
    devices: list[RolloutDevice]  # canaries first, then by wave and name
    via: list[Literal["mqtt", "https"] | None]  # how the chunks of each come; None: not under way


class RolloutPages:
    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        rollout_id: str,
        *,
        state: DeviceState | None = None,
        search: str = "",
        offset: int = 0,
        limit: int = 100,
    ) -> RolloutDevicePage:
        """``search``: a part of the name. A rollout that does not exist has no devices."""
        where = (
            "FROM rollout_devices r JOIN devices d ON d.name = r.device WHERE r.rollout = :rollout"
            " AND (:state IS NULL OR r.state = :state) AND instr(r.device, :search)"
        )
        asked = {"rollout": rollout_id, "state": state, "search": search, "offset": offset, "limit": limit}
        with self._database.snapshot():
            count = self._database.row(f"SELECT count(*) AS n {where}", asked)
            rows = self._database.rows(
                f"SELECT r.*, d.online, d.state AS report {where}"
                " ORDER BY r.wave, r.device LIMIT :limit OFFSET :offset",
                asked,
            )
        return RolloutDevicePage(
            total=0 if count is None else count["n"],
            devices=[read_device(row) for row in rows],
            via=[_via(row) for row in rows],
        )


def _via(row: sqlite3.Row) -> Literal["mqtt", "https"] | None:
    report = read_report(row["report"])
    return report.via if report is not None and report.staged == row["digest"] else None

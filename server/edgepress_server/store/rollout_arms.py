"""The two arms of a rollout: devices that run what it brought, and like ones that it has not told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgepress_server.store.database import Database

DEVICES_MAX: Final = 100  # of an arm and profile: more would not be steadier, only slower


@dataclass(frozen=True)
class Arms:
    """Of one profile."""

    profile: str
    digest: str
    canary: dict[str, int]  # devices that committed -> when they were told, Unix ms; at most DEVICES_MAX
    canary_devices: int  # all of them
    control: list[str]  # at most DEVICES_MAX, by name
    control_devices: int


@dataclass(frozen=True)
class Compared:
    """What a comparison is about."""

    rollout: str
    model: str
    release: int
    state: str
    created_at: int
    told_at: int | None  # the first device, Unix ms
    finished_at: int | None
    profiles: list[Arms]


class RolloutArms:
    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, rollout_id: str) -> Compared:
        """The rollout exists."""
        with self._database.snapshot():
            row = self._database.rows(
                "SELECT o.id, r.model, r.counter, o.state, o.created_at, o.finished_at,"
                " (SELECT min(told_at) FROM rollout_devices WHERE rollout = o.id) AS told_at"
                " FROM rollouts o JOIN releases r ON r.id = o.release WHERE o.id = ?",
                (rollout_id,),
            )[0]
            profiles = self._database.rows(
                "SELECT profile, max(digest) AS digest, sum(state = 'committed') AS committed"
                " FROM rollout_devices WHERE rollout = ? GROUP BY profile ORDER BY profile",
                (rollout_id,),
            )
            return Compared(
                row["id"],
                row["model"],
                row["counter"],
                row["state"],
                row["created_at"],
                row["told_at"],
                row["finished_at"],
                [
                    self._arms(rollout_id, each["profile"], each["digest"], each["committed"])
                    for each in profiles
                ],
            )

    def _arms(self, rollout_id: str, profile: str, digest: str, committed: int) -> Arms:
        canary = self._database.rows(
            "SELECT device, coalesce(told_at, updated_at) AS told_at FROM rollout_devices"
            " WHERE rollout = ? AND profile = ? AND state = 'committed' ORDER BY wave, updated_at, device"
            " LIMIT ?",
            (rollout_id, profile, DEVICES_MAX),
        )
        others = (
            " FROM devices d LEFT JOIN rollout_devices r ON r.device = d.name AND r.rollout = ?"
            " WHERE d.profile = ? AND d.revoked_at IS NULL AND d.enrolled_at IS NOT NULL"
            " AND r.told_at IS NULL"
        )
        counted = self._database.row(f"SELECT count(*) AS n{others}", (rollout_id, profile))
        control = self._database.rows(
            f"SELECT d.name{others} ORDER BY d.online DESC, d.name LIMIT ?",
            (rollout_id, profile, DEVICES_MAX),
        )
        return Arms(
            profile,
            digest,
            {str(row["device"]): int(row["told_at"]) for row in canary},
            committed,
            sorted(str(row["name"]) for row in control),
            0 if counted is None else int(counted["n"]),
        )

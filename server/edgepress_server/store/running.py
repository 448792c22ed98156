"""Who runs which artifact of a model now, and the minutes of telemetry that they sent of it. Read only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgepress_server.store.database import Database
from edgepress_server.store.series.minutes import MINUTE_MS, DeviceMinute, device_minutes
from edgepress_server.store.series.read import SeriesRead

PROFILING_MAX_MS: Final = 30 * 60_000  # a device that went away while it measured itself is at work again
DEVICES_MAX: Final = 500  # looked at, of one profile: those heard from last


@dataclass(frozen=True)
class RunningArtifact:
    digest: str
    online: list[str]  # names of the devices that are online and say that they run it
    rollout: str | None  # the newest that brought it to one of them
    minutes: dict[str, list[DeviceMinute]]  # device -> its minutes, ascending; of any that sent some.
    # Only those since it measured itself last: its work waited for that, and what was before is not now


class Running:
    def __init__(self, database: Database, series: SeriesRead) -> None:
        self._database = database
        self._series = series

    def of(self, model: str, profile: str, since_ms: int) -> Sequence[RunningArtifact]:
        """The artifacts of the model that devices of the profile run, with their minutes since then."""
        with self._database.snapshot():
            rows = self._database.rows(
                "SELECT d.name, d.online, a.digest FROM devices d"
                " JOIN artifacts a ON a.digest = json_extract(d.state, '$.running')"
                " WHERE d.profile = ? AND a.model = ? AND d.revoked_at IS NULL AND d.enrolled_at IS NOT NULL"
                " ORDER BY d.online DESC, d.seen_at DESC, d.name LIMIT ?",
                (profile, model, DEVICES_MAX),
            )
            found = []
            for digest in dict.fromkeys(str(row["digest"]) for row in rows):
                mine = [row for row in rows if row["digest"] == digest]
                names = [str(row["name"]) for row in mine]
                minutes = self._minutes(names, digest, since_ms)
                found.append(
                    RunningArtifact(
                        digest=digest,
                        online=[row["name"] for row in mine if row["online"]],
                        rollout=self._rollout(digest, [row["name"] for row in mine]),
                        minutes=minutes,
                    )
                )
            return found

    def _minutes(self, devices: list[str], digest: str, since_ms: int) -> dict[str, list[DeviceMinute]]:
        now = self._database.now_ms()
        ended = {
            row["device"]: row["ended"]
            for row in self._database.rows(
                "SELECT device, max(coalesce(finished_at, min(?, started_at + ?))) AS ended"
                " FROM profiling_jobs WHERE started_at IS NOT NULL GROUP BY device",
                (now, PROFILING_MAX_MS),
            )
        }
        found = device_minutes(self._series, devices, since_ms, now + MINUTE_MS, {digest})
        later = {
            name: [minute for minute in minutes if minute.at >= since_ms and minute.at > ended.get(name, 0)]
            for name, minutes in found.items()
        }
        return {name: minutes for name, minutes in later.items() if minutes}

    def lent(self) -> dict[str, str | None]:
        """Devices on which a search tries candidates, or has not given back yet -> digest of before."""
        rows = self._database.rows("SELECT device, before FROM search_devices WHERE settled = 0")
        return {row["device"]: row["before"] for row in rows}

    def targets(self, model: str, profile: str) -> list[str]:
        """Enrolled devices of the profile that run the model now, or are to run it."""
        rows = self._database.rows(
            "SELECT d.name FROM devices d LEFT JOIN wants w ON w.device = d.name"
            " WHERE d.profile = ? AND d.revoked_at IS NULL AND d.enrolled_at IS NOT NULL AND EXISTS"
            " (SELECT 1 FROM artifacts a WHERE a.model = ?"
            " AND a.digest = coalesce(w.digest, json_extract(d.state, '$.running'))) ORDER BY d.name",
            (profile, model),
        )
        return [str(row["name"]) for row in rows]

    def _rollout(self, digest: str, devices: Sequence[str]) -> str | None:
        rows = self._database.rows(
            "SELECT r.id, d.device FROM rollouts r JOIN rollout_devices d ON d.rollout = r.id"
            " WHERE d.digest = ? AND d.state = 'committed' ORDER BY r.created_at DESC, r.rowid DESC "
            "LIMIT 1000",
            (digest,),
        )
        return next((row["id"] for row in rows if row["device"] in devices), None)

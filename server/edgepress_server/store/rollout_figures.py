"""The telemetry that gates judge by: what devices of a rollout measured, before and after; others meanwhile.

Read from one-minute rollups: the newest MINUTES_MAX minutes of at most DEVICES_MAX devices of each profile,
those of the newest wave first, so that a look costs the same whatever the fleet's size.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from edgepress_devices.histogram import merge
from edgepress_server.rollout.figures import Arm, ProfileFigures
from edgepress_server.store.database import Database
from edgepress_server.store.series.minutes import MINUTE_MS, DeviceMinute, device_minutes
from edgepress_server.store.series.read import SeriesRead

DEVICES_MAX: Final = 100
DEVICES_MOST: Final = 1000  # where a policy's min_devices asks for more
MINUTES_MAX: Final = 10
BEFORE_MS: Final = 24 * 3600_000
LATELY_MS: Final = 3600_000  # read first: most devices were at work then


class RolloutFigures:
    def __init__(self, database: Database, series: SeriesRead) -> None:
        self._database = database
        self._series = series

    def of(self, rollout_id: str, *, since: int | None, min_devices: int = 1) -> list[ProfileFigures]:
        """Of every profile with a device that has committed or failed; ``since``: nothing before counts."""
        with self._database.snapshot():
            profiles = self._database.rows(
                "SELECT profile, max(digest) AS digest, sum(state = 'committed') AS committed,"
                " sum(state = 'failed') AS failed FROM rollout_devices WHERE rollout = ?"
                " GROUP BY profile HAVING committed + failed > 0 ORDER BY profile",
                (rollout_id,),
            )
            limit = max(DEVICES_MAX, min(min_devices, DEVICES_MOST))
            return [self._profile(rollout_id, row, since or 0, limit) for row in profiles]

    def _profile(self, rollout_id: str, profile: sqlite3.Row, since: int, limit: int) -> ProfileFigures:
        devices = self._database.rows(
            "SELECT device, told_at FROM rollout_devices WHERE rollout = ? AND profile = ?"
            " AND state = 'committed' ORDER BY wave DESC, updated_at, device LIMIT ?",
            (rollout_id, profile["profile"], limit),
        )
        digest = profile["digest"]
        model = self._database.row("SELECT model FROM artifacts WHERE digest = ?", (digest,))
        of_model = self._artifacts("" if model is None else str(model["model"]))
        told = {str(row["device"]): int(row["told_at"] or 0) for row in devices}
        first_told = min(told.values(), default=self._database.now_ms())
        new: list[DeviceMinute] = []
        before: list[DeviceMinute] = []
        mine = self._minutes(list(told), first_told - LATELY_MS, of_model | {digest})
        silent = [name for name in told if not any(m.at < told[name] for m in mine.get(name, []))]
        mine |= self._minutes(silent, first_told - BEFORE_MS, of_model | {digest})
        for name, told_at in told.items():
            minutes = mine.get(name, [])
            start = max(told_at, since)
            after = [m for m in minutes if m.artifact == digest and m.at >= start // MINUTE_MS * MINUTE_MS]
            earlier = [
                m
                for m in minutes
                if m.artifact in of_model
                and (told_at - BEFORE_MS) // MINUTE_MS * MINUTE_MS <= m.at < told_at // MINUTE_MS * MINUTE_MS
            ]
            new += after[-MINUTES_MAX:]
            before += earlier[-MINUTES_MAX:]
        others = self._not_told(rollout_id, profile["profile"], limit)
        meanwhile = self._minutes(others, max(first_told, since), of_model - {digest})
        control = [minute for minutes in meanwhile.values() for minute in minutes[-MINUTES_MAX:]]
        methods = self._series.readings([*told, *others])
        energy = {name: how["energy_mj"][0] for name, how in methods.items() if "energy_mj" in how}
        method = _most_common_method(new, energy)
        compared, agreed = self._agreement(rollout_id, profile["profile"], digest)
        return ProfileFigures(
            profile=profile["profile"],
            committed=profile["committed"],
            failed=profile["failed"],
            new=_arm(new, energy, method),
            before=_arm(before, energy, method),
            control=_arm(control, energy, method),
            compared=compared,
            agreed=agreed,
        )

    def _not_told(self, rollout_id: str, profile: str, limit: int) -> list[str]:
        rows = self._database.rows(
            "SELECT d.name FROM devices d LEFT JOIN rollout_devices r ON r.device = d.name AND r.rollout = ?"
            " WHERE d.profile = ? AND d.revoked_at IS NULL AND d.online = 1 AND r.told_at IS NULL"
            " ORDER BY d.name LIMIT ?",
            (rollout_id, profile, limit),
        )
        return [str(row["name"]) for row in rows]

    def _artifacts(self, model: str) -> set[str]:
        rows = self._database.rows("SELECT digest FROM artifacts WHERE model = ?", (model,))
        return {str(row["digest"]) for row in rows}

    def _minutes(self, devices: list[str], since: int, artifacts: set[str]) -> dict[str, list[DeviceMinute]]:
        """Minutes of these devices and artifacts since then, ascending."""
        until = self._database.now_ms() + MINUTE_MS
        return device_minutes(self._series, devices, since, until, artifacts)

    def _agreement(self, rollout_id: str, profile: str, digest: str) -> tuple[int, int]:
        """(live requests that both models answered in shadow mode, those with the same answer)."""
        row = self._database.row(
            "SELECT coalesce(sum(json_extract(d.state, '$.trial.requests')), 0) AS compared,"
            " coalesce(sum(json_extract(d.state, '$.trial.agreed')), 0) AS agreed"
            " FROM rollout_devices r JOIN devices d ON d.name = r.device WHERE r.rollout = ?"
            " AND r.profile = ? AND r.state = 'committed' AND json_extract(d.state, '$.running') = ?",
            (rollout_id, profile, digest),
        )
        if row is None:
            return 0, 0
        return int(row["compared"]), min(int(row["agreed"]), int(row["compared"]))


def _most_common_method(minutes: Sequence[DeviceMinute], energy: Mapping[str, str]) -> str | None:
    methods = [energy[m.device] for m in minutes if m.energy_mj is not None and m.device in energy]
    return max(sorted(set(methods)), key=methods.count, default=None)


def _arm(minutes: Sequence[DeviceMinute], energy_of: Mapping[str, str], method: str | None) -> Arm:
    """Energy only by one method: an estimate and a measurement are not compared."""
    rss: dict[str, list[float]] = {}
    energy: dict[str, list[float]] = {}
    for minute in minutes:
        if minute.rss_bytes is not None:
            rss.setdefault(minute.device, []).append(minute.rss_bytes)
        if minute.energy_mj is not None and energy_of.get(minute.device) == method:
            energy.setdefault(minute.device, []).append(minute.energy_mj)
    histograms = [minute.latency for minute in minutes if minute.latency is not None]
    return Arm(
        devices=len({minute.device for minute in minutes if minute.latency is not None}),
        latency=merge(histograms),
        rss_bytes=rss,
        energy_mj=energy,
    )

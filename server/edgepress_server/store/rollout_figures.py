"""The telemetry that gates judge by: what devices of a rollout measured, before and after; others meanwhile.

Read from one-minute rollups: the newest MINUTES_MAX minutes of at most DEVICES_MAX devices of each profile,
those of the newest wave first, so that a look costs the same whatever the fleet's size.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec

from edgepress_devices.histogram import merge
from edgepress_devices.protocol import Histogram
from edgepress_server.rollout.figures import Arm, ProfileFigures
from edgepress_server.store.database import Database
from edgepress_server.store.minutes import MINUTE_MS

DEVICES_MAX: Final = 100
DEVICES_MOST: Final = 1000  # where a policy's min_devices asks for more
MINUTES_MAX: Final = 10
BEFORE_MS: Final = 24 * 3600_000

_histogram = msgspec.msgpack.Decoder(Histogram)


class RolloutFigures:
    def __init__(self, database: Database) -> None:
        self._database = database

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
        name = "" if model is None else str(model["model"])
        new: list[sqlite3.Row] = []
        before: list[sqlite3.Row] = []
        first_told = self._database.now_ms()
        for row in devices:
            told_at = row["told_at"] or 0
            first_told = min(first_told, told_at)
            new += self._minutes(row["device"], max(told_at, since), None, digest=digest)
            before += self._minutes(row["device"], told_at - BEFORE_MS, told_at, model=name)
        control = [
            minute
            for row in self._not_told(rollout_id, profile["profile"], limit)
            for minute in self._minutes(row["name"], max(first_told, since), None, model=name, other=digest)
        ]
        method = _most_common_method(new)
        compared, agreed = self._agreement(rollout_id, profile["profile"], digest)
        return ProfileFigures(
            profile=profile["profile"],
            committed=profile["committed"],
            failed=profile["failed"],
            new=_arm(new, method),
            before=_arm(before, method),
            control=_arm(control, method),
            compared=compared,
            agreed=agreed,
        )

    def _not_told(self, rollout_id: str, profile: str, limit: int) -> Sequence[sqlite3.Row]:
        return self._database.rows(
            "SELECT d.name FROM devices d LEFT JOIN rollout_devices r ON r.device = d.name AND r.rollout = ?"
            " WHERE d.profile = ? AND d.revoked_at IS NULL AND d.online = 1 AND r.told_at IS NULL"
            " ORDER BY d.name LIMIT ?",
            (rollout_id, profile, limit),
        )

    def _minutes(
        self,
        device: str,
        since: int,
        until: int | None,
        *,
        digest: str | None = None,
        model: str = "",
        other: str = "",
    ) -> Sequence[sqlite3.Row]:
        """Newest minutes of a device that lie wholly within, with this artifact, or with any of the model."""
        return self._database.rows(
            "SELECT device, latency_us, rss_bytes_max, energy_mj_sum, energy_count, energy_method"
            " FROM minutes WHERE device = :device AND minute >= :since AND minute < :until AND"
            " (artifact = :digest OR (:digest IS NULL AND artifact <> :other AND artifact IN"
            "  (SELECT digest FROM artifacts WHERE model = :model)))"
            " ORDER BY minute DESC LIMIT :limit",
            {
                "device": device,
                "since": since // MINUTE_MS * MINUTE_MS,
                "until": 2**62 if until is None else until // MINUTE_MS * MINUTE_MS,
                "digest": digest,
                "model": model,
                "other": other,
                "limit": MINUTES_MAX,
            },
        )

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


def _most_common_method(rows: Sequence[sqlite3.Row]) -> str | None:
    methods = [row["energy_method"] for row in rows if row["energy_count"]]
    return max(sorted(set(methods)), key=methods.count, default=None)


def _arm(rows: Sequence[sqlite3.Row], method: str | None) -> Arm:
    """Energy only by one method: an estimate and a measurement are not compared."""
    rss: dict[str, list[float]] = {}
    energy: dict[str, list[float]] = {}
    for row in rows:
        if row["rss_bytes_max"] is not None:
            rss.setdefault(row["device"], []).append(float(row["rss_bytes_max"]))
        if row["energy_count"] and row["energy_method"] == method:
            energy.setdefault(row["device"], []).append(row["energy_mj_sum"] / row["energy_count"])
    with_latency = [row for row in rows if row["latency_us"] is not None]
    return Arm(
        devices=len({row["device"] for row in with_latency}),
        latency=merge(_histogram.decode(row["latency_us"]) for row in with_latency),
        rss_bytes=rss,
        energy_mj=energy,
    )

"""What alert rules ask of the store beside telemetry. Read only, but for the restarts of agents."""

from __future__ import annotations

import json

from edgepress_server.store.database import Database


class AlertFacts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def rollouts_of(self, devices: list[str], since_ms: int) -> list[tuple[str, int]]:
        """(rollout, how many of these devices it brought what they run since then), most first."""
        rows = self._database.rows(
            "SELECT rollout, count(*) AS n FROM rollout_devices WHERE state = 'committed' AND updated_at >= ?"
            " AND device IN (SELECT value FROM json_each(?)) GROUP BY rollout ORDER BY n DESC",
            (since_ms, json.dumps(devices)),
        )
        return [(row["rollout"], int(row["n"])) for row in rows]

    def quarantined_since(self, since_ms: int) -> int:
        """Batches."""
        row = self._database.row("SELECT count(*) AS n FROM quarantine WHERE at >= ?", (since_ms,))
        return 0 if row is None else int(row["n"])

    def somebody_tells(self) -> bool:
        """Whether a device is online that has sent telemetry."""
        row = self._database.row(
            "SELECT 1 FROM devices d JOIN latest l ON l.device = d.name WHERE d.online = 1 LIMIT 1"
        )
        return row is not None

    def wanted_releases(self) -> list[str]:
        """That devices are told to run."""
        rows = self._database.rows("SELECT DISTINCT release FROM wants WHERE release IS NOT NULL")
        return [row["release"] for row in rows]

    def predictions(self) -> dict[tuple[str, str], float]:
        """(profile, digest) -> p50 of one inference in microseconds, as predicted."""
        rows = self._database.rows(
            "SELECT profile, digest, latency_us FROM artifact_predictions WHERE latency_us IS NOT NULL"
            " ORDER BY at"
        )
        return {(row["profile"], row["digest"]): row["latency_us"] for row in rows}

    # --- restarts of agents -------------------------------------------------------------------------------

    def note_boots(self, forget_before_ms: int) -> None:
        """Whoever says another ``boot`` than before was started anew."""
        now = self._database.now_ms()
        seen = self._database.rows(
            "SELECT d.name, json_extract(d.state, '$.boot') AS boot, b.boot AS known FROM devices d"
            " LEFT JOIN alert_boots b ON b.device = d.name WHERE d.state IS NOT NULL"
            " AND json_extract(d.state, '$.boot') IS NOT b.boot"
        )
        changed = [row for row in seen if row["boot"] is not None]
        if not changed:
            return
        with self._database.transaction() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO alert_restarts (device, at) VALUES (?, ?)",
                [(row["name"], now) for row in changed if row["known"] is not None],
            )
            connection.executemany(
                "INSERT OR REPLACE INTO alert_boots (device, boot) VALUES (?, ?)",
                [(row["name"], row["boot"]) for row in changed],
            )
            connection.execute("DELETE FROM alert_restarts WHERE at < ?", (forget_before_ms,))

    def restarts(self, from_ms: int, to_ms: int) -> dict[str, int]:
        """Device -> restarts in this time, where there were any."""
        rows = self._database.rows(
            "SELECT device, count(*) AS n FROM alert_restarts WHERE at >= ? AND at < ? GROUP BY device",
            (from_ms, to_ms),
        )
        return {row["device"]: int(row["n"]) for row in rows}

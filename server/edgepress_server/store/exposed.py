"""Counts of what is in the store, for monitoring: a few quick queries, none of which reads telemetry."""

from __future__ import annotations

import json
from dataclasses import dataclass

from edgepress_server.store.database import Database


@dataclass(frozen=True)
class RolloutCount:
    rollout: str
    model: str
    rollout_state: str
    stage: str  # canary | ramp
    device_state: str
    devices: int


class Exposed:
    def __init__(self, database: Database) -> None:
        self._database = database

    def devices(self) -> dict[tuple[str, str], int]:
        """(profile, status) -> devices; status as `Device.status`."""
        rows = self._database.rows(
            "SELECT profile, CASE WHEN revoked_at IS NOT NULL THEN 'revoked' WHEN enrolled_at IS NULL"
            " THEN 'registered' WHEN online THEN 'online' ELSE 'offline' END AS status, count(*) AS n"
            " FROM devices GROUP BY profile, status"
        )
        return {(row["profile"], row["status"]): row["n"] for row in rows}

    def enrolled(self) -> list[tuple[str, str, bool, int | None, str | None]]:
        """(name, profile, online, seen_at, artifact that it says it runs) of the enrolled, by name."""
        rows = self._database.rows(
            "SELECT name, profile, online, seen_at, json_extract(state, '$.running') AS running FROM devices"
            " WHERE revoked_at IS NULL AND enrolled_at IS NOT NULL ORDER BY name"
        )
        return [(r["name"], r["profile"], bool(r["online"]), r["seen_at"], r["running"]) for r in rows]

    def described(self) -> list[tuple[str, str, str | None, dict[str, str]]]:
        """(name, profile, version of the agent, labels) of the enrolled, by name."""
        rows = self._database.rows(
            "SELECT name, profile, agent_version, labels FROM devices"
            " WHERE revoked_at IS NULL AND enrolled_at IS NOT NULL ORDER BY name"
        )
        return [(r["name"], r["profile"], r["agent_version"], json.loads(r["labels"])) for r in rows]

    def for_home_assistant(
        self, limit: int
    ) -> list[tuple[str, str, bool, str | None, str | None, str | None, str | None, str | None]]:
        """(name, profile, online, agent, board, model that runs, artifact that runs, artifact wanted)."""
        rows = self._database.rows(
            "SELECT d.name, d.profile, d.online, d.agent_version,"
            " json_extract(d.hardware, '$.board') AS board,"
            " a.model, json_extract(d.state, '$.running') AS running, w.digest AS wanted"
            " FROM devices d LEFT JOIN wants w ON w.device = d.name"
            " LEFT JOIN artifacts a ON a.digest = json_extract(d.state, '$.running')"
            " WHERE d.revoked_at IS NULL AND d.enrolled_at IS NOT NULL ORDER BY d.name LIMIT ?",
            (limit,),
        )
        return [(r[0], r[1], bool(r[2]), r[3], r[4], r[5], r[6], r[7]) for r in rows]

    def agents(self) -> dict[str, int]:
        """Version of the agent -> enrolled devices."""
        rows = self._database.rows(
            "SELECT coalesce(agent_version, '') AS version, count(*) AS n FROM devices"
            " WHERE revoked_at IS NULL AND enrolled_at IS NOT NULL GROUP BY version ORDER BY n DESC LIMIT 50"
        )
        return {row["version"]: row["n"] for row in rows}

    def artifacts(self) -> dict[str, tuple[str, str]]:
        """Digest -> (model, profile that it was made for)."""
        rows = self._database.rows("SELECT digest, model, profile FROM artifacts")
        return {row["digest"]: (row["model"], row["profile"]) for row in rows}

    def jobs(self) -> dict[str, int]:
        """State -> compression jobs."""
        return self._by_state("SELECT state, count(*) AS n FROM jobs GROUP BY state")

    def rollouts(self) -> dict[str, int]:
        """State -> rollouts."""
        return self._by_state("SELECT state, count(*) AS n FROM rollouts GROUP BY state")

    def rollout_devices(self, newest: int) -> list[RolloutCount]:
        """Of the rollouts that are not over, the newest first."""
        rows = self._database.rows(
            "SELECT r.id, l.model, r.state AS rollout_state, d.stage, d.state, count(*) AS n"
            " FROM (SELECT * FROM rollouts WHERE state NOT IN ('done', 'aborted')"
            "       ORDER BY created_at DESC LIMIT ?) r"
            " JOIN releases l ON l.id = r.release JOIN rollout_devices d ON d.rollout = r.id"
            " GROUP BY r.id, d.stage, d.state",
            (newest,),
        )
        return [RolloutCount(*row) for row in rows]

    def alerts(self) -> list[tuple[str, str, int]]:
        """(rule, severity, subjects) of the alerts that fire now."""
        rows = self._database.rows(
            "SELECT rule, severity, sum(subjects) AS n FROM alert_incidents WHERE state = 'firing'"
            " GROUP BY rule, severity ORDER BY rule"
        )
        return [(row["rule"], row["severity"], row["n"]) for row in rows]

    def quarantined(self) -> int:
        """Payloads ever put into quarantine; rows that were dropped since count too."""
        row = self._database.row("SELECT seq FROM sqlite_sequence WHERE name = 'quarantine'")
        return 0 if row is None else int(row["seq"])

    def events(self) -> int:
        """Events ever written."""
        row = self._database.row("SELECT max(id) AS n FROM events")
        return 0 if row is None or row["n"] is None else int(row["n"])

    def _by_state(self, sql: str) -> dict[str, int]:
        return {row["state"]: row["n"] for row in self._database.rows(sql)}

"""What pages about the whole fleet read beside telemetry: artifacts, releases, rollouts, quarantine.

Read only, and bounded: each answer is as long as a page shows.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from edgepress_server.store.database import Database


@dataclass(frozen=True)
class ArtifactRow:
    digest: str
    model: str
    profile: str
    recipe: str
    bytes: int
    created_at: int  # Unix ms


@dataclass(frozen=True)
class DeviceRow:
    """A device as lists show it: nothing that has to be decoded in full."""

    name: str
    profile: str
    labels: dict[str, str]
    status: str
    created_at: int
    seen_at: int | None
    agent_version: str | None
    running: str | None  # digest
    release: int | None  # counter
    step: str
    reason: str | None
    board: str | None = None
    system: str | None = None
    machine: str | None = None
    cloned_at: int | None = None  # two boards were last seen with this identity


@dataclass(frozen=True)
class RolloutRow:
    id: str
    model: str
    release: int  # counter
    state: str
    since: int  # of its state, Unix ms
    devices: int
    committed: int
    failed: int


@dataclass(frozen=True)
class ReleaseRow:
    id: str
    counter: int
    created_at: int
    artifacts: dict[str, str]  # profile -> digest


@dataclass(frozen=True)
class PredictedRow:
    """Of an artifact on a profile, before it ran there."""

    latency_us: float
    basis: str  # "datasheet" | "calibration"
    error: float | None  # relative, that the prediction itself claims


class FleetPages:
    def __init__(self, database: Database) -> None:
        self._database = database

    def artifacts(self) -> dict[str, ArtifactRow]:
        """All, by digest."""
        rows = self._database.rows("SELECT digest, model, profile, recipe, bytes, created_at FROM artifacts")
        return {row["digest"]: ArtifactRow(**dict(row)) for row in rows}

    def releases_by_artifact(self) -> dict[str, int]:
        """Digest -> counter of the newest release that names it."""
        rows = self._database.rows(
            "SELECT a.digest, max(r.counter) AS counter FROM release_artifacts a"
            " JOIN releases r ON r.id = a.release GROUP BY a.digest"
        )
        return {row["digest"]: row["counter"] for row in rows}

    def releases(self, model: str, limit: int) -> list[ReleaseRow]:
        """The newest of a model, newest first."""
        rows = self._database.rows(
            "SELECT r.id, r.counter, r.created_at, json_group_object(a.profile, a.digest) AS artifacts"
            " FROM releases r JOIN release_artifacts a ON a.release = r.id WHERE r.model = ?"
            " GROUP BY r.id ORDER BY r.counter DESC LIMIT ?",
            (model, limit),
        )
        return [
            ReleaseRow(row["id"], row["counter"], row["created_at"], json.loads(row["artifacts"]))
            for row in rows
        ]

    def predictions(self, model: str) -> dict[tuple[str, str], PredictedRow]:
        """(profile, digest) -> what was predicted of the model's artifacts."""
        rows = self._database.rows(
            "SELECT p.profile, p.digest, p.latency_us, p.basis, p.error FROM artifact_predictions p"
            " JOIN artifacts a ON a.digest = p.digest WHERE a.model = ? AND p.latency_us IS NOT NULL",
            (model,),
        )
        return {
            (row["profile"], row["digest"]): PredictedRow(row["latency_us"], row["basis"], row["error"])
            for row in rows
        }

    def devices(self) -> list[DeviceRow]:
        """All, by name, revoked ones too: one query, however many there are."""
        rows = self._database.rows(
            "SELECT name, profile, labels, online, enrolled_at, revoked_at, created_at, seen_at,"
            " agent_version, json_extract(state, '$.running') AS running,"
            " json_extract(state, '$.running_release') AS release, json_extract(state, '$.step') AS step,"
            " json_extract(state, '$.reason') AS reason, json_extract(hardware, '$.board') AS board,"
            " json_extract(hardware, '$.system') AS system, json_extract(hardware, '$.machine') AS machine,"
            " cloned_at"
            " FROM devices ORDER BY name"
        )
        return [_device(row) for row in rows]

    def devices_total(self) -> int:
        row = self._database.row("SELECT count(*) AS n FROM devices")
        return 0 if row is None else int(row["n"])

    def rollouts_under_way(self, limit: int) -> list[RolloutRow]:
        """The newest first."""
        rows = self._database.rows(
            "SELECT o.id, r.model, r.counter AS release, o.state, o.stage_since AS since,"
            " count(d.device) AS devices, coalesce(sum(d.state = 'committed'), 0) AS committed,"
            " coalesce(sum(d.state = 'failed'), 0) AS failed FROM rollouts o"
            " JOIN releases r ON r.id = o.release LEFT JOIN rollout_devices d ON d.rollout = o.id"
            " WHERE o.state NOT IN ('draft', 'done', 'aborted') GROUP BY o.id"
            " ORDER BY o.created_at DESC LIMIT ?",
            (limit,),
        )
        return [RolloutRow(**dict(row)) for row in rows]

    def quarantined_total(self) -> int:
        row = self._database.row("SELECT count(*) AS n FROM quarantine")
        return 0 if row is None else int(row["n"])

    def quarantined_since(self, since_ms: int) -> Sequence[sqlite3.Row]:
        """(device, n, first, reason of the newest) of each device whose batches were refused since then."""
        return self._database.rows(
            "SELECT device, count(*) AS n, min(at) AS first, max(id) AS newest, reason FROM quarantine"
            " WHERE at >= ? GROUP BY device ORDER BY n DESC, device",
            (since_ms,),
        )


def _device(row: sqlite3.Row) -> DeviceRow:
    status = "online" if row["online"] else "offline"
    if row["enrolled_at"] is None:
        status = "registered"
    if row["revoked_at"] is not None:
        status = "revoked"
    return DeviceRow(
        name=row["name"],
        profile=row["profile"],
        labels=json.loads(row["labels"]) if row["labels"] != "{}" else {},
        status=status,
        created_at=row["created_at"],
        seen_at=row["seen_at"],
        agent_version=row["agent_version"],
        running=row["running"],
        release=row["release"],
        step=row["step"] or "idle",
        reason=row["reason"],
        board=row["board"],
        system=row["system"],
        machine=row["machine"],
        cloned_at=row["cloned_at"],
    )

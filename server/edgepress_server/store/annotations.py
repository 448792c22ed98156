"""Moments that explain a chart: releases, stages of rollouts, enrolments, alerts, findings. Read only.

Enrolments and revocations within one slot of the range come as one row, with how many they are; of the other
kinds the newest ROWS_MAX of the range.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from edgepress_server.store.database import Database

AnnotationKind = Literal["release", "rollout", "device", "alert", "finding"]
ROWS_MAX: Final = 1000


@dataclass(frozen=True)
class Annotation:
    at: int  # Unix ms
    until: int | None  # None: a moment, or not over yet
    kind: AnnotationKind
    subject: str  # id, or name; of several the first
    title: str
    text: str = ""
    model: str | None = None
    profile: str | None = None
    device: str | None = None
    count: int = 1
    severity: str | None = None  # of alerts: info, warning, critical


@dataclass(frozen=True)
class About:
    """None: everything."""

    device: str | None = None
    model: str | None = None
    profile: str | None = None


_STAGES: Final = {
    "begun": "begins",
    "promoted": "goes on to the next stage",
    "paused": "is paused",
    "resumed": "goes on",
    "aborted": "is aborted",
    "rolling_back": "is taken back",
    "rolled_back": "was taken back",
    "done": "is done",
}


class Annotations:
    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, from_ms: int, to_ms: int, about: About, slot_ms: int) -> list[Annotation]:
        """Ascending by time."""
        with self._database.snapshot():
            model = about.model
            if about.device is not None and model is None:
                model = self._model_of(about.device)
            asked = {
                "from": from_ms,
                "to": to_ms,
                "device": about.device,
                "model": model,
                "profile": about.profile,
                "slot": max(1, slot_ms),
                "limit": ROWS_MAX,
            }
            found = [
                *self._releases(asked),
                *self._rollouts(asked),
                *self._devices(asked),
                *self._alerts(asked),
                *self._findings(asked),
            ]
        return sorted(found, key=lambda one: (one.at, one.kind, one.subject))

    def _model_of(self, device: str) -> str:
        row = self._database.row(
            "SELECT a.model FROM devices d JOIN artifacts a ON a.digest = json_extract(d.state, '$.running')"
            " WHERE d.name = ?",
            (device,),
        )
        return "" if row is None else str(row["model"])  # no model has this name: of none there are none

    def _releases(self, asked: Mapping[str, object]) -> Sequence[Annotation]:
        rows = self._database.rows(
            "SELECT r.id, r.model, r.counter, r.note, r.created_at FROM releases r"
            " WHERE r.created_at >= :from AND r.created_at < :to AND (:model IS NULL OR r.model = :model)"
            " AND (:profile IS NULL OR EXISTS (SELECT 1 FROM release_artifacts a WHERE a.release = r.id"
            " AND a.profile = :profile)) AND r.standby_for IS NULL ORDER BY r.created_at DESC LIMIT :limit",
            asked,
        )
        return [
            Annotation(
                row["created_at"],
                None,
                "release",
                row["id"],
                f"Release {row['counter']} of {row['model']}",
                row["note"],
                model=row["model"],
            )
            for row in rows
        ]

    def _rollouts(self, asked: Mapping[str, object]) -> Sequence[Annotation]:
        rows = self._database.rows(
            "SELECT o.id, r.model, r.counter, d.at, d.wave, d.what, d.why FROM rollout_decisions d"
            " JOIN rollouts o ON o.id = d.rollout JOIN releases r ON r.id = o.release"
            " WHERE d.at >= :from AND d.at < :to AND (:model IS NULL OR r.model = :model)"
            " AND (:device IS NULL OR EXISTS (SELECT 1 FROM rollout_devices x WHERE x.rollout = o.id"
            " AND x.device = :device)) AND (:profile IS NULL OR EXISTS (SELECT 1 FROM rollout_devices x"
            " WHERE x.rollout = o.id AND x.profile = :profile))"
            " AND d.what IN ('begun', 'promoted', 'paused', 'resumed', 'aborted', 'rolling_back',"
            " 'rolled_back', 'done') ORDER BY d.at DESC LIMIT :limit",
            asked,
        )
        return [
            Annotation(
                row["at"],
                None,
                "rollout",
                row["id"],
                f"Rollout of {row['model']}, release {row['counter']}, {_STAGES[row['what']]}",
                row["why"],
                model=row["model"],
            )
            for row in rows
        ]

    def _devices(self, asked: Mapping[str, object]) -> Sequence[Annotation]:
        if asked["model"] is not None and asked["device"] is None:
            return []
        found = []
        for column, what in (("enrolled_at", "enrolled"), ("revoked_at", "revoked")):
            rows = self._database.rows(
                f"SELECT min({column}) AS first, max({column}) AS last, count(*) AS n,"  # noqa: S608 - above
                f" min(name) AS name, min(profile) AS profile FROM devices WHERE {column} >= :from"
                f" AND {column} < :to AND (:device IS NULL OR name = :device)"
                f" AND (:profile IS NULL OR profile = :profile) GROUP BY {column} / :slot"
                " ORDER BY first DESC LIMIT :limit",
                asked,
            )
            found += [
                Annotation(
                    row["first"],
                    None if row["n"] == 1 else row["last"],
                    "device",
                    row["name"],
                    f"{row['name']} {what}" if row["n"] == 1 else f"{row['n']} devices {what}",
                    profile=row["profile"] if row["n"] == 1 else None,
                    device=row["name"] if row["n"] == 1 else None,
                    count=row["n"],
                )
                for row in rows
            ]
        return found

    def _alerts(self, asked: Mapping[str, object]) -> Sequence[Annotation]:
        rows = self._database.rows(
            "SELECT id, title, sentence, severity, since, resolved_at, model, profile, first_subject"
            " FROM alert_incidents WHERE since < :to AND coalesce(resolved_at, :to) >= :from"
            " AND opened_at < :to AND (:profile IS NULL OR profile = :profile)"
            " AND (:device IS NULL OR first_subject = 'device:' || :device OR id IN"
            "  (SELECT incident FROM alert_transitions WHERE subject = 'device:' || :device))"
            " AND (:device IS NOT NULL OR :model IS NULL OR model = :model)"
            " ORDER BY opened_at DESC LIMIT :limit",
            asked,
        )
        return [
            Annotation(
                row["since"],
                row["resolved_at"],
                "alert",
                row["id"],
                row["title"],
                row["sentence"],
                model=row["model"],
                profile=row["profile"],
                device=_device(row),
                severity=row["severity"],
            )
            for row in rows
        ]

    def _findings(self, asked: Mapping[str, object]) -> Sequence[Annotation]:
        rows = self._database.rows(
            "SELECT id, model, profile, kind, sentence, since, ended_at FROM findings"
            " WHERE since < :to AND coalesce(ended_at, :to) >= :from"
            " AND (:model IS NULL OR model = :model) AND (:profile IS NULL OR profile = :profile)"
            " AND (:device IS NULL OR EXISTS (SELECT 1 FROM json_each(devices) WHERE value = :device))"
            " ORDER BY created_at DESC LIMIT :limit",
            asked,
        )
        return [
            Annotation(
                row["since"],
                row["ended_at"],
                "finding",
                row["id"],
                f"{row['model']} misses its {row['kind']} budget on {row['profile']}"
                if row["kind"] != "prediction"
                else f"{row['model']} on {row['profile']} is not as predicted",
                row["sentence"],
                model=row["model"],
                profile=row["profile"],
            )
            for row in rows
        ]


def _device(row: sqlite3.Row) -> str | None:
    kind, _, name = str(row["first_subject"]).partition(":")
    return name if kind == "device" else None

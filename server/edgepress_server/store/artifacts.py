"""Artifacts: what a compression made, by digest, with its report."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from edgepress_server.errors import NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events


@dataclass(frozen=True)
class Artifact:
    digest: str  # SHA-256 of the file, which lies among the blobs
    model: str
    profile: str
    recipe: str
    bytes: int
    report: dict[str, Any]
    job: str | None
    created_at: int  # Unix ms


class Artifacts:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def add(
        self,
        digest: str,
        *,
        model: str,
        profile: str,
        recipe: str,
        size_bytes: int,
        report: dict[str, Any],
        job: str | None,
    ) -> Artifact:
        """The blob is there already. The same bytes made again keep their row and get the newer report."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO artifacts (digest, model, profile, recipe, bytes, report, job, created_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (digest) DO UPDATE SET report = excluded.report, job = excluded.job",
                (
                    digest,
                    model,
                    profile,
                    recipe,
                    size_bytes,
                    json.dumps(report),
                    job,
                    self._database.now_ms(),
                ),
            )
            self._events.append(
                "artifact", digest, "added", data={"model": model, "profile": profile, "recipe": recipe}
            )
            return self.get(digest)

    def find(self, digest: str) -> Artifact | None:
        row = self._database.row("SELECT * FROM artifacts WHERE digest = ?", (digest,))
        return None if row is None else _artifact(row)

    def get(self, digest: str) -> Artifact:
        """Raises NotFoundError."""
        artifact = self.find(digest)
        if artifact is None:
            raise NotFoundError(
                "artifact_unknown",
                f"There is no artifact {digest[:80]!r}. `edgepress artifact list` shows them.",
            )
        return artifact

    def list(self, *, model: str | None = None, profile: str | None = None) -> list[Artifact]:
        """Newest first."""
        rows = self._database.rows(
            "SELECT * FROM artifacts WHERE (:model IS NULL OR model = :model) "
            "AND (:profile IS NULL OR profile = :profile) ORDER BY created_at DESC, digest",
            {"model": model, "profile": profile},
        )
        return [_artifact(row) for row in rows]

    def newest(self, *, model: str, profile: str, recipe: str, dataset: str | None) -> Artifact | None:
        """The newest made with default options from this model, recipe and data set for this profile."""
        row = self._database.row(
            "SELECT a.* FROM artifacts a JOIN jobs j ON j.id = a.job WHERE a.model = ? AND a.profile = ? "
            "AND a.recipe = ? AND j.dataset IS ? AND j.options = '{}' ORDER BY a.created_at DESC LIMIT 1",
            (model, profile, recipe, dataset),
        )
        return None if row is None else _artifact(row)


def _artifact(row: sqlite3.Row) -> Artifact:
    return Artifact(**{**dict(row), "report": json.loads(row["report"])})

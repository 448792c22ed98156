"""Data sets: an uploaded .npz (a blob), or a description on the server's own disk (a path)."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass
from typing import Any

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.models import NAME


@dataclass(frozen=True)
class DatasetRow:
    name: str
    blob: str | None  # SHA-256 of an uploaded .npz
    path: str | None  # TOML on the server's disk
    task: str
    summary: dict[str, Any]  # splits and their sizes, inputs, classes
    created_at: int  # Unix ms


class Datasets:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def check_free(self, name: str) -> str:
        """Raises InvalidInputError for a bad name, ConflictError when it is taken."""
        if not NAME.fullmatch(name):
            raise InvalidInputError(
                "dataset_name",
                "A name has 1 to 64 letters, digits and . _ -, and begins and ends with a letter or digit.",
            )
        if self.find(name) is not None:
            raise ConflictError("dataset_exists", f"There is already a data set {name!r}. Take another name.")
        return name

    def add(
        self,
        name: str,
        *,
        blob: str | None = None,
        path: str | None = None,
        task: str,
        summary: dict[str, Any],
        actor: str | None,
    ) -> DatasetRow:
        """Exactly one of ``blob`` and ``path``. Raises as `check_free`."""
        with self._database.transaction() as connection:
            self.check_free(name)
            connection.execute(
                "INSERT INTO datasets (name, blob, path, task, summary, created_at) VALUES (?, ?, ?, ?, ?, "
                "?)",
                (name, blob, path, task, json.dumps(summary), self._database.now_ms()),
            )
            self._events.append("dataset", name, "added", actor=actor)
            return self.get(name)

    def find(self, name: str) -> DatasetRow | None:
        row = self._database.row("SELECT * FROM datasets WHERE name = ?", (name,))
        return None if row is None else _dataset(row)

    def get(self, name: str) -> DatasetRow:
        """Raises NotFoundError."""
        dataset = self.find(name)
        if dataset is None:
            raise NotFoundError("dataset_unknown", f"There is no data set {name[:80]!r}. Add it first.")
        return dataset

    def list(self) -> list[DatasetRow]:
        return [_dataset(row) for row in self._database.rows("SELECT * FROM datasets ORDER BY name")]


def _dataset(row: sqlite3.Row) -> DatasetRow:
    return DatasetRow(**{**dict(row), "summary": json.loads(row["summary"])})

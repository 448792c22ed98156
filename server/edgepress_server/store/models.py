"""Models as uploaded: an immutable ONNX blob under a name, with what was found in it."""

from __future__ import annotations

import json
import re
import sqlite3
from dataclasses import dataclass
from typing import Any

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")  # models and data sets
MAX_NOTE = 2000


@dataclass(frozen=True)
class TensorFacts:
    """An input or output: "N" stands for the batch."""

    name: str
    shape: list[int | str]
    dtype: str


@dataclass(frozen=True)
class ModelFacts:
    """What inspection found in the file."""

    bytes: int
    weight_bytes: int  # all float weights as fp32
    parameters: int
    macs: int | None  # multiply-accumulates of one sample; None where shapes are not known
    inputs: list[TensorFacts]
    outputs: list[TensorFacts]


@dataclass(frozen=True)
class Model:
    name: str
    blob: str  # SHA-256 of the ONNX file
    dataset: str | None
    facts: ModelFacts
    note: str
    created_at: int  # Unix ms


class Models:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def check_free(self, name: str) -> str:
        """Before a long upload: raises InvalidInputError for a bad name, ConflictError when it is taken."""
        if not NAME.fullmatch(name):
            raise InvalidInputError(
                "model_name",
                "A name has 1 to 64 letters, digits and . _ -, and begins and ends with a letter or digit.",
            )
        if self.find(name) is not None:
            raise ConflictError(
                "model_exists",
                f"There is already a model {name!r}. Take another name, such as {name[:60]!r} with a "
                f"version.",
            )
        return name

    def add(
        self, name: str, blob: str, facts: ModelFacts, dataset: str | None, *, actor: str | None
    ) -> Model:
        """Raises as `check_free`, and NotFoundError for an unknown data set."""
        with self._database.transaction() as connection:
            self.check_free(name)
            self._check_dataset(dataset)
            connection.execute(
                "INSERT INTO models (name, blob, dataset, bytes, weight_bytes, parameters, macs, inputs, "
                "outputs, "
                "created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    name,
                    blob,
                    dataset,
                    facts.bytes,
                    facts.weight_bytes,
                    facts.parameters,
                    facts.macs,
                    json.dumps([vars(tensor) for tensor in facts.inputs]),
                    json.dumps([vars(tensor) for tensor in facts.outputs]),
                    self._database.now_ms(),
                ),
            )
            self._events.append("model", name, "added", actor=actor)
            return self.get(name)

    def find(self, name: str) -> Model | None:
        row = self._database.row("SELECT * FROM models WHERE name = ?", (name,))
        return None if row is None else _model(row)

    def get(self, name: str) -> Model:
        """Raises NotFoundError."""
        model = self.find(name)
        if model is None:
            raise NotFoundError(
                "model_unknown", f"There is no model {name[:80]!r}. `edgepress model list` shows them."
            )
        return model

    def list(self) -> list[Model]:
        """All models, newest first."""
        return [
            _model(row) for row in self._database.rows("SELECT * FROM models ORDER BY created_at DESC, name")
        ]

    def change(
        self, name: str, *, dataset: str | None = None, note: str | None = None, actor: str | None
    ) -> Model:
        """Set the data set it is judged on and, or, the note. Raises NotFoundError."""
        if note is not None and len(note) > MAX_NOTE:
            raise InvalidInputError("note", f"A note has at most {MAX_NOTE} characters.")
        with self._database.transaction() as connection:
            old = self.get(name)
            self._check_dataset(dataset)
            connection.execute(
                "UPDATE models SET dataset = ?, note = ? WHERE name = ?",
                (old.dataset if dataset is None else dataset, old.note if note is None else note, name),
            )
            self._events.append("model", name, "changed", actor=actor)
            return self.get(name)

    def _check_dataset(self, dataset: str | None) -> None:
        if dataset is not None:
            row = self._database.row("SELECT 1 FROM datasets WHERE name = ?", (dataset,))
            if row is None:
                raise NotFoundError(
                    "dataset_unknown", f"There is no data set {dataset[:80]!r}. Add it first."
                )


def _model(row: sqlite3.Row) -> Model:
    def tensors(column: str) -> list[TensorFacts]:
        entries: list[dict[str, Any]] = json.loads(row[column])
        return [TensorFacts(**entry) for entry in entries]

    facts = ModelFacts(
        row["bytes"],
        row["weight_bytes"],
        row["parameters"],
        row["macs"],
        tensors("inputs"),
        tensors("outputs"),
    )
    return Model(row["name"], row["blob"], row["dataset"], facts, row["note"], row["created_at"])

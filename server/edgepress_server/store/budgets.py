"""Budgets: what a model is to keep on the devices of a profile, one for each (model, profile)."""

from __future__ import annotations

import json
import sqlite3
from typing import Any, Final

import msgspec

from edgepress_compression.errors import BudgetError
from edgepress_compression.search.budget import Budget, check
from edgepress_devices.profiling_messages import PROFILING_SECONDS_MAX, PROFILING_SECONDS_MIN
from edgepress_server.errors import InvalidInputError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

WINDOW_S: Final = 600
SUSTAINED_MINUTES: Final = 3
PROFILING_S: Final = 60
PREDICTION_ERROR_MIN, PREDICTION_ERROR_MAX = 0.05, 100.0
OPTIONS_MAX_BYTES: Final = 4096


class FleetBudget(msgspec.Struct, frozen=True, kw_only=True):
    """None: no limit of that kind. In the fleet ``latency_us`` is the p95 of one inference."""

    model: str
    profile: str
    latency_us: float | None = None
    memory_bytes: int | None = None
    energy_mj: float | None = None
    artifact_bytes: int | None = None
    max_drop: float | None = None  # a fraction 0..1 of the data set's metric
    prediction_error: float | None = None  # see watch/decide.py
    auto: bool = False  # calibrate, search, release and roll out without asking
    window_s: int = WINDOW_S  # telemetry older than this says nothing about now
    sustained_minutes: int = SUSTAINED_MINUTES  # missed, or kept, for so long before anything is done
    profiling_s: int = PROFILING_S  # that a device may measure itself for, before a search
    options: dict[str, Any] = {}  # of the searches that follow
    source: str | None = None  # id of the search that it comes from; None: set by hand
    created_at: int = 0  # Unix ms
    updated_at: int = 0
    actor: str | None = None

    @property
    def search_budget(self) -> Budget:
        """The limits as a search understands them (its latency is a p50: see watch/engine.py)."""
        return Budget(
            latency_us=self.latency_us,
            artifact_bytes=self.artifact_bytes,
            memory_bytes=self.memory_bytes,
            energy_mj=self.energy_mj,
            max_drop=self.max_drop,
        )

    def words(self) -> str:
        """For people: "p95 20 ms, 64.00 MB of memory, at most 1.0 points lost"."""
        said = self.search_budget.words() if not self.search_budget.empty else ""
        said = f"p95 {said}" if self.latency_us is not None else said
        if self.prediction_error is not None:
            off = f"predictions within {1 + self.prediction_error:.3g} times"
            said = f"{said}, {off}" if said else off
        return said


class Budgets:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def put(
        self,
        model: str,
        profile: str,
        budget: Budget,
        *,
        auto: bool = False,
        prediction_error: float | None = None,
        window_s: int = WINDOW_S,
        sustained_minutes: int = SUSTAINED_MINUTES,
        profiling_s: int = PROFILING_S,
        options: dict[str, Any] | None = None,
        source: str | None = None,
        actor: str | None = None,
    ) -> FleetBudget:
        """Set or replace it. Raises InvalidInputError (a number that cannot be meant), NotFoundError "
        "(model)."""
        try:
            check(budget)
        except BudgetError as error:
            raise InvalidInputError("bad_budget", str(error)) from error
        if budget.empty and prediction_error is None:
            raise InvalidInputError(
                "empty_budget",
                "A budget needs at least one limit: latency, memory, energy, size, a drop, or a "
                "prediction error.",
            )
        if prediction_error is not None and not (
            PREDICTION_ERROR_MIN <= prediction_error <= PREDICTION_ERROR_MAX
        ):
            raise InvalidInputError(
                "bad_budget",
                f"The prediction error {prediction_error} is a fraction from {PREDICTION_ERROR_MIN:g}: "
                "0.3 is 30 %.",
            )
        if not (1 <= sustained_minutes <= 1440 and 60 * sustained_minutes <= window_s <= 86_400):
            raise InvalidInputError(
                "bad_budget",
                f"A window of {window_s} s does not hold {sustained_minutes} minutes; make it longer (at "
                "most a day).",
            )
        if not PROFILING_SECONDS_MIN <= profiling_s <= PROFILING_SECONDS_MAX:
            raise InvalidInputError(
                "bad_budget",
                f"A device measures itself for {PROFILING_SECONDS_MIN} to {PROFILING_SECONDS_MAX} seconds.",
            )
        text = json.dumps(options or {}, sort_keys=True)
        if len(text) > OPTIONS_MAX_BYTES:
            raise InvalidInputError(
                "bad_budget", f"The options of a search take at most {OPTIONS_MAX_BYTES} bytes."
            )
        with self._database.transaction() as connection:
            if self._database.row("SELECT 1 FROM models WHERE name = ?", (model,)) is None:
                raise NotFoundError(
                    "model_unknown", f"There is no model {model[:80]!r}; `edgepress model list` shows them."
                )
            now = self._database.now_ms()
            connection.execute(
                "INSERT INTO budgets (model, profile, latency_us, memory_bytes, energy_mj, artifact_bytes,"
                " max_drop, prediction_error, auto, window_s, sustained_minutes, profiling_s, options, "
                "source,"
                " created_at,"
                " updated_at, actor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (model, profile) DO UPDATE SET latency_us = excluded.latency_us,"
                " memory_bytes = excluded.memory_bytes, energy_mj = excluded.energy_mj,"
                " artifact_bytes = excluded.artifact_bytes, max_drop = excluded.max_drop,"
                " prediction_error = excluded.prediction_error, auto = excluded.auto,"
                " window_s = excluded.window_s, sustained_minutes = excluded.sustained_minutes,"
                " profiling_s = excluded.profiling_s, options = excluded.options, source = "
                "excluded.source, updated_at = excluded.updated_at,"
                " actor = excluded.actor",
                (
                    model,
                    profile,
                    budget.latency_us,
                    budget.memory_bytes,
                    budget.energy_mj,
                    budget.artifact_bytes,
                    budget.max_drop,
                    prediction_error,
                    int(auto),
                    window_s,
                    sustained_minutes,
                    profiling_s,
                    text,
                    source,
                    now,
                    now,
                    actor,
                ),
            )
            self._events.append(
                "budget",
                model,
                "set",
                actor=actor,
                data={"profile": profile, "words": self.get(model, profile).words()},
            )
            return self.get(model, profile)

    def find(self, model: str, profile: str) -> FleetBudget | None:
        row = self._database.row("SELECT * FROM budgets WHERE model = ? AND profile = ?", (model, profile))
        return None if row is None else _budget(row)

    def get(self, model: str, profile: str) -> FleetBudget:
        """Raises NotFoundError."""
        found = self.find(model, profile)
        if found is None:
            raise NotFoundError(
                "no_such_budget",
                f"{model[:80]} has no budget on {profile[:80]}; `edgepress budget list` shows those there "
                "are.",
            )
        return found

    def list(self, *, model: str | None = None) -> list[FleetBudget]:
        """By model and profile."""
        rows = self._database.rows(
            "SELECT * FROM budgets WHERE ? IS NULL OR model = ? ORDER BY model, profile", (model, model)
        )
        return [_budget(row) for row in rows]

    def search_of(self, digest: str, profile: str) -> str | None:
        """The newest search for this profile that found the artifact: whose budget it was meant to keep."""
        row = self._database.row(
            "SELECT s.id FROM searches s WHERE s.profile = :profile AND (s.chosen = :digest"
            " OR json_extract(s.result, '$.offered') = :digest OR EXISTS (SELECT 1 FROM search_trials t"
            " WHERE t.search = s.id AND t.artifact = :digest)) ORDER BY s.created_at DESC LIMIT 1",
            {"profile": profile, "digest": digest},
        )
        return None if row is None else str(row["id"])

    def clear(self, model: str, profile: str, *, actor: str | None = None) -> None:
        """Nothing is watched any more. Raises NotFoundError."""
        with self._database.transaction() as connection:
            self.get(model, profile)
            connection.execute("DELETE FROM budgets WHERE model = ? AND profile = ?", (model, profile))
            self._events.append("budget", model, "cleared", actor=actor, data={"profile": profile})


def _budget(row: sqlite3.Row) -> FleetBudget:
    return FleetBudget(**{**dict(row), "auto": bool(row["auto"]), "options": json.loads(row["options"])})

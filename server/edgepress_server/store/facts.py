"""Single values by name, as JSON: counters, and the sign of life that each role of the server writes."""

from __future__ import annotations

import json
from typing import Any, Literal

from edgepress_server.store.database import Database

RoleName = Literal["web", "link", "worker", "broker"]
HEARTBEAT_MS = 5_000  # how often a role writes
HEARTBEAT_STALE_MS = 20_000  # silent for longer: down


class Facts:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, key: str) -> Any:
        """The value, or None when nobody has set it."""
        row = self._database.row("SELECT value FROM facts WHERE key = ?", (key,))
        return None if row is None else json.loads(row["value"])

    def set(self, key: str, value: Any) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO facts (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = "
                "excluded.value",
                (key, json.dumps(value)),
            )

    def heartbeat(self, role: RoleName, **details: Any) -> None:
        """Sign of life; ``details`` such as ``mqtt_connected=True`` are kept beside it."""
        self.set(f"role.{role}", {"at": self._database.now_ms(), **details})

    def role(self, role: RoleName) -> dict[str, Any] | None:
        """The last sign of life while it is fresh, else None."""
        value = self.get(f"role.{role}")
        if not isinstance(value, dict) or self._database.now_ms() - int(value["at"]) > HEARTBEAT_STALE_MS:
            return None
        return value

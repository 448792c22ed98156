"""Which series there are: devices, and groups of them that are added up as telemetry comes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from edgepress_server.store.database import Database

Kind = Literal["device", "fleet", "profile", "artifact", "label"]
LABEL_SERIES_MAX: Final = 2000  # of "key=value": beyond, a label's figures are worked out from its devices
LABELS_OF_A_DEVICE: Final = 8  # that are added up; in the order of their names
ARTIFACT_SERIES_MAX: Final = 20_000


class SeriesKey(NamedTuple):
    """``name``: of the device, the profile, the artifact's digest, "key=value"; of the fleet empty."""

    kind: Kind
    name: str = ""


FLEET: Final = SeriesKey("fleet")
_MOST: Final = {"label": LABEL_SERIES_MAX, "artifact": ARTIFACT_SERIES_MAX}


class SeriesIds:
    """Ids are given inside the caller's transaction; call `forget` when that is rolled back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: dict[SeriesKey, int | None] = {}

    def forget(self) -> None:
        self._ids.clear()

    def id(self, key: SeriesKey) -> int | None:
        """Made where it is new; None where there are as many of this kind as may be."""
        if key not in self._ids:
            self._ids[key] = self._make(key)
        return self._ids[key]

    def find(self, keys: Iterable[SeriesKey]) -> dict[SeriesKey, int]:
        """Those that exist."""
        wanted = json.dumps([list(key) for key in keys])
        rows = self._database.rows(
            "SELECT s.id, s.kind, s.name FROM json_each(?) j JOIN series s"
            " ON s.kind = j.value ->> 0 AND s.name = j.value ->> 1",
            (wanted,),
        )
        return {SeriesKey(row["kind"], row["name"]): row["id"] for row in rows}

    def labels(self) -> list[str]:
        """ "key=value" of every label that is added up."""
        rows = self._database.rows("SELECT name FROM series WHERE kind = 'label' ORDER BY name")
        return [str(row["name"]) for row in rows]

    def _make(self, key: SeriesKey) -> int | None:
        row = self._database.row("SELECT id FROM series WHERE kind = ? AND name = ?", key)
        if row is not None:
            return int(row["id"])
        with self._database.transaction() as connection:
            if key.kind in _MOST:
                many = connection.execute(
                    "SELECT count(*) FROM series WHERE kind = ?", (key.kind,)
                ).fetchone()
                if many[0] >= _MOST[key.kind]:
                    return None
            return int(
                connection.execute("INSERT INTO series (kind, name) VALUES (?, ?)", key).lastrowid or 0
            )

"""Texts that many rows repeat (digests, methods of measuring) as small numbers.

Devices choose these texts, so their number is bounded: beyond it a new one is kept as OTHER, unless it is the
digest of an artifact that the server made.
"""

from __future__ import annotations

from typing import Final

from edgepress_server.store.database import Database

NONE: Final = 0  # the empty text
OTHER: Final = 1
TEXTS_MAX: Final = 50_000
OTHER_TEXT: Final = "(other)"


class Texts:
    """Codes are given inside the caller's transaction; call `forget` when that is rolled back."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._codes: dict[str, int] = {}
        self._names: dict[int, str] = {NONE: "", OTHER: OTHER_TEXT}

    def code(self, text: str) -> int:
        found = self._codes.get(text)
        return self._intern(text) if found is None else found

    def name(self, code: int) -> str:
        if code not in self._names:
            self._read()
        return self._names.get(code, OTHER_TEXT)

    def names(self, codes: set[int]) -> dict[int, str]:
        return {code: self.name(code) for code in codes}

    def forget(self) -> None:
        self._codes.clear()
        self._names = {NONE: "", OTHER: OTHER_TEXT}

    def _read(self) -> None:
        for row in self._database.rows("SELECT code, text FROM texts"):
            self._codes[row["text"]] = row["code"]
            self._names[row["code"]] = row["text"]

    def _intern(self, text: str) -> int:
        if not text:
            return NONE
        row = self._database.row("SELECT code FROM texts WHERE text = ?", (text,))
        if row is None:
            with self._database.transaction() as connection:
                newest = connection.execute("SELECT max(code) FROM texts").fetchone()[
                    0
                ]  # none is ever removed
                if newest >= TEXTS_MAX and not self._is_artifact(text):
                    return OTHER
                cursor = connection.execute("INSERT INTO texts (text) VALUES (?)", (text,))
                code = int(cursor.lastrowid or OTHER)
        else:
            code = int(row["code"])
        self._codes[text] = code
        self._names[code] = text
        return code

    def _is_artifact(self, text: str) -> bool:
        return self._database.row("SELECT 1 FROM artifacts WHERE digest = ?", (text,)) is not None

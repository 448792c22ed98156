"""What the broker holds as far as it is certain, by marks.

A mark is one small retained message with a number that only grows. It is published after everything before it
was acknowledged. So a broker that shows mark n holds whatever is noted here with a mark up to n: after a new
connection only the rest is published again. One that shows none is empty; one that came back with an old
state shows an old mark.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from typing import Final

from edgepress_server.store.database import Database
from edgepress_server.store.facts import Facts

IDENTITY: Final = "link.id"
MARK: Final = "link.mark"


class BrokerContents:
    def __init__(self, database: Database, facts: Facts) -> None:
        self._database = database
        self._facts = facts

    def identity(self) -> str:
        """Drawn once: two servers on one broker tell each other apart by it."""
        with self._database.transaction():
            found = self._facts.get(IDENTITY)
            if not isinstance(found, str):
                found = secrets.token_hex(8)
                self._facts.set(IDENTITY, found)
            return found

    def last_mark(self) -> int:
        """0: none was ever published."""
        return int(self._facts.get(MARK) or 0)

    def published(self) -> dict[str, int]:
        """digest -> chunks of the artifacts that were put on the broker and not cleared since."""
        rows = self._database.rows("SELECT digest, chunks FROM published WHERE cleared IS NULL")
        return {row["digest"]: row["chunks"] for row in rows}

    def begin(self, digest: str, chunks: int) -> None:
        """Noted before the first chunk is published: so they are cleared some day, also after a crash."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO published (digest, chunks) VALUES (?, ?)", (digest, chunks)
            )

    def vouch(self, *, versions: Mapping[str, int], whole: Collection[str], cleared: Collection[str]) -> int:
        """A new mark for what was acknowledged since the last one; the caller publishes it.

        ``versions``: topic -> version; ``whole`` and ``cleared``: digests.
        """
        with self._database.transaction() as connection:
            mark = self.last_mark() + 1
            self._facts.set(MARK, mark)
            connection.executemany(
                "INSERT OR REPLACE INTO retained (topic, version, mark) VALUES (?, ?, ?)",
                [(topic, version, mark) for topic, version in versions.items()],
            )
            connection.executemany(
                "UPDATE published SET mark = ? WHERE digest = ? AND cleared IS NULL",
                [(mark, digest) for digest in whole],
            )
            connection.executemany(
                "UPDATE published SET cleared = ? WHERE digest = ?", [(mark, digest) for digest in cleared]
            )
            return mark

    def held(self, mark: int) -> tuple[dict[str, int], set[str]]:
        """What a broker that shows this mark holds: (topic -> version, whole artifacts).

        Forgets the artifacts that it holds no longer. Those that it has again are published ones again, to be
        cleared.
        """
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM published WHERE cleared <= ?", (mark,))
            connection.execute("UPDATE published SET cleared = NULL WHERE cleared > ?", (mark,))
        versions = {
            row["topic"]: row["version"]
            for row in self._database.rows("SELECT topic, version FROM retained WHERE mark <= ?", (mark,))
        }
        rows = self._database.rows("SELECT digest FROM published WHERE mark <= ?", (mark,))
        return versions, {row["digest"] for row in rows}

    def wanted(self) -> set[str]:
        """Artifacts and deltas that some device's newest want names."""
        rows = self._database.rows(
            "SELECT digest FROM wants WHERE digest IS NOT NULL"
            " UNION SELECT delta FROM wants WHERE delta IS NOT NULL"
        )
        return {row["digest"] for row in rows}

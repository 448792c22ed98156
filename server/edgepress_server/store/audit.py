"""Who did what, in a log that only grows and that shows when somebody changed it.

Every row holds a hash over itself and the hash of the row before it:

    hash = SHA-256( previous hash (64 hex digits; of the first row 64 zeros)
                    + canonical JSON of {action, actor, at, data, number, source, subject} )

canonical = keys sorted, no blanks, not escaped to ASCII, UTF-8. Rows are numbered from 1 without gaps. So a
row that was changed, left out or put in breaks the chain there. A log that was cut off at its end, or made
anew as a whole, verifies in itself, but not against a head (the newest number and its hash) that somebody
kept elsewhere. Triggers forbid UPDATE, DELETE and REPLACE; the chain is for those who go around them. No
secret is ever put in: see `edgepress_server.api.auditing`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from edgepress_server.store.database import Database

GENESIS: Final = "0" * 64
TEXT_MAX: Final = 200  # characters of action, subject, actor and source
DATA_MAX: Final = 4000  # characters of a row's data as JSON
_PAGE: Final = 1000


@dataclass(frozen=True)
class AuditEntry:
    number: int
    at: int  # Unix ms
    action: str  # such as "create_rollout"
    subject: str  # name, id or digest of what it was done to
    actor: str | None  # a person; None: nobody signed in, or the server itself
    source: str  # where it came from: an address and how they were known, or "server"
    data: dict[str, Any]
    hash: str

    def expected_hash(self, previous: str) -> str:
        """What its hash has to be after a row with the hash ``previous``."""
        said = {
            "number": self.number,
            "at": self.at,
            "action": self.action,
            "subject": self.subject,
            "actor": self.actor,
            "source": self.source,
            "data": self.data,
        }
        return hashlib.sha256(previous.encode() + canonical(said).encode()).hexdigest()


@dataclass(frozen=True)
class Head:
    """The newest row: whoever keeps it elsewhere can check the log against it."""

    number: int  # 0: the log is empty
    hash: str


@dataclass(frozen=True)
class Verdict:
    rows: int  # walked, up to the first broken one
    head: Head  # of what holds
    broken: int | None  # number of the first row that does not hold
    reason: str | None  # why not, for people

    @property
    def holds(self) -> bool:
        return self.broken is None


def canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def verify_chain(entries: Iterable[AuditEntry], kept: Head | None = None) -> Verdict:
    """Walk the rows, oldest first, to the first that does not hold.

    ``kept``: a head noted earlier, which the log must contain.
    """
    head = Head(0, GENESIS)
    met = kept is None or kept.number == 0
    for entry in entries:
        if entry.number != head.number + 1:
            missing = f"row {head.number + 1} is missing"
            return Verdict(head.number, head, head.number + 1, f"{missing}: row {entry.number} comes next")
        if entry.hash != entry.expected_hash(head.hash):
            return Verdict(
                head.number, head, entry.number, "its hash is not that of its content after the row before it"
            )
        head = Head(entry.number, entry.hash)
        if kept is not None and entry.number == kept.number:
            if entry.hash != kept.hash:
                return Verdict(
                    entry.number,
                    head,
                    entry.number,
                    "it is not the row of the head that was kept: the log was made anew",
                )
            met = True
    if not met and kept is not None:
        return Verdict(
            head.number,
            head,
            head.number + 1,
            f"the log ends at row {head.number}, before the row {kept.number} of the head that was kept",
        )
    return Verdict(head.number, head, None, None)


class Audit:
    def __init__(self, database: Database) -> None:
        self._database = database

    def append(
        self,
        action: str,
        subject: str,
        *,
        actor: str | None = None,
        source: str = "server",
        data: dict[str, Any] | None = None,
    ) -> AuditEntry:
        """Write a row (inside the running transaction, if any). Never pass a secret in ``data``.

        Texts are cut to 200 characters; data of more than 4000 characters is replaced by its length.
        """
        plain = _utf8(canonical(data or {}))
        if len(plain) > DATA_MAX:
            plain = canonical({"left_out": f"{len(plain)} characters"})
        with self._database.transaction() as connection:
            head = self.head()
            draft = AuditEntry(
                number=head.number + 1,
                at=self._database.now_ms(),
                action=_text(action),
                subject=_text(subject),
                actor=None if actor is None else _text(actor),
                source=_text(source),
                data=json.loads(plain),
                hash="",
            )
            entry = AuditEntry(**{**vars(draft), "hash": draft.expected_hash(head.hash)})
            connection.execute(
                "INSERT INTO audit (number, at, action, subject, actor, source, data, hash) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    entry.number,
                    entry.at,
                    entry.action,
                    entry.subject,
                    entry.actor,
                    entry.source,
                    plain,
                    entry.hash,
                ),
            )
        return entry

    def head(self) -> Head:
        row = self._database.row("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")
        return Head(0, GENESIS) if row is None else Head(row["number"], row["hash"])

    def newest(
        self,
        limit: int = 100,
        *,
        before: int | None = None,
        actor: str | None = None,
        action: str | None = None,
        subject: str | None = None,
    ) -> list[AuditEntry]:
        """Newest first; ``before``: only rows with a smaller number, for the next page."""
        conditions, parameters = ["1"], list[Any]()
        for column, value in (("actor", actor), ("action", action), ("subject", subject)):
            if value is not None:
                conditions.append(f"{column} = ?")
                parameters.append(value)
        if before is not None:
            conditions.append("number < ?")
            parameters.append(before)
        where = " AND ".join(conditions)
        return self._read(f"WHERE {where} ORDER BY number DESC LIMIT ?", (*parameters, limit))

    def actions(self) -> list[str]:
        """What was ever done, by name."""
        return [
            row["action"] for row in self._database.rows("SELECT DISTINCT action FROM audit ORDER BY action")
        ]

    def oldest_first(self, after: int = 0) -> Iterator[AuditEntry]:
        """Every row after a number, read in pages: the log may be long, and may grow meanwhile."""
        while page := self._read("WHERE number > ? ORDER BY number LIMIT ?", (after, _PAGE)):
            yield from page
            after = page[-1].number

    def verify(self, kept: Head | None = None) -> Verdict:
        """Walk the whole chain; about 100,000 rows a second."""
        return verify_chain(self.oldest_first(), kept)

    def _read(self, where: str, parameters: tuple[Any, ...]) -> list[AuditEntry]:
        sql = f"SELECT number, at, action, subject, actor, source, data, hash FROM audit {where}"  # noqa: S608 - constants above
        rows = self._database.rows(sql, parameters)
        return [AuditEntry(**{**dict(row), "data": _data(row["data"])}) for row in rows]


def _data(text: str) -> dict[str, Any]:
    """What somebody wrote over by hand may be no JSON: then it is told as it stands; its hash is wrong."""
    try:
        found = json.loads(text)
    except ValueError:
        return {"unreadable": text}
    return found if isinstance(found, dict) else {"unreadable": text}


def _text(text: str) -> str:
    return _utf8(text[:TEXT_MAX])


def _utf8(text: str) -> str:
    """A lone surrogate, which JSON may bring, has no UTF-8 and so no hash: it becomes a question mark."""
    return text.encode("utf-8", "replace").decode()

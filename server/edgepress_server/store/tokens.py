"""Tokens for programs: each stands for a person, at most with that person's role.

Stored as SHA-256 of 256 random bits: a copy of the file lets nobody in. A token may be limited to a role
below its person's and to a time; a limited token makes no other tokens, so what it may do never grows.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from edgepress_server.errors import ForbiddenError, InvalidInputError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.people import ROLES, Person, Role, sha256

_PREFIX: Final = "ep_"  # so that a token in a log or a repository is recognised as one
_USED_EVERY_MS: Final = 60_000  # `last_used_at` is not a write per request


@dataclass(frozen=True)
class Token:
    id: str
    name: str
    person: str
    role: Role | None  # at most this; None: whatever its person may do
    created_at: int
    last_used_at: int | None
    expires_at: int | None  # None: until it is revoked
    revoked_at: int | None

    @property
    def limited(self) -> bool:
        return self.role is not None or self.expires_at is not None


class Tokens:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def create(
        self,
        person: Person,
        name: str,
        *,
        role: Role | None = None,
        expires_at: int | None = None,
        by: Token | None = None,
    ) -> tuple[str, Token]:
        """A new token: (the secret, shown only now; its row). ``by``: the token that asks for it.

        Raises InvalidInputError (role above the person's, expiry in the past), ForbiddenError (``by`` is
        limited).
        """
        now = self._database.now_ms()
        if by is not None and by.limited:
            raise ForbiddenError(
                "token_limited",
                f"The token {by.name!r} is limited to a role or a time, so it makes no other tokens. Sign in "
                "to make one.",
            )
        if role is not None and not person.may(role):
            raise InvalidInputError(
                "token_role", f"A token of {person.name} may be {person.role} at most, not {role}."
            )
        if expires_at is not None and expires_at <= now:
            raise InvalidInputError(
                "token_expiry", "The token would have expired already. Choose a later time."
            )
        secret = _PREFIX + secrets.token_urlsafe(32)
        token = Token(secrets.token_hex(6), name, person.name, role, now, None, expires_at, None)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO tokens (id, name, hash, person, role, created_at, expires_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (token.id, name, sha256(secret), person.name, role, now, expires_at),
            )
            self._events.append(
                "person", person.name, "token_created", actor=person.name, data={"token": token.id}
            )
        return secret, token

    def list(self, person: Person | None = None) -> list[Token]:
        """The tokens of a person, or all; newest first."""
        name = person.name if person else None
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM tokens t WHERE ? IS NULL OR person = ? ORDER BY created_at DESC, id",  # noqa: S608
            (name, name),
        )
        return [Token(**dict(row)) for row in rows]

    def revoke(self, token_id: str, *, actor: Person) -> Token:
        """One's own, or anybody's for an admin. Raises NotFoundError."""
        with self._database.transaction() as connection:
            mine = self.list(None if actor.may("admin") else actor)
            token = next((token for token in mine if token.id == token_id), None)
            if token is None:
                raise NotFoundError("token_unknown", f"There is no token {token_id[:40]!r} of yours.")
            connection.execute(
                "UPDATE tokens SET revoked_at = coalesce(revoked_at, ?) WHERE id = ?",
                (self._database.now_ms(), token_id),
            )
            self._events.append(
                "person", token.person, "token_revoked", actor=actor.name, data={"token": token_id}
            )
            return next(token for token in self.list() if token.id == token_id)

    def find(self, secret: str) -> tuple[Person, Token] | None:
        """The person a token stands for, with the role it has now; None: unknown, revoked or expired."""
        now = self._database.now_ms()
        row = self._database.row(
            f"SELECT {_COLUMNS}, p.role AS persons_role FROM tokens t JOIN people p ON p.name = t.person "  # noqa: S608
            "WHERE t.hash = ? AND t.revoked_at IS NULL AND coalesce(t.expires_at > ?, 1)",
            (sha256(secret), now),
        )
        if row is None:
            return None
        columns = dict(row)
        persons_role: Role = columns.pop("persons_role")
        token = Token(**columns)
        if token.last_used_at is None or now - token.last_used_at > _USED_EVERY_MS:
            with self._database.transaction() as connection:
                connection.execute("UPDATE tokens SET last_used_at = ? WHERE id = ?", (now, token.id))
        return Person(token.person, min(token.role or persons_role, persons_role, key=ROLES.index)), token


_COLUMNS: Final = "t.id, t.name, t.person, t.role, t.created_at, t.last_used_at, t.expires_at, t.revoked_at"

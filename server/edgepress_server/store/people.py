"""Who may do what: people with a role, and their browser sessions. Tokens for programs: tokens.py.

Passwords are stored as scrypt hashes (werkzeug), session cookies as SHA-256 of 256 random bits: a copy of the
file lets nobody in. At least one admin stays.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Literal

from werkzeug.security import check_password_hash, generate_password_hash

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

Role = Literal["viewer", "operator", "admin"]
ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")  # each may do all that the ones before it may

SESSION_MS = 7 * 24 * 3600 * 1000
HASH_METHOD = "scrypt:32768:8:1"  # N, r, p: 32 MiB and about 0.1 s a try
PASSWORD_MIN, PASSWORD_MAX = 8, 256
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?")


@dataclass(frozen=True)
class Person:
    name: str
    role: Role

    def may(self, role: Role) -> bool:
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Session:
    person: Person
    csrf: str
    expires_at: int  # Unix ms


@dataclass(frozen=True)
class Account:
    name: str
    role: Role
    created_at: int
    signed_in_at: int | None  # when the newest session that lasts began
    tokens: int  # that work now


class People:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    # --- people ---------------------------------------------------------------------------------------

    def add(self, name: str, password: str, role: Role, *, actor: str | None = None) -> Person:
        """Raises InvalidInputError (name, password) and ConflictError when the name is taken."""
        if not _NAME.fullmatch(name):
            raise InvalidInputError(
                "person_name", "A name has 1 to 64 letters, digits and . _ @ -, and begins and ends with one."
            )
        hashed = _hash(password)
        with self._database.transaction() as connection:
            if self.find(name) is not None:
                raise ConflictError("person_exists", f"There is already a person {name!r}.")
            connection.execute(
                "INSERT INTO people (name, password_hash, role, created_at) VALUES (?, ?, ?, ?)",
                (name, hashed, role, self._database.now_ms()),
            )
            self._events.append("person", name, "added", actor=actor, data={"role": role})
        return Person(name, role)

    def ensure_admin(self) -> str | None:
        """At the first start: make ``admin`` and return its generated password; later None."""
        if self._database.row("SELECT 1 FROM people LIMIT 1") is not None:
            return None
        password = random_password()
        try:
            self.add("admin", password, "admin")
        except ConflictError:
            return None  # another process was first
        return password

    def find(self, name: str) -> Person | None:
        row = self._database.row("SELECT name, role FROM people WHERE name = ?", (name,))
        return Person(row["name"], row["role"]) if row is not None else None

    def check_password(self, name: str, password: str) -> Person | None:
        """The person, when the password is right. Takes as long for a name nobody has."""
        row = self._database.row("SELECT name, role, password_hash FROM people WHERE name = ?", (name,))
        hashed = row["password_hash"] if row is not None else _nobodys_hash()
        right = check_password_hash(hashed, password[:PASSWORD_MAX])
        return Person(row["name"], row["role"]) if row is not None and right else None

    def accounts(self) -> list[Account]:
        """Everybody, by name."""
        now = self._database.now_ms()
        rows = self._database.rows(
            "SELECT p.name, p.role, p.created_at, (SELECT max(s.created_at) FROM sessions s WHERE "
            "s.person = p.name AND s.expires_at > ?) AS signed_in_at, (SELECT count(*) FROM tokens t WHERE "
            "t.person = p.name AND t.revoked_at IS NULL AND coalesce(t.expires_at > ?, 1)) AS tokens "
            "FROM people p ORDER BY p.name",
            (now, now),
        )
        return [Account(**dict(row)) for row in rows]

    def set_role(self, name: str, role: Role, *, actor: str | None = None) -> Person:
        """At once, also for open sessions and tokens. Raises NotFoundError, ConflictError (last admin)."""
        with self._database.transaction() as connection:
            before = self._known(name)
            if before.role == role:
                return before
            if role != "admin":
                self._keep_an_admin(before)
            connection.execute("UPDATE people SET role = ? WHERE name = ?", (role, name))
            self._events.append(
                "person", name, "role_set", actor=actor, data={"role": role, "before": before.role}
            )
        return Person(name, role)

    def remove(self, name: str, *, actor: str | None = None) -> Person:
        """With all sessions and tokens. Raises NotFoundError, ConflictError (last admin)."""
        with self._database.transaction() as connection:
            person = self._known(name)
            self._keep_an_admin(person)
            connection.execute("DELETE FROM people WHERE name = ?", (name,))  # sessions and tokens cascade
            self._events.append("person", name, "removed", actor=actor, data={"role": person.role})
        return person

    def set_password(self, name: str, password: str, *, actor: str | None = None) -> Person:
        """A new password; every browser session of that person ends. Tokens stay: programs use them.

        Raises InvalidInputError (password) and NotFoundError.
        """
        hashed = _hash(password)
        with self._database.transaction() as connection:
            person = self._known(name)
            connection.execute("UPDATE people SET password_hash = ? WHERE name = ?", (hashed, name))
            connection.execute("DELETE FROM sessions WHERE person = ?", (name,))
            self._events.append("person", name, "password_set", actor=actor)
        return person

    def _known(self, name: str) -> Person:
        person = self.find(name)
        if person is None:
            names = [row["name"] for row in self._database.rows("SELECT name FROM people ORDER BY name")]
            raise NotFoundError(
                "person_unknown", f"There is no person {name[:80]!r}. Known: {', '.join(names)[:1000]}."
            )
        return person

    def _keep_an_admin(self, leaving: Person) -> None:
        others = self._database.row(
            "SELECT 1 FROM people WHERE role = 'admin' AND name <> ? LIMIT 1", (leaving.name,)
        )
        if leaving.role == "admin" and others is None:
            raise ConflictError(
                "last_admin", f"{leaving.name} is the last admin. Make somebody else an admin first."
            )

    # --- browser sessions -----------------------------------------------------------------------------

    def open_session(self, person: Person) -> tuple[str, Session]:
        """A new session: (cookie, session)."""
        cookie, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM sessions WHERE expires_at <= ?", (now,))
            connection.execute(
                "INSERT INTO sessions (id_hash, person, csrf, created_at, expires_at) VALUES (?, ?, ?, ?, ?)",
                (sha256(cookie), person.name, csrf, now, now + SESSION_MS),
            )
            self._events.append("person", person.name, "signed_in", actor=person.name)
        return cookie, Session(person, csrf, now + SESSION_MS)

    def find_session(self, cookie: str) -> Session | None:
        row = self._database.row(
            "SELECT p.name, p.role, s.csrf, s.expires_at FROM sessions s JOIN people p ON p.name = s.person "
            "WHERE s.id_hash = ? AND s.expires_at > ?",
            (sha256(cookie), self._database.now_ms()),
        )
        return (
            Session(Person(row["name"], row["role"]), row["csrf"], row["expires_at"])
            if row is not None
            else None
        )

    def close_session(self, cookie: str) -> None:
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM sessions WHERE id_hash = ?", (sha256(cookie),))


def random_password() -> str:
    """Sixteen characters, 96 random bits."""
    return secrets.token_urlsafe(12)


def _hash(password: str) -> str:
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise InvalidInputError("password", f"A password has {PASSWORD_MIN} to {PASSWORD_MAX} characters.")
    return generate_password_hash(password, method=HASH_METHOD)


def sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


_nobody: list[str] = []


def _nobodys_hash() -> str:
    """A hash no password has, made once: checking it costs what checking a real one costs."""
    if not _nobody:
        _nobody.append(generate_password_hash(secrets.token_urlsafe(32), method=HASH_METHOD))
    return _nobody[0]

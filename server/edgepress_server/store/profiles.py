"""Device profiles of this installation: its own, and its overrides of shipped ones, beside those that ship.

An override is stored under a shipped id and inherits from the shipped profile; deleting it gives the shipped
one back. What a profile stands on must stay: a change that would break another profile, and the deletion of
one that something uses, are refused with the names of who uses it.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import msgspec

from edgepress_devices.profile import (
    DeviceProfile,
    InvalidProfile,
    Lookup,
    Problem,
    UnknownProfile,
    check_profile,
    list_profiles,
    profile_from_text,
    shipped_ids,
    shipped_text,
    validate_profile,
)
from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.store.calibrations import Calibrations, basis_of
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

log = logging.getLogger(__name__)

MAX_PROFILES = 500  # of this installation; each is at most 64 KiB
_NAMED = 5  # users of a profile that a refusal names

Origin = Literal["shipped", "own", "override"]


@dataclass(frozen=True)
class ProfileRow:
    """A stored profile: its text as written, without what it inherits."""

    id: str
    toml: str
    created_at: int  # Unix ms
    updated_at: int
    actor: str | None

    @property
    def origin(self) -> Origin:
        return "override" if self.id in shipped_ids() else "own"


class Profiles:
    def __init__(self, database: Database, events: Events, calibrations: Calibrations) -> None:
        self._database = database
        self._events = events
        self._calibrations = calibrations

    # --- reading --------------------------------------------------------------------------------------

    def resolve(self, profile_id: str) -> DeviceProfile:
        """The profile as it holds here: what it inherits filled in, its active calibration attached.

        Raises NotFoundError with the closest names, InvalidProfile where a stored one does not fit this
        version.
        """
        return self._calibrated(self._filled(profile_id))

    def all(self) -> list[DeviceProfile]:
        """Every profile as it holds here, by id; one that does not fit this version is left out."""
        found = {profile.id: profile for profile in _shipped()}
        for row in self.list():
            try:
                found[row.id] = profile_from_text(row.toml, row.id, self.lookup)
            except InvalidProfile as error:
                found.pop(row.id, None)
                log.warning("a stored profile cannot be used: %s", error)
        return [self._calibrated(found[name]) for name in sorted(found)]

    def list(self) -> list[ProfileRow]:
        """What is stored here, by id: own profiles and overrides."""
        return [_row(row) for row in self._database.rows("SELECT * FROM profiles ORDER BY id")]

    def find(self, profile_id: str) -> ProfileRow | None:
        """What is stored under this id; None also for a shipped one without override."""
        row = self._database.row("SELECT * FROM profiles WHERE id = ?", (profile_id,))
        return None if row is None else _row(row)

    def get_text(self, profile_id: str) -> str:
        """The TOML text, as stored or as shipped. Raises NotFoundError."""
        text = self.lookup(profile_id)
        if text is None:
            raise self._unknown(profile_id)
        return text

    def origin(self, profile_id: str) -> Origin:
        """Raises NotFoundError."""
        row = self.find(profile_id)
        if row is not None:
            return row.origin
        if shipped_text(profile_id) is None:
            raise self._unknown(profile_id)
        return "shipped"

    def lookup(self, profile_id: str) -> str | None:
        """The text under an id, an override before the shipped one: what others inherit from."""
        row = self.find(profile_id)
        return row.toml if row is not None else shipped_text(profile_id)

    def validate(self, text: str) -> Sequence[Problem]:
        """All problems that this text would have here."""
        return validate_profile(text, self.lookup)

    def _filled(self, profile_id: str) -> DeviceProfile:
        text = self.lookup(profile_id)
        if text is None:
            raise self._unknown(profile_id)
        return profile_from_text(text, profile_id, self.lookup)

    def _calibrated(self, profile: DeviceProfile) -> DeviceProfile:
        """With its active calibration, or that of a profile which it stands on and whose figures it has."""
        found = self._calibrations.attach(profile)
        above = profile
        while found.calibration is None and above.inherits is not None and above.inherits != above.id:
            above = self._filled(above.inherits)
            row = self._calibrations.active_row(above.id)
            if row is not None and row.basis == basis_of(profile):
                found = msgspec.structs.replace(profile, calibration=row.calibration)
        return found

    # --- changing -------------------------------------------------------------------------------------

    def put(self, profile_id: str, text: str, *, actor: str | None) -> DeviceProfile:
        """Store a profile, or an override of a shipped one, under its id.

        Raises InvalidProfile with all problems, InvalidInputError where id and text do not belong together,
        ConflictError where another profile that inherits from it would break.
        """
        with self._database.transaction() as connection:
            lookup = self._as_if(profile_id, text)
            profile, problems = check_profile(text, lookup)
            if profile is None:
                raise InvalidProfile(profile_id, problems)
            self._check_id(profile_id, profile)
            self._check_heirs(profile_id, lookup)
            old = self.find(profile_id)
            now = self._database.now_ms()
            if old is None and len(self.list()) >= MAX_PROFILES:
                raise ConflictError(
                    "too_many_profiles", f"There are {MAX_PROFILES} profiles already. Delete some first."
                )
            connection.execute(
                "INSERT INTO profiles (id, toml, created_at, updated_at, actor) VALUES (?, ?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET toml = excluded.toml, updated_at = excluded.updated_at, "
                "actor = excluded.actor",
                (profile_id, text, now, now, actor),
            )
            action = "added" if old is None else "changed"
            self._events.append("profile", profile_id, action, actor=actor, data={"name": profile.name})
            return self.resolve(profile_id)

    def delete(self, profile_id: str, *, actor: str | None) -> None:
        """Take an own profile away, or an override, after which the shipped profile holds again.

        Raises NotFoundError, ConflictError (a shipped one; in use; another profile would break).
        """
        with self._database.transaction() as connection:
            origin = self.origin(profile_id)
            if origin == "shipped":
                raise ConflictError(
                    "profile_shipped",
                    f"{profile_id} ships with edgepress and stays. Devices can be given another profile.",
                )
            if origin == "own":
                users = self._users(profile_id)
                if users:
                    raise ConflictError(
                        "profile_in_use",
                        f"Profile {profile_id} is used by {'; '.join(users)}. Give devices another profile "
                        "and keep it as long as its artifacts, jobs and searches are needed.",
                    )
            self._check_heirs(profile_id, self._as_if(profile_id, shipped_text(profile_id)))
            connection.execute("DELETE FROM profiles WHERE id = ?", (profile_id,))
            self._events.append("profile", profile_id, "deleted", actor=actor)

    # --- checks ---------------------------------------------------------------------------------------

    def _as_if(self, profile_id: str, text: str | None) -> Lookup:
        """`lookup` after a change that is not made yet."""
        return lambda name: text if name == profile_id else self.lookup(name)

    def _check_id(self, profile_id: str, profile: DeviceProfile) -> None:
        if profile.id != profile_id:
            raise InvalidInputError(
                "profile_id",
                f'The text says id = "{profile.id}", the address {profile_id}. Make them the same.',
            )
        if profile_id in shipped_ids() and profile.inherits != profile_id:
            raise InvalidInputError(
                "profile_shipped",
                f"{profile_id} ships with edgepress. To change some of its figures here, say "
                f'inherits = "{profile_id}" and state only those; for another device take another id.',
            )

    def _check_heirs(self, profile_id: str, lookup: Lookup) -> None:
        """Every other stored profile must be one after the change, if it is one now."""
        for row in self.list():
            if row.id == profile_id:
                continue
            after, problems = check_profile(row.toml, lookup)
            if after is None and check_profile(row.toml, self.lookup)[0] is not None:
                raise ConflictError(
                    "profile_inherited",
                    f"Profile {row.id} inherits from {profile_id} and would break: {problems[0]}. "
                    f"Change {row.id} first.",
                )

    def _users(self, profile_id: str) -> Sequence[str]:
        """Who uses a profile, in words."""
        kinds = (
            ("devices", "SELECT name FROM devices WHERE profile = ? AND revoked_at IS NULL ORDER BY name"),
            (
                "artifacts",
                "SELECT substr(digest, 1, 12) AS name FROM artifacts WHERE profile = ? ORDER BY created_at",
            ),
            (
                "jobs",
                "SELECT id AS name FROM jobs WHERE profile = ? AND state IN ('queued', 'running')",
            ),
            (
                "searches",
                "SELECT id AS name FROM searches WHERE profile = ? AND state IN ('queued', 'running')",
            ),
            ("budgets of", "SELECT model AS name FROM budgets WHERE profile = ? ORDER BY model"),
        )
        said = []
        for kind, sql in kinds:
            names = [str(row["name"]) for row in self._database.rows(sql, (profile_id,))]
            if names:
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                said.append(f"{kind} {', '.join(names[:_NAMED])}{more}")
        return said

    def _unknown(self, profile_id: str) -> NotFoundError:
        known = sorted({*shipped_ids(), *(row.id for row in self.list())})
        close = UnknownProfile(profile_id, known).close
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        return NotFoundError(
            "profile_unknown",
            f"There is no device profile {profile_id[:80]!r}. {hint}Known: {', '.join(known)}.",
        )


@lru_cache(maxsize=1)
def _shipped() -> tuple[DeviceProfile, ...]:
    return tuple(list_profiles())


def _row(row: sqlite3.Row) -> ProfileRow:
    return ProfileRow(**dict(row))

"""Releases: artifacts of one model, at most one per profile, vouched for by the release key.

::

    create --enough release keys here--> signed ---------------> withdrawn
           --else--> awaiting_signature --signatures come--> signed

What a release names never changes. Its counter grows by one from release to release; a device refuses to go
below the counter it ran, so going back to older weights is a new release with the same artifacts
(`create_rollback`). Nobody is told to install a withdrawn release; devices that run it keep running it.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import msgspec
from tuf.api.metadata import Metadata, Targets

from edgepress_devices.protocol import chunk_count
from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.trust.keys import Keys
from edgepress_server.trust.seal import new_content_key
from edgepress_server.trust.statement import add_signatures, encode, release_statement

ReleaseState = Literal["awaiting_signature", "signed", "withdrawn"]
WITHDRAWN_REASON_MAX_CHARS: Final = 500
_COLUMNS: Final = (
    "id, model, counter, note, created_at, actor, state, withdrawn_at, withdrawn_reason, rollback, "
    "standby_for"
)


class Release(msgspec.Struct, frozen=True):
    id: str
    model: str
    counter: int
    artifacts: dict[str, str]  # profile -> digest
    note: str
    created_at: int  # Unix ms
    actor: str | None = None
    state: ReleaseState = "signed"
    signatures: int = 0  # that its statements carry, the fewest
    withdrawn_at: int | None = None  # Unix ms
    withdrawn_reason: str = ""
    rollback: bool = False  # goes back to artifacts of before, on purpose
    standby_for: str | None = None  # release that this rollback was made ready for


class Releases:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    # --- what people and the server do --------------------------------------------------------------------

    def create(
        self,
        keys: Keys,
        *,
        model: str,
        digests: Sequence[str],
        note: str = "",
        actor: str | None = None,
        rollback: bool = False,
        standby_for: str | None = None,
    ) -> Release:
        """Make a release of these artifacts: signed at once where enough release keys are here.

        Raises InvalidInputError (none, another model's, two of one profile), NotFoundError (artifact).
        """
        if not digests:
            raise InvalidInputError("no_artifacts", "A release needs at least one artifact; compress first.")
        release_id = secrets.token_hex(6)
        with self._database.transaction() as connection:
            profiles = self._profiles(model, digests)
            row = self._database.row("SELECT coalesce(max(counter), 0) + 1 AS next FROM releases")
            counter = int(row["next"]) if row is not None else 1
            state: ReleaseState = "signed" if keys.signs_releases else "awaiting_signature"
            connection.execute(
                "INSERT INTO releases (id, model, counter, note, created_at, actor, state, rollback,"
                " standby_for) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    release_id,
                    model,
                    counter,
                    note,
                    self._database.now_ms(),
                    actor,
                    state,
                    int(rollback),
                    standby_for,
                ),
            )
            for profile, digest in profiles.items():
                statement = self.unsigned_statement(digest, counter)
                add_signatures(statement, keys.release[: keys.threshold("release")])
                connection.execute(
                    "INSERT INTO release_artifacts (release, profile, digest, statement) VALUES (?, ?, ?, ?)",
                    (release_id, profile, digest, encode(statement)),
                )
            self._events.append(
                "release", release_id, "created", actor=actor, data={"model": model, "state": state}
            )
        return self.get(release_id)

    def create_rollback(
        self,
        keys: Keys,
        *,
        model: str,
        digests: Sequence[str],
        note: str = "",
        actor: str | None = None,
        of: str | None = None,
    ) -> Release:
        """Older artifacts under the next counter, so that devices which refuse to go below theirs take them.

        ``of``: the release that devices go back from. Where a rollback with these artifacts was signed for it
        beforehand, that one is taken: a release key that is offline then holds nobody up. Raises as `create`.
        """
        with self._database.transaction() as connection:
            standby = None if of is None else self._standby(of, digests)
            if standby is None:
                return self.create(keys, model=model, digests=digests, note=note, actor=actor, rollback=True)
            connection.execute(
                "UPDATE releases SET standby_for = NULL, note = ? WHERE id = ?", (note, standby.id)
            )
            self._events.append("release", standby.id, "used", actor=actor, data={"model": model})
            return self.get(standby.id)

    def create_standby(self, keys: Keys, release_id: str, *, actor: str | None = None) -> Release | None:
        """A rollback from a release to what its profiles run now, to be signed together with it.

        A release has artifacts of one model: where profiles run several, of that which most devices run. None
        where there was nothing before. Raises NotFoundError, ConflictError (one stands by already).
        """
        with self._database.transaction():
            release = self.get(release_id)
            if self.standby_of(release_id) is not None:
                raise ConflictError("has_standby", f"A rollback of release {release_id} stands by already.")
            before = [row for profile in release.artifacts if (row := self._before(release, profile))]
            if not before:
                return None
            model = max(before, key=lambda row: int(row["devices"]))["model"]
            return self.create(
                keys,
                model=model,
                digests=[row["digest"] for row in before if row["model"] == model],
                note=f"rollback of release {release.counter}, made ready beforehand",
                actor=actor,
                rollback=True,
                standby_for=release_id,
            )

    def standby_of(self, release_id: str) -> Release | None:
        """The rollback that stands by for a release, signed or not."""
        return next(iter(self._read("WHERE standby_for = ?", (release_id,))), None)

    def _before(self, release: Release, profile: str) -> sqlite3.Row | None:
        """What most devices of a profile run, of what was ever released; else what was released last."""
        return self._database.row(
            "SELECT a.digest, r.model, count(d.name) AS devices, max(r.counter) AS counter"
            " FROM release_artifacts a JOIN releases r ON r.id = a.release"
            " LEFT JOIN devices d ON d.profile = a.profile AND d.revoked_at IS NULL"
            " AND json_extract(d.state, '$.running') = a.digest"
            " WHERE a.profile = ? AND a.digest <> ? AND r.counter < ? AND r.standby_for IS NULL"
            " AND r.state <> 'awaiting_signature'"
            " GROUP BY a.digest HAVING devices > 0 OR r.model = ?"
            " ORDER BY devices DESC, counter DESC LIMIT 1",
            (profile, release.artifacts[profile], release.counter, release.model),
        )

    def withdraw(self, release_id: str, *, reason: str = "", actor: str | None = None) -> Release:
        """Nobody gets it any more; devices that run it keep running it. Raises NotFoundError, "
        "ConflictError."""
        with self._database.transaction() as connection:
            if self.get(release_id).state == "withdrawn":
                raise ConflictError("withdrawn", f"Release {release_id} was withdrawn before.")
            connection.execute(
                "UPDATE releases SET state = 'withdrawn', withdrawn_at = ?, withdrawn_reason = ? "
                "WHERE id = ?",
                (self._database.now_ms(), reason[:WITHDRAWN_REASON_MAX_CHARS], release_id),
            )
            self._events.append("release", release_id, "withdrawn", actor=actor, data={"reason": reason})
        return self.get(release_id)

    # --- reading ------------------------------------------------------------------------------------------

    def get(self, release_id: str) -> Release:
        """Raises NotFoundError."""
        found = self._read("WHERE id = ?", (release_id,))
        if not found:
            raise NotFoundError(
                "no_such_release", f"There is no release {release_id!r}; `edgepress release list` shows them."
            )
        return found[0]

    def statement(self, release_id: str, digest: str) -> str:
        """What the release key signed for an artifact of a release.

        Raises NotFoundError, ConflictError where the release is not signed (yet, or any more).
        """
        row = self._database.row(
            "SELECT a.statement, r.state, r.withdrawn_reason FROM release_artifacts a"
            " JOIN releases r ON r.id = a.release WHERE a.release = ? AND a.digest = ?",
            (release_id, digest),
        )
        if row is None:
            raise NotFoundError("not_in_release", f"Release {release_id} has no artifact {digest[:12]}.")
        if row["state"] == "awaiting_signature":
            raise ConflictError(
                "release_not_signed",
                f"Release {release_id} waits for the release key: edgepress keys export {release_id}, sign "
                "where the key is, then edgepress keys import.",
            )
        if row["state"] == "withdrawn":
            why = f": {row['withdrawn_reason']}" if row["withdrawn_reason"] else ""
            raise ConflictError("release_withdrawn", f"Release {release_id} was withdrawn{why}.")
        return str(row["statement"])

    def statements(self, release_id: str) -> dict[str, str]:
        """digest -> statement as far as it is signed, whatever the release's state."""
        rows = self._database.rows(
            "SELECT digest, statement FROM release_artifacts WHERE release = ? ORDER BY profile",
            (release_id,),
        )
        return {row["digest"]: row["statement"] for row in rows}

    def unsigned_statement(self, digest: str, counter: int) -> Metadata[Targets]:
        """What the release key would have to sign now for an artifact. Raises NotFoundError, "
        "ConflictError."""
        model, profile, size = self._artifact(digest)
        return release_statement(
            digest=digest,
            size=size,
            chunks=chunk_count(size),
            profile=profile,
            model=model,
            release_counter=counter,
            now=datetime.fromtimestamp(self._database.now_ms() / 1000, UTC),
        )

    def content_key(self, digest: str) -> bytes:
        """The AES-256 key of an artifact's chunks: drawn once, then always the same."""
        with self._database.transaction() as connection:
            row = self._database.row("SELECT key FROM content_keys WHERE digest = ?", (digest,))
            if row is not None:
                return bytes(row["key"])
            key = new_content_key()
            connection.execute(
                "INSERT INTO content_keys (digest, key, created_at) VALUES (?, ?, ?)",
                (digest, key, self._database.now_ms()),
            )
            return key

    def artifact_bytes(self, digest: str) -> int:
        """Size of the whole artifact. Raises NotFoundError."""
        return self._artifact(digest)[2]

    # --- inside -------------------------------------------------------------------------------------------

    def _profiles(self, model: str, digests: Sequence[str]) -> dict[str, str]:
        """profile -> digest. Raises as `create`."""
        profiles: dict[str, str] = {}
        for digest in digests:
            artifact_model, profile, _ = self._artifact(digest)
            if artifact_model != model:
                raise InvalidInputError(
                    "another_model",
                    f"Artifact {digest[:12]} was made from model {artifact_model}, not {model}.",
                )
            if profiles.setdefault(profile, digest) != digest:
                raise InvalidInputError(
                    "two_artifacts_for_profile",
                    f"Artifacts {profiles[profile][:12]} and {digest[:12]} are both for profile "
                    f"{profile}; a release has one for each.",
                )
        return profiles

    def _standby(self, release_id: str, digests: Sequence[str]) -> Release | None:
        """The rollback that was signed beforehand, where it has these artifacts."""
        ready = self._read("WHERE standby_for = ? AND state = 'signed'", (release_id,))
        return next((r for r in ready if set(digests) <= set(r.artifacts.values())), None)

    def _artifact(self, digest: str) -> tuple[str, str, int]:
        row = self._database.row("SELECT model, profile, bytes FROM artifacts WHERE digest = ?", (digest,))
        if row is None:
            raise NotFoundError(
                "no_such_artifact",
                f"There is no artifact {digest[:80]!r}; `edgepress artifact list` shows them.",
            )
        if row["bytes"] <= 0:
            raise ConflictError("empty_artifact", f"Artifact {digest[:12]} is empty; compress again.")
        return str(row["model"]), str(row["profile"]), int(row["bytes"])

    def _read(self, where: str, parameters: tuple[str | int, ...]) -> list[Release]:
        with self._database.snapshot():
            rows = self._database.rows(
                f"SELECT {_COLUMNS} FROM releases {where}",  # noqa: S608 - constants of this file
                parameters,
            )
            return [self._release(dict(row)) for row in rows]

    def _release(self, columns: dict[str, object]) -> Release:
        artifacts = self._database.rows(
            "SELECT profile, digest, json_array_length(statement, '$.signatures') AS signatures"
            " FROM release_artifacts WHERE release = ? ORDER BY profile",
            (columns["id"],),
        )
        columns["artifacts"] = {row["profile"]: row["digest"] for row in artifacts}
        columns["signatures"] = min((row["signatures"] for row in artifacts), default=0)
        columns["rollback"] = bool(columns["rollback"])
        return msgspec.convert(columns, Release)

    def list(self, limit: int = 200) -> list[Release]:
        """The newest first; -1: all. (Here at the end: below it, `list` is no type.)"""
        return self._read("ORDER BY counter DESC LIMIT ?", (limit,))

"""Releases: artifacts of one model, at most one per profile, vouched for by the release key.

A release never changes. Its counter grows by one from release to release; a device refuses to go below the
counter it ran, so going back to older weights is a new release with the same artifacts.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import msgspec

from edgepress_devices.protocol import Limits, chunk_count
from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.trust.keys import Keys
from edgepress_server.trust.seal import new_content_key
from edgepress_server.trust.statement import sign_statement


class Release(msgspec.Struct, frozen=True):
    id: str
    model: str
    counter: int
    artifacts: dict[str, str]  # profile -> digest
    note: str
    created_at: int  # Unix ms
    actor: str | None = None


class Releases:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def create(
        self, keys: Keys, *, model: str, digests: Sequence[str], note: str = "", actor: str | None = None
    ) -> Release:
        """Sign a release of these artifacts.

        Raises InvalidInputError (none, another model's, two of one profile), NotFoundError (artifact).
        """
        if not digests:
            raise InvalidInputError("no_artifacts", "A release needs at least one artifact; compress first.")
        release_id = secrets.token_hex(6)
        with self._database.transaction() as connection:
            found = [self._artifact(digest) for digest in digests]
            profiles: dict[str, str] = {}
            for digest, (artifact_model, profile, _) in zip(digests, found, strict=True):
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
            row = self._database.row("SELECT coalesce(max(counter), 0) + 1 AS next FROM releases")
            counter = int(row["next"]) if row is not None else 1
            now = self._database.now_ms()
            connection.execute(
                "INSERT INTO releases (id, model, counter, note, created_at, actor)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (release_id, model, counter, note, now, actor),
            )
            for digest in profiles.values():
                connection.execute(
                    "INSERT INTO release_artifacts (release, profile, digest, statement) VALUES (?, ?, ?, ?)",
                    (release_id, self._artifact(digest)[1], digest, self._sign(keys, digest, counter, None)),
                )
            self._events.append("release", release_id, "created", actor=actor, data={"model": model})
        return self.get(release_id)

    def get(self, release_id: str) -> Release:
        """Raises NotFoundError."""
        found = self._read("WHERE id = ?", (release_id,))
        if not found:
            raise NotFoundError(
                "no_such_release", f"There is no release {release_id!r}; `edgepress release list` shows them."
            )
        return found[0]

    def statement(self, release_id: str, digest: str) -> str:
        """What the release key signed for an artifact of a release. Raises NotFoundError."""
        row = self._database.row(
            "SELECT statement FROM release_artifacts WHERE release = ? AND digest = ?", (release_id, digest)
        )
        if row is None:
            raise NotFoundError("not_in_release", f"Release {release_id} has no artifact {digest[:12]}.")
        return str(row["statement"])

    def sign_with_limits(self, keys: Keys, release: Release, digest: str, limits: Limits) -> str:
        """A statement of the same release and counter that also limits the trial on the device."""
        return self._sign(keys, digest, release.counter, limits)

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

    def _sign(self, keys: Keys, digest: str, counter: int, limits: Limits | None) -> str:
        model, profile, size = self._artifact(digest)
        return sign_statement(
            keys,
            digest=digest,
            size=size,
            chunks=chunk_count(size),
            profile=profile,
            model=model,
            release_counter=counter,
            limits=limits,
        )

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
                f"SELECT id, model, counter, note, created_at, actor FROM releases {where}",  # noqa: S608 - constants above
                parameters,
            )
            return [Release(**dict(row), artifacts=self._artifacts_of(row["id"])) for row in rows]

    def _artifacts_of(self, release_id: str) -> dict[str, str]:
        rows = self._database.rows(
            "SELECT profile, digest FROM release_artifacts WHERE release = ? ORDER BY profile", (release_id,)
        )
        return {row["profile"]: row["digest"] for row in rows}

    def list(self, limit: int = 200) -> list[Release]:
        """The newest first."""
        return self._read("ORDER BY counter DESC LIMIT ?", (limit,))

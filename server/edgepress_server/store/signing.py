"""Signatures that come from elsewhere, and what follows from a change of the keys.

A release key on another machine signs what `items` gives out; `take` checks what comes back against what
was asked for and keeps it. `follow` is called with the newest keys: what they no longer vouch for is signed
again, or waits until somebody does, and the orders of devices are signed again under the keys that they are
checked with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from securesystemslib.exceptions import UnverifiedSignatureError
from tuf.api.metadata import Metadata, Targets

from edgepress_devices.protocol import chunk_count
from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events
from edgepress_server.store.releases import Release, Releases
from edgepress_server.trust.bundle import Item, read_targets
from edgepress_server.trust.keys import KEYID_CHARS, Keys
from edgepress_server.trust.roots import role_keyids
from edgepress_server.trust.statement import (
    STATEMENT_LIFETIME,
    add_signatures,
    delta_statement,
    encode,
    read_statement,
    valid_signatures,
)

RENEW_BEFORE: Final = timedelta(days=180)  # a statement that ends within that is signed again


class Taken(msgspec.Struct, frozen=True):
    """What an import brought about."""

    release: str
    counter: int
    signatures: int  # of the statement that has fewest
    needed: int
    deltas: int = 0  # that may be offered now


class Signing:
    def __init__(self, database: Database, events: Events, releases: Releases) -> None:
        self._database = database
        self._events = events
        self._releases = releases

    # --- signatures from another machine ------------------------------------------------------------------

    def waiting(self) -> Sequence[Release]:
        """Releases that wait for signatures, the oldest first."""
        return [r for r in reversed(self._releases.list()) if r.state == "awaiting_signature"]

    def items(self, keys: Keys, release_id: str) -> list[Item]:
        """What a release needs signed: its statements, and its deltas that nobody has signed. Raises
        NotFoundError, ConflictError (nothing to sign, withdrawn).
        """
        release = self._releases.get(release_id)
        if release.state == "withdrawn":
            raise ConflictError("withdrawn", f"Release {release_id} was withdrawn; nobody will get it.")
        items: list[Item] = []
        if release.state == "awaiting_signature":
            items += [
                Item("release", json.loads(text), release_id)
                for text in self._releases.statements(release_id).values()
            ]
        items += [Item("delta", delta.to_dict(), release_id) for delta in self._unsigned_deltas(release)]
        if not items:
            raise ConflictError("nothing_to_sign", f"Release {release_id} and its deltas are signed already.")
        return items

    def take(self, keys: Keys, release_id: str, items: Sequence[Item]) -> Taken:
        """Keep the signatures of these items of one release.

        Raises InvalidInputError where an item is not what was asked for, or a signature is not good or not
        by a release key; then nothing is kept. Raises NotFoundError, ConflictError.
        """
        with self._database.transaction() as connection:
            release = self._releases.get(release_id)
            if release.state == "withdrawn":
                raise ConflictError("withdrawn", f"Release {release_id} was withdrawn; nobody will get it.")
            needed, deltas = keys.threshold("release"), 0
            for item in items:
                if item.kind == "delta":
                    deltas += self._take_delta(keys, release, read_targets(item))
                elif item.kind == "release" and release.state == "awaiting_signature":
                    self._take_statement(keys, release, read_targets(item))
            have = min(
                (
                    valid_signatures(keys, read_statement(text))
                    for text in self._releases.statements(release_id).values()
                ),
                default=0,
            )
            if release.state == "awaiting_signature" and have >= needed:
                connection.execute("UPDATE releases SET state = 'signed' WHERE id = ?", (release_id,))
                self._sign_wants_again("release = ?", (release_id,))
                self._events.append("release", release_id, "signed", data={"model": release.model})
            return Taken(release_id, release.counter, have, needed, deltas)

    def _take_statement(self, keys: Keys, release: Release, came: Metadata[Targets]) -> None:
        digest = next(iter(came.signed.targets))
        text = self._releases.statements(release.id).get(digest)
        if text is None:
            raise InvalidInputError(
                "not_asked_for", f"Release {release.id} has no artifact {digest[:12]}; nothing was imported."
            )
        asked = read_statement(text)
        if asked.signed_bytes != came.signed_bytes:
            raise InvalidInputError(
                "not_asked_for",
                f"What was signed for artifact {digest[:12]} is not what this server asked for; "
                "nothing was imported. "
                "Export the release again and sign that.",
            )
        _check_signatures(keys, came)
        both = {**asked.signatures, **came.signatures}
        named = role_keyids(keys.root.signed, "release")  # a key may have gone since it signed
        kept = [keyid for keyid in named if keyid in both][: keys.threshold("release")]
        asked.signatures = {keyid: both[keyid] for keyid in kept}
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE release_artifacts SET statement = ? WHERE release = ? AND digest = ?",
                (encode(asked), release.id, digest),
            )

    def _take_delta(self, keys: Keys, release: Release, came: Metadata[Targets]) -> int:
        """1 where the delta may be offered now. A delta's signatures are only kept when they are enough."""
        digest, target = next(iter(came.signed.targets.items()))
        row = self._database.row(
            "SELECT d.* FROM deltas d JOIN release_artifacts a ON a.digest = d.full AND a.release = ?"
            " WHERE d.digest = ? AND d.state = 'ready'",
            (release.id, digest),
        )
        if row is None:
            raise NotFoundError("no_such_delta", f"Release {release.id} has no delta {digest[:12]}.")
        asked = self._delta(release, dict(row), came.signed.expires - STATEMENT_LIFETIME)
        now = datetime.fromtimestamp(self._database.now_ms() / 1000, UTC)
        if (
            asked.signed_bytes != came.signed_bytes
            or not now < came.signed.expires <= now + STATEMENT_LIFETIME + timedelta(days=1)
            or target.length != row["bytes"]
        ):
            raise InvalidInputError(
                "not_asked_for",
                f"What was signed for delta {digest[:12]} is not what this server asked for; nothing "
                "was imported.",
            )
        _check_signatures(keys, came)
        if valid_signatures(keys, came) < keys.threshold("release"):
            return 0
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO delta_statements (release, digest, statement) VALUES (?, ?, ?)",
                (release.id, digest, encode(came)),
            )
        return 1

    def _unsigned_deltas(self, release: Release) -> list[Metadata[Targets]]:
        rows = self._database.rows(
            "SELECT d.* FROM deltas d JOIN release_artifacts a ON a.digest = d.full"
            " LEFT JOIN delta_statements s ON s.release = a.release AND s.digest = d.digest"
            " WHERE a.release = ? AND d.state = 'ready' AND s.digest IS NULL ORDER BY d.digest",
            (release.id,),
        )
        now = datetime.fromtimestamp(self._database.now_ms() / 1000, UTC)
        return [self._delta(release, dict(row), now) for row in rows]

    def _delta(self, release: Release, row: dict[str, object], now: datetime) -> Metadata[Targets]:
        said = msgspec.convert(row, _DeltaRow)
        profile = next(p for p, digest in release.artifacts.items() if digest == said.full)
        return delta_statement(
            digest=said.digest,
            size=said.bytes,
            chunks=chunk_count(said.bytes),
            profile=profile,
            model=release.model,
            base=said.base,
            full=said.full,
            onnx_sha256=said.onnx_sha256,
            onnx_bytes=said.onnx_bytes,
            release_counter=release.counter,
            now=now,
        )

    # --- after a change of the keys -----------------------------------------------------------------------

    def follow(self, keys: Keys) -> int:
        """Bring releases and orders in line with the newest root; how many releases changed.

        Called by whoever signs, at its start and when the keys changed; a second call finds nothing to do.
        Where the release keys are here, statements that they no longer vouch for, or that end soon, are
        signed again. Where they are elsewhere, such a release waits for its signatures. Orders are signed
        again by the engine's next refresh: all of them under a new director key, else those of releases
        that were signed again.
        """
        with self._database.snapshot():
            outdated = [r for r in self._releases.list(limit=-1) if self._is_outdated(keys, r)]
        for release in outdated:
            self._begin_again(keys, release)
        self._drop_outdated_deltas(keys)
        with self._database.transaction():
            self._sign_wants_again(
                "json_extract(CAST(payload AS TEXT), '$.signatures[0].keyid') <> ?",
                (keys.director.public_key.keyid,),
            )
        return len(outdated)

    def _is_outdated(self, keys: Keys, release: Release) -> bool:
        now = datetime.fromtimestamp(self._database.now_ms() / 1000, UTC)
        statements = [read_statement(text) for text in self._releases.statements(release.id).values()]
        ends = min(statement.signed.expires for statement in statements)
        if release.state == "awaiting_signature":
            return keys.signs_releases or ends < now
        if release.state == "withdrawn" and not keys.signs_releases:
            return False  # nobody is asked to sign it
        if keys.signs_releases and ends < now + RENEW_BEFORE:
            return True
        needed = keys.threshold("release")
        return ends < now or any(valid_signatures(keys, statement) < needed for statement in statements)

    def _begin_again(self, keys: Keys, release: Release) -> None:
        """New statements of the same release: signed where the keys are here, else waiting."""
        state = "signed" if keys.signs_releases else "awaiting_signature"
        with self._database.transaction() as connection:
            for digest in release.artifacts.values():
                statement = self._releases.unsigned_statement(digest, release.counter)
                add_signatures(statement, keys.release[: keys.threshold("release")])
                connection.execute(
                    "UPDATE release_artifacts SET statement = ? WHERE release = ? AND digest = ?",
                    (encode(statement), release.id, digest),
                )
            connection.execute(
                "UPDATE releases SET state = ? WHERE id = ? AND state <> 'withdrawn'", (state, release.id)
            )
            connection.execute("DELETE FROM delta_statements WHERE release = ?", (release.id,))
            if state == "signed":
                self._sign_wants_again("release = ?", (release.id,))
            if release.state not in (state, "withdrawn"):
                self._events.append("release", release.id, state, data={"model": release.model})

    def _drop_outdated_deltas(self, keys: Keys) -> None:
        """A delta may have been signed by another key than its release, or earlier: what vouches for it no
        more is offered to nobody, and waits for a signature as at first. A device would refuse the whole
        order.
        """
        now = datetime.fromtimestamp(self._database.now_ms() / 1000, UTC)
        needed = keys.threshold("release")
        with self._database.transaction() as connection:
            for row in self._database.rows("SELECT release, digest, statement FROM delta_statements"):
                statement = read_statement(row["statement"])
                if valid_signatures(keys, statement) >= needed and statement.signed.expires > now:
                    continue
                key = (row["release"], row["digest"])
                connection.execute("DELETE FROM delta_statements WHERE release = ? AND digest = ?", key)
                self._sign_wants_again("release = ? AND delta = ?", key)

    def _sign_wants_again(self, where: str, parameters: tuple[str, ...]) -> None:
        """The engine's next refreshes sign them under the newest keys."""
        with self._database.transaction() as connection:
            connection.execute(f"UPDATE wants SET outdated = 1 WHERE {where}", parameters)  # noqa: S608


class _DeltaRow(msgspec.Struct, frozen=True):
    digest: str
    bytes: int
    base: str
    full: str
    onnx_sha256: str
    onnx_bytes: int


def _check_signatures(keys: Keys, came: Metadata[Targets]) -> None:
    """Every one is good, and by a release key. Raises InvalidInputError."""
    root = keys.root.signed
    allowed = role_keyids(root, "release")
    if not came.signatures:
        raise InvalidInputError(
            "not_signed", "The bundle came back without a signature: run keys sign first."
        )
    for keyid, signature in came.signatures.items():
        if keyid not in allowed:
            raise InvalidInputError(
                "not_a_release_key",
                f"Key {keyid[:KEYID_CHARS]} is no release key of this server; nothing was imported.",
            )
        try:
            root.keys[keyid].verify_signature(signature, came.signed_bytes)
        except UnverifiedSignatureError as error:
            raise InvalidInputError(
                "bad_signature",
                f"The signature of key {keyid[:KEYID_CHARS]} is not good; nothing was imported.",
            ) from error

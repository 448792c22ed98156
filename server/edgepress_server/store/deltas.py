"""Deltas: what changes from one artifact's model to another's of the same profile, made once for every pair.

::

    wanted --the worker makes it--> ready     signed for each release that it may serve
                                --> useless   hardly smaller than the artifact itself: never offered
                                --> failed    after ATTEMPTS tries; the artifact itself is sent

Wanted is what devices run now when a release is rolled out to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from edgepress_server.errors import NotFoundError
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

DeltaState = Literal["wanted", "ready", "useless", "failed"]
WORTH: Final = 0.8  # of the artifact's bytes: a larger delta is not worth its trouble on the device
BASES_PER_ARTIFACT: Final = 4  # those that most devices run
ATTEMPTS: Final = 3
SIGNED_WITHIN_MS: Final = 5_000  # by a release key that is here; one that is elsewhere is not waited for


class Delta(msgspec.Struct, frozen=True):
    base: str  # digest of the artifact that a device runs
    full: str  # digest of the artifact that it stands for
    state: DeltaState
    digest: str | None  # of the delta's file, among the blobs
    bytes: int | None
    onnx_sha256: str | None
    onnx_bytes: int | None
    message: str
    attempts: int
    created_at: int  # Unix ms
    made_at: int | None


class SignedDelta(msgspec.Struct, frozen=True):
    """What a device is offered."""

    digest: str
    bytes: int
    base: str
    statement: str


class Deltas:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events

    def want_for(self, release_id: str) -> int:
        """Ask for the deltas from what devices run now to the artifacts of a release; how many are new.

        Of each artifact from the bases that most devices run, as far as the models take the same inputs: a
        model's next version is a model of another name. What has nothing in common turns out useless.
        """
        rows = self._database.rows(
            "SELECT ra.digest AS full, json_extract(d.state, '$.running') AS base, count(*) AS n"
            " FROM release_artifacts ra JOIN devices d ON d.profile = ra.profile"
            " JOIN artifacts b ON b.digest = json_extract(d.state, '$.running')"
            " JOIN artifacts f ON f.digest = ra.digest AND f.digest <> b.digest"
            " JOIN models mb ON mb.name = b.model"
            " JOIN models mf ON mf.name = f.model AND mf.inputs = mb.inputs"
            " WHERE ra.release = ? AND d.revoked_at IS NULL AND d.state IS NOT NULL"
            " GROUP BY ra.digest, base ORDER BY ra.digest, n DESC, base",
            (release_id,),
        )
        taken: dict[str, int] = {}
        new = 0
        with self._database.transaction() as connection:
            for row in rows:
                taken[row["full"]] = taken.get(row["full"], 0) + 1
                if taken[row["full"]] > BASES_PER_ARTIFACT:
                    continue
                new += connection.execute(
                    "INSERT OR IGNORE INTO deltas (base, full, state, created_at) VALUES (?, ?, 'wanted', ?)",
                    (row["base"], row["full"], self._database.now_ms()),
                ).rowcount
        return new

    def get(self, base: str, full: str) -> Delta:
        """Raises NotFoundError."""
        row = self._database.row("SELECT * FROM deltas WHERE base = ? AND full = ?", (base, full))
        if row is None:
            raise NotFoundError("no_such_delta", f"There is no delta from {base[:12]} to {full[:12]}.")
        return Delta(**dict(row))

    def next_wanted(self) -> Delta | None:
        """The oldest that nobody has made yet."""
        row = self._database.row("SELECT * FROM deltas WHERE state = 'wanted' ORDER BY created_at LIMIT 1")
        return None if row is None else Delta(**dict(row))

    def pending(self, release_id: str) -> int:
        """Deltas to artifacts of this release that are still being made, or are about to be signed."""
        row = self._database.row(
            "SELECT count(*) AS n FROM deltas d JOIN release_artifacts a ON a.digest = d.full"
            " WHERE a.release = ? AND (d.state = 'wanted' OR d.state = 'ready' AND d.made_at > ?"
            " AND NOT EXISTS (SELECT 1 FROM delta_statements s"
            " WHERE s.release = a.release AND s.digest = d.digest))",
            (release_id, self._database.now_ms() - SIGNED_WITHIN_MS),
        )
        return 0 if row is None else int(row["n"])

    def list_for(self, release_id: str) -> Sequence[Delta]:
        """The deltas to artifacts of this release."""
        rows = self._database.rows(
            "SELECT d.* FROM deltas d JOIN release_artifacts a ON a.digest = d.full"
            " WHERE a.release = ? ORDER BY d.full, d.base",
            (release_id,),
        )
        return [Delta(**dict(row)) for row in rows]

    # --- what the worker does -----------------------------------------------------------------------------

    def made(
        self, base: str, full: str, *, digest: str, size: int, onnx_sha256: str, onnx_bytes: int
    ) -> None:
        """The delta's file lies among the blobs; ``size``: its bytes."""
        with self._database.transaction() as connection:
            row = self._database.row("SELECT bytes FROM artifacts WHERE digest = ?", (full,))
            whole = 0 if row is None else int(row["bytes"])
            state, message = "ready", ""
            if size > WORTH * whole:
                state, message = "useless", f"{size} bytes, the artifact itself has {whole}"
            connection.execute(
                "UPDATE deltas SET state = ?, message = ?, digest = ?, bytes = ?, onnx_sha256 = ?,"
                " onnx_bytes = ?, made_at = ? WHERE base = ? AND full = ?",
                (
                    state,
                    message,
                    digest,
                    size,
                    onnx_sha256,
                    onnx_bytes,
                    self._database.now_ms(),
                    base,
                    full,
                ),
            )
            self._events.append("artifact", full, "delta", data={"base": base, "bytes": size, "state": state})

    def attempted(self, base: str, full: str, reason: str, *, final: bool = False) -> None:
        """A try came to nothing: the next one follows, up to ATTEMPTS."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE deltas SET attempts = attempts + 1, message = ?,"
                " state = CASE WHEN ? OR attempts + 1 >= ? THEN 'failed' ELSE state END"
                " WHERE base = ? AND full = ? AND state = 'wanted'",
                (reason[:500], final, ATTEMPTS, base, full),
            )
            # A rollout may wait for it.
            self._events.append("artifact", full, "delta", data={"base": base, "reason": reason[:500]})

    def unsigned(self) -> Sequence[tuple[str, Delta]]:
        """(release, delta) that may be offered once the release key has signed it: newest release first."""
        rows = self._database.rows(
            "SELECT a.release AS for_release, d.* FROM deltas d JOIN release_artifacts a ON a.digest = d.full"
            " JOIN releases r ON r.id = a.release"
            " LEFT JOIN delta_statements s ON s.release = a.release AND s.digest = d.digest"
            " WHERE d.state = 'ready' AND s.digest IS NULL ORDER BY r.counter DESC LIMIT 200"
        )
        found = []
        for row in rows:
            columns = dict(row)
            found.append((str(columns.pop("for_release")), Delta(**columns)))
        return found

    def put_statement(self, release_id: str, digest: str, statement: str) -> None:
        """What the release key signed of a delta, for one release."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO delta_statements (release, digest, statement) VALUES (?, ?, ?)",
                (release_id, digest, statement),
            )

    # --- what the director and the link read --------------------------------------------------------------

    def offer(self, release_id: str, full: str, base: str) -> SignedDelta | None:
        """The delta that brings a device from ``base`` to ``full``; None: none that is signed."""
        row = self._database.row(
            "SELECT d.digest, d.bytes, d.base, s.statement FROM deltas d JOIN delta_statements s"
            " ON s.digest = d.digest AND s.release = ? WHERE d.full = ? AND d.base = ? AND d.state = 'ready'",
            (release_id, full, base),
        )
        return None if row is None else SignedDelta(**dict(row))

    def is_offered(self, digest: str, full: str) -> bool:
        """Whether this file is a delta that stands for ``full``."""
        row = self._database.row(
            "SELECT 1 FROM deltas WHERE digest = ? AND full = ? AND state = 'ready'", (digest, full)
        )
        return row is not None

    def in_use(self) -> set[str]:
        """Deltas that devices of a rollout which is not over still fetch."""
        rows = self._database.rows(
            "SELECT DISTINCT w.delta FROM wants w JOIN rollouts r ON r.id = w.rollout"
            " JOIN rollout_devices d ON d.rollout = w.rollout AND d.device = w.device"
            " WHERE w.delta IS NOT NULL AND r.state NOT IN ('draft', 'done', 'aborted')"
            " AND d.state IN ('waiting', 'wanted', 'fetching')"
        )
        return {row["delta"] for row in rows}

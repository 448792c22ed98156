"""Inputs that devices sent under a privacy policy: kept for a week, looked at by name, gone for good after.

What is deleted is written over with zeros in the file (SQLite's secure_delete), so that it does not lie in
free pages. A device without a policy has nothing kept, whatever it sends.
"""

from __future__ import annotations

import math
import secrets
import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgepress_devices.protocol import InputSample
from edgepress_server.errors import NotFoundError, StoreError
from edgepress_server.store.database import Database
from edgepress_server.store.sampling import SamplingPolicies

KEPT_MS: Final = 7 * 24 * 3_600_000
PER_DEVICE_MAX: Final = 1000
BYTES_MAX: Final = 1_000_000_000  # of all devices together, as stored
ARRAY_MAX_BYTES: Final = 16 << 20  # of one input, unpacked
DTYPES: Final = frozenset(f"float{bits}" for bits in (16, 32, 64)) | frozenset(
    ["bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))]
)
_WHY: Final = ("random", "low confidence", "drift")
_COLUMNS: Final = "id, device, received_at, at, artifact, why, name, dtype, shape, label, confidence, bytes"
_PRUNE_ROWS: Final = 500


@dataclass(frozen=True)
class SampledInput:
    id: str
    device: str
    received_at: int  # Unix ms, server clock
    at: int  # Unix ms, device clock
    artifact: str
    why: str
    name: str  # of the model's input
    dtype: str  # numpy's name
    shape: tuple[int, ...]
    label: int | None  # class that the model gave
    confidence: float | None
    bytes: int  # as stored


class SampledInputs:
    def __init__(self, database: Database, policies: SamplingPolicies) -> None:
        self._database = database
        self._policies = policies

    def receive(self, device: str, at: int, sample: InputSample) -> str | None:
        """Keep one that came at ``at`` (Unix ms). None, or why it cannot be used, for the quarantine.

        What no policy (any more) allows is dropped without a trace: a trace would keep what must not be kept.
        """
        if not self._policies.of(device).per_hour:
            return None
        reason = _refused(sample)
        if reason is not None:
            return reason
        with self._database.transaction() as connection:
            if self._database.row("SELECT 1 FROM artifacts WHERE digest = ?", (sample.artifact,)) is None:
                return f"a sampled input of the artifact {sample.artifact[:12]}..., which is not known"
            connection.execute(
                f"INSERT INTO sampled_inputs ({_COLUMNS}, data)"  # noqa: S608 - constant
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    secrets.token_hex(8),
                    device,
                    at,
                    sample.at_ms,
                    sample.artifact,
                    sample.why,
                    sample.name,
                    sample.dtype,
                    msgspec.json.encode(sample.shape).decode(),
                    sample.label,
                    sample.confidence,
                    len(sample.data),
                    sample.data,
                ),
            )
            self._bound(connection, device)
        return None

    def list(
        self, device: str | None = None, *, limit: int = 100, artifact: str | None = None
    ) -> Sequence[SampledInput]:
        """Newest first, without the inputs themselves; of one device or one artifact if asked."""
        rows = self._database.rows(
            f"SELECT {_COLUMNS} FROM sampled_inputs WHERE (? IS NULL OR device = ?)"  # noqa: S608 - constant
            " AND (? IS NULL OR artifact = ?) ORDER BY received_at DESC, id LIMIT ?",
            (device, device, artifact, artifact, limit),
        )
        return [_sampled(row) for row in rows]

    def get(self, input_id: str) -> SampledInput:
        """Raises NotFoundError."""
        row = self._database.row(f"SELECT {_COLUMNS} FROM sampled_inputs WHERE id = ?", (input_id,))  # noqa: S608 - constant
        if row is None:
            raise NotFoundError(
                "no_such_input",
                f"There is no sampled input {input_id[:80]!r}; they are kept for "
                f"{KEPT_MS // 86_400_000} days, `edgepress sampling inputs` lists them.",
            )
        return _sampled(row)

    def array(self, input_id: str) -> NDArray[Any]:
        """The input itself, in its shape. Raises NotFoundError, StoreError."""
        found = self.get(input_id)
        row = self._database.row("SELECT data FROM sampled_inputs WHERE id = ?", (input_id,))
        data = None if row is None else _unpacked(row["data"], _size_bytes(found.dtype, found.shape))
        if data is None:
            raise StoreError("input_damaged", f"The sampled input {input_id} cannot be unpacked any more.")
        kind = np.dtype(found.dtype).newbyteorder("<")
        return np.frombuffer(data, kind).astype(found.dtype).reshape(found.shape)

    def delete(self, input_id: str) -> None:
        """Raises NotFoundError."""
        self.get(input_id)
        self._forget("id = ?", (input_id,))

    def delete_of(self, device: str) -> int:
        """All of one device; how many they were."""
        return self._forget("device = ?", (device,))

    def prune(self) -> int:
        """Drop what is older than a week or beyond the room for all; how many. For whoever keeps house."""
        now = self._database.now_ms()
        dropped = self._forget(
            "id IN (SELECT id FROM sampled_inputs WHERE received_at < ? ORDER BY received_at LIMIT ?)",
            (now - KEPT_MS, _PRUNE_ROWS),
        )
        row = self._database.row("SELECT coalesce(sum(bytes), 0) AS used FROM sampled_inputs")
        over = (0 if row is None else int(row["used"])) - BYTES_MAX
        if over > 0:
            dropped += self._forget(
                "id IN (SELECT id FROM (SELECT id, sum(bytes) OVER (ORDER BY received_at, id) - bytes"
                " AS before FROM sampled_inputs) WHERE before < ?)",
                (over,),
            )
        return dropped

    def _bound(self, connection: sqlite3.Connection, device: str) -> None:
        """No device has more than its share: the oldest go."""
        beyond = self._database.rows(
            "SELECT id FROM sampled_inputs WHERE device = ? ORDER BY received_at DESC, id LIMIT -1 OFFSET ?",
            (device, PER_DEVICE_MAX),
        )
        if beyond:
            _wiped(connection, [row["id"] for row in beyond])

    def _forget(self, condition: str, parameters: tuple[object, ...]) -> int:
        with self._database.transaction() as connection:
            rows = self._database.rows(f"SELECT id FROM sampled_inputs WHERE {condition}", parameters)  # noqa: S608 - constants
            return _wiped(connection, [row["id"] for row in rows])


def _wiped(connection: sqlite3.Connection, ids: list[str]) -> int:
    connection.execute("PRAGMA secure_delete = ON")
    connection.executemany("DELETE FROM sampled_inputs WHERE id = ?", [(one,) for one in ids])
    connection.execute("PRAGMA secure_delete = OFF")
    return len(ids)


def _refused(sample: InputSample) -> str | None:
    if sample.why not in _WHY:
        return f"a sampled input for the reason {sample.why[:40]!r}, which is none of {', '.join(_WHY)}"
    if sample.dtype not in DTYPES:
        return f"a sampled input of the type {sample.dtype[:40]!r}, which no model takes"
    size_bytes = _size_bytes(sample.dtype, sample.shape)
    if size_bytes > ARRAY_MAX_BYTES:
        return f"a sampled input of {size_bytes} bytes, at most {ARRAY_MAX_BYTES} are kept"
    if _unpacked(sample.data, size_bytes) is None:
        return f"a sampled input whose data does not unpack to {sample.dtype} of shape {list(sample.shape)}"
    return None


def _size_bytes(dtype: str, shape: Sequence[int]) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


def _unpacked(data: bytes, size_bytes: int) -> bytes | None:
    """Exactly so many bytes, or None; never allocates more than they need."""
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(data, size_bytes + 1)
    except zlib.error:
        return None
    return plain if len(plain) == size_bytes and inflater.eof else None


def _sampled(row: sqlite3.Row) -> SampledInput:
    return SampledInput(**{**dict(row), "shape": tuple(msgspec.json.decode(row["shape"], type=list[int]))})

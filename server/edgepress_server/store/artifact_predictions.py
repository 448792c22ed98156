"""How far predictions are from what the fleet measures, for artifacts that run there.

The worker predicts each artifact once for each state of its profile (`identity`: the profile's own figures
and its active calibration); telemetry says what inferences took. Both are medians of one inference, queueing
excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from edgepress_devices.protocol import Histogram
from edgepress_server.store.database import Database
from edgepress_server.store.telemetry_read import quantiles_us

LOOK_BACK_MS: Final = 3600 * 1000
INFERENCES_MIN: Final = 50  # fewer have no median worth comparing
DEVICES_MAX: Final = 200  # looked at, of a profile: those heard from last; more would take seconds

_histogram = msgspec.msgpack.Decoder(Histogram)


@dataclass(frozen=True)
class ArtifactError:
    """One artifact on the devices of one profile, over the last hour."""

    digest: str
    model: str
    recipe: str
    devices: int
    inferences: int
    measured_p50_us: float
    predicted_us: float
    basis: str  # "datasheet" | "calibration"
    expected_error: float | None  # relative, that the prediction itself claims

    @property
    def error(self) -> float:
        """Signed and relative: 0.2 = it was predicted to take 20 % longer than it does."""
        return self.predicted_us / self.measured_p50_us - 1


@dataclass(frozen=True)
class Predicted:
    latency_us: float
    basis: str
    error: float | None


class ArtifactPredictions:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, profile: str, digest: str, identity: str, predicted: Predicted | None) -> None:
        """None: it cannot be predicted; it is not tried again before the profile changes."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO artifact_predictions (profile, digest, identity, latency_us,"
                " basis, error, at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    profile,
                    digest,
                    identity,
                    None if predicted is None else predicted.latency_us,
                    "" if predicted is None else predicted.basis,
                    None if predicted is None else predicted.error,
                    self._database.now_ms(),
                ),
            )

    def running(self) -> dict[str, list[str]]:
        """profile -> artifacts of this store that its devices run, ascending."""
        rows = self._database.rows(
            "SELECT DISTINCT d.profile, a.digest FROM devices d JOIN artifacts a"
            " ON a.digest = json_extract(d.state, '$.running') WHERE d.revoked_at IS NULL AND d.state IS"
            " NOT NULL"
            " ORDER BY a.digest"
        )
        found: dict[str, list[str]] = {}
        for row in rows:
            found.setdefault(str(row["profile"]), []).append(str(row["digest"]))
        return found

    def missing(self, profile: str, identity: str, digests: Sequence[str]) -> list[str]:
        """Those of them without a prediction of this identity."""
        rows = self._database.rows(
            "SELECT digest FROM artifact_predictions WHERE profile = ? AND identity = ?", (profile, identity)
        )
        there = {row["digest"] for row in rows}
        return [digest for digest in digests if digest not in there]

    def errors(self, profile: str, since_ms: int = LOOK_BACK_MS) -> list[ArtifactError]:
        """Each artifact that ran on devices of this profile in the last `since_ms`, was measured often
        enough and could be predicted; of DEVICES_MAX devices at most.

        A prediction that waits to be made anew is the one from before.
        """
        rows = self._database.rows(
            "SELECT m.artifact, m.device, m.inferences, m.latency_us, a.model, a.recipe, p.latency_us AS"
            " predicted_us,"
            " p.basis, p.error FROM (SELECT name, profile FROM devices WHERE profile = ?"
            " AND revoked_at IS NULL ORDER BY seen_at DESC, name LIMIT ?) d"
            " JOIN minutes m ON m.device = d.name AND m.minute >= ?"
            " JOIN artifacts a ON a.digest = m.artifact"
            " JOIN artifact_predictions p ON p.profile = d.profile AND p.digest = m.artifact"
            " WHERE m.latency_us IS NOT NULL AND p.latency_us IS NOT NULL ORDER BY m.artifact",
            (profile, DEVICES_MAX, self._database.now_ms() - since_ms),
        )
        found = []
        for digest in dict.fromkeys(row["artifact"] for row in rows):
            own = [row for row in rows if row["artifact"] == digest]
            inferences = sum(row["inferences"] for row in own)
            (p50_us,) = quantiles_us([_histogram.decode(row["latency_us"]) for row in own], (0.5,))
            if inferences < INFERENCES_MIN or not p50_us:
                continue
            found.append(
                ArtifactError(
                    digest=digest,
                    model=own[0]["model"],
                    recipe=own[0]["recipe"],
                    devices=len({row["device"] for row in own}),
                    inferences=inferences,
                    measured_p50_us=p50_us,
                    predicted_us=own[0]["predicted_us"],
                    basis=own[0]["basis"],
                    expected_error=own[0]["error"],
                )
            )
        return found

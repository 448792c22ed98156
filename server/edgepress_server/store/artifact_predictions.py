"""How far predictions are from what the fleet measures, for artifacts that run there.

The worker predicts each artifact once for each state of its profile (`identity`: the profile's own figures
and its active calibration); telemetry says what inferences took. Both are medians of one inference, queueing
excluded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgepress_server.store.database import Database
from edgepress_server.store.series.minutes import MINUTE_MS, device_minutes
from edgepress_server.store.series.read import SeriesRead
from edgepress_server.store.telemetry_read import quantiles_us

LOOK_BACK_MS: Final = 3600 * 1000
INFERENCES_MIN: Final = 50  # fewer have no median worth comparing
DEVICES_MAX: Final = 200  # looked at, of a profile: those heard from last; more would take seconds


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
    def __init__(self, database: Database, series: SeriesRead) -> None:
        self._database = database
        self._series = series

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
        now = self._database.now_ms()
        with self._database.snapshot():
            names = [
                str(row["name"])
                for row in self._database.rows(
                    "SELECT name FROM devices WHERE profile = ? AND revoked_at IS NULL"
                    " ORDER BY seen_at DESC, name LIMIT ?",
                    (profile, DEVICES_MAX),
                )
            ]
            predicted = {
                str(row["digest"]): row
                for row in self._database.rows(
                    "SELECT p.digest, a.model, a.recipe, p.latency_us AS predicted_us, p.basis, p.error"
                    " FROM artifact_predictions p JOIN artifacts a ON a.digest = p.digest"
                    " WHERE p.profile = ? AND p.latency_us IS NOT NULL ORDER BY p.digest",
                    (profile,),
                )
            }
            minutes = device_minutes(self._series, names, now - since_ms, now + MINUTE_MS, list(predicted))
        rows = [minute for mine in minutes.values() for minute in mine if minute.latency is not None]
        found = []
        for digest, row in predicted.items():
            own = [minute for minute in rows if minute.artifact == digest]
            inferences = sum(minute.inferences for minute in own)
            (p50_us,) = quantiles_us([minute.latency for minute in own if minute.latency is not None], (0.5,))
            if inferences < INFERENCES_MIN or not p50_us:
                continue
            found.append(
                ArtifactError(
                    digest=digest,
                    model=row["model"],
                    recipe=row["recipe"],
                    devices=len({minute.device for minute in own}),
                    inferences=inferences,
                    measured_p50_us=p50_us,
                    predicted_us=row["predicted_us"],
                    basis=row["basis"],
                    expected_error=row["error"],
                )
            )
        return found

"""How many devices of a rollout were in each state, over time: what its plot shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgepress_server.store.database import Database

POINTS_MAX: Final = 600  # a plot has no more pixels to tell apart


@dataclass(frozen=True)
class Timeline:
    at: list[int]  # Unix ms, ascending: moments at which something changed
    counts: dict[str, list[int]]  # device state -> how many there were from each moment on


class RolloutTimelines:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, rollout_id: str) -> Timeline:
        """States that no device ever had are not in it; empty for a rollout without devices.

        Of a long history moments are left out, evenly in time; the first and the last stay.
        """
        rows = self._database.rows(
            "SELECT at_s, state, change FROM rollout_timeline WHERE rollout = ? ORDER BY at_s", (rollout_id,)
        )
        if not rows:
            return Timeline([], {})
        first_s, last_s = rows[0]["at_s"], rows[-1]["at_s"]
        step_s = max(1, -(-(last_s - first_s) // (POINTS_MAX - 1)))
        level = dict.fromkeys(sorted({row["state"] for row in rows}), 0)
        moments: list[int] = []
        counts: dict[str, list[int]] = {state: [] for state in level}
        for row in rows:
            level[row["state"]] += row["change"]
            # The end of the bucket that the moment is in: a device counts from when it was so, never before.
            moment_s = min(last_s, first_s + -(-(row["at_s"] - first_s) // step_s) * step_s)
            if not moments or moments[-1] < moment_s * 1000:
                moments.append(moment_s * 1000)
                for values in counts.values():
                    values.append(0)
            for state, values in counts.items():
                values[-1] = level[state]
        return Timeline(moments, counts)

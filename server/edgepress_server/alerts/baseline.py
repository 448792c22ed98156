"""What is usual for a subject, so that a rule can say: half more than usual.

own        median and MAD of its own hours before this one; kept for an hour, and worked out for some
           subjects at a time, so that no look waits for a fleet's whole past
profile    median and MAD over the devices of its profile, of the same figure now
predicted  p50 that was predicted for the artifact on the profile
"""

from __future__ import annotations

from typing import Final

import numpy as np

from edgepress_server.alerts.figures import MAD_TO_SIGMA, Figures, aggregate, enough, usual
from edgepress_server.alerts.fleet import Fleet
from edgepress_server.alerts.rule import Baseline, Rule
from edgepress_server.store import Store
from edgepress_server.store.series.frame import Floats
from edgepress_server.store.series.keys import SeriesKey

HOUR_MS: Final = 3_600_000
AT_A_TIME: Final = 300  # subjects whose past is read in one look
PEERS_MIN: Final = 5  # devices of a profile, below which none of them says what is usual

_Kept = dict[SeriesKey, tuple[int, float, float]]  # the hour it was worked out in, median, deviation


class Baselines:
    def __init__(self, store: Store, at_a_time: int = AT_A_TIME) -> None:
        self._store = store
        self._at_a_time = at_a_time
        self._own: dict[tuple[str, str, int], _Kept] = {}

    def ratios(
        self,
        rule: Rule,
        values: Floats,
        keys: tuple[SeriesKey, ...],
        fleet: Fleet,
        figures: Figures,
        now_ms: int,
    ) -> tuple[Floats, Floats]:
        """(values over what is usual, what is usual); nan where that is not known.

        A ratio beyond the limit that lies within the allowed deviations is put at the limit itself.
        """
        baseline = rule.baseline or Baseline()
        if baseline.against == "own":
            normal, deviation = self._of_own(rule, baseline, keys, figures, now_ms)
        elif baseline.against == "profile":
            normal, deviation = of_peers(values, [fleet.devices[key.name].profile for key in keys])
        else:
            normal, deviation = self._predicted(keys, fleet, figures, rule)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(normal > 0, values / normal, np.nan)
            usual_still = np.abs(values - normal) <= baseline.deviations * deviation
        beyond = ratio > rule.fire_at if rule.direction == "above" else ratio < rule.fire_at
        return np.where(beyond & usual_still, rule.fire_at, ratio), normal

    def _of_own(
        self, rule: Rule, baseline: Baseline, keys: tuple[SeriesKey, ...], figures: Figures, now_ms: int
    ) -> tuple[Floats, Floats]:
        hour = now_ms // HOUR_MS
        kept = self._own.setdefault((rule.metric, rule.aggregate, baseline.hours), {})
        there = set(keys)
        for gone in [key for key in kept if key not in there]:
            del kept[gone]
        due = sorted(
            (key for key in keys if kept.get(key, (-1,))[0] != hour), key=lambda k: kept.get(k, (-1,))[0]
        )
        some = tuple(due[: self._at_a_time])
        if some:
            rows = figures.hours(some, baseline.hours, rule.histogram)
            figure = np.where(enough(rows, rule), aggregate(rows, rule), np.nan)
            median, deviation = usual(figure, rows.at, len(some))
            kept.update(
                zip(
                    some,
                    zip([hour] * len(some), median.tolist(), deviation.tolist(), strict=True),
                    strict=True,
                )
            )
        nothing = (hour, np.nan, np.nan)
        found = np.array([kept.get(key, nothing)[1:] for key in keys], np.float64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def _predicted(
        self, keys: tuple[SeriesKey, ...], fleet: Fleet, figures: Figures, rule: Rule
    ) -> tuple[Floats, Floats]:
        predictions = self._store.alerts.facts.predictions()
        running = figures.artifacts(keys, rule.window_s, rule.histogram)
        found = [
            predictions.get((fleet.devices[key.name].profile, digest or ""), np.nan)
            for key, digest in zip(keys, running, strict=True)
        ]
        return np.array(found, np.float64), np.zeros(len(keys))


def of_peers(values: Floats, profiles: list[str]) -> tuple[Floats, Floats]:
    median, deviation = np.full(len(values), np.nan), np.full(len(values), np.nan)
    _, codes = np.unique(np.array(profiles), return_inverse=True)
    for code in range(int(codes.max(initial=-1)) + 1):
        places = np.flatnonzero((codes == code) & ~np.isnan(values))
        if len(places) < PEERS_MIN:
            continue
        middle = np.median(values[places])
        median[places] = middle
        deviation[places] = MAD_TO_SIGMA * np.median(np.abs(values[places] - middle))
    return median, deviation

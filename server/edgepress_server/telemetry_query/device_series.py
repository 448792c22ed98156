"""Several figures of one series over time: what the charts of a device, a profile or an artifact ask for.

The names are those of `figures.MEASURES`. Memory and temperature answer with the most of each step, so that a
peak shows at any zoom; what is counted per second, with the rate of the time covered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepress_server.errors import InvalidInputError
from edgepress_server.store.series.keys import FLEET, SeriesKey
from edgepress_server.telemetry_query.engine import figure
from edgepress_server.telemetry_query.figures import MEASURES, Measure, histograms_of, most
from edgepress_server.telemetry_query.plan import SECOND_MS, Tier, plan
from edgepress_server.telemetry_query.source import Source

POINTS_WANTED: Final = 600
POINTS_MAX: Final = 5000
NAMES_MAX: Final = 40
_PEAKS: Final = ("rss_bytes", "mem_used_bytes", "temp_c", "throttled")


@dataclass(frozen=True)
class DeviceSeries:
    t: list[int]  # Unix ms: where each step begins
    step_ms: int
    tier: Tier
    series: dict[str, list[float | None]]


def check_names(names: Sequence[str]) -> list[str]:
    """Each once. Raises InvalidInputError."""
    found = list(dict.fromkeys(names))
    for name in found:
        if name not in MEASURES:
            raise InvalidInputError(
                "metric",
                f"metric: {name[:80]!r} is none. Take those of /telemetry/metrics; counts also with _per_s; "
                "latency, queue, pre and post with _p50_us, _p90_us, _p95_us or _p99_us.",
            )
    if len(found) > NAMES_MAX:
        raise InvalidInputError("metric", f"metric: at most {NAMES_MAX} at a time.")
    return found


def series_key(group: str) -> SeriesKey:
    """``fleet``, ``profile:ID`` or ``artifact:DIGEST``. Raises InvalidInputError."""
    kind, _, name = group.partition(":")
    if group == "fleet":
        return FLEET
    if kind == "profile" and name:
        return SeriesKey("profile", name)
    if kind == "artifact" and name:
        return SeriesKey("artifact", name)
    raise InvalidInputError(
        "group", f"group: {group[:80]!r} is none. Take fleet, profile:ID or artifact:DIGEST."
    )


def device_series(
    source: Source,
    key: SeriesKey,
    names: Sequence[str],
    from_ms: int,
    to_ms: int,
    step_ms: int | None,
    now_ms: int,
) -> DeviceSeries:
    """Raises InvalidInputError (names, range)."""
    names = check_names(names)
    grouped = key.kind != "device"
    if step_ms is not None:  # pages ask for what a pixel shows; it is at least a second
        step_ms = max(step_ms, SECOND_MS)
    made = plan(
        from_ms,
        to_ms,
        step_ms,
        now_ms=now_ms,
        grouped=grouped,
        points_wanted=POINTS_WANTED,
        points_max=POINTS_MAX,
    )
    histograms = histograms_of(names)
    frame = source.frame(key, made.from_ms, made.to_ms, span=made.tier, histograms=histograms)
    stepped = frame.steps(made.step_ms, made.from_ms)
    places = ((stepped.at - made.from_ms) // made.step_ms).tolist()
    lists = {}
    for name in names:
        values: list[float | None] = [None] * made.steps
        for place, value in zip(places, _MEASURES[name](stepped).tolist(), strict=True):
            values[place] = figure(value)
        lists[name] = values
    t = np.arange(made.from_ms, made.to_ms, made.step_ms).tolist()
    return DeviceSeries(t, made.step_ms, made.tier, lists)


_MEASURES: Final[Mapping[str, Measure]] = {
    name: most(name) if name in _PEAKS else measure for name, (_, measure) in MEASURES.items()
}

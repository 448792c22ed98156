"""The figures that pages show of a series, by the names they have there: one table for all pages."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_devices.metrics import BY_NAME, HISTOGRAMS, METRICS
from edgepress_server.store.series.frame import Frame
from edgepress_server.telemetry_query import measures
from edgepress_server.telemetry_query.engine import figure
from edgepress_server.telemetry_query.plan import Plan

Floats = NDArray[np.float64]
Measure = Callable[[Frame], Floats]


def _quantile(histogram: str, q: float) -> Measure:
    return lambda frame: frame.quantile(histogram, q)


def _mean(metric: str) -> Measure:
    return lambda frame: frame.mean(metric)


def most(metric: str) -> Measure:
    return lambda frame: frame.highest(metric)


def _total(metric: str) -> Measure:
    return lambda frame: frame.total(metric)


def _rate(metric: str) -> Measure:
    return lambda frame: frame.rate(metric)


def _ratio(part: str) -> Measure:
    return lambda frame: measures.ratio(frame, part)


def _table() -> dict[str, tuple[str | None, Measure]]:
    """Name -> (histogram that it needs, how it comes of a frame)."""
    found: dict[str, tuple[str | None, Measure]] = {}
    for histogram in HISTOGRAMS:
        short = "" if histogram == "latency_us" else f"{histogram.removesuffix('_us')}_"
        for name, q in measures.QUANTILES.items():
            found[f"{short}{name}_us"] = (histogram, _quantile(histogram, q))
            found[f"{histogram.removesuffix('_us')}_{name}_us"] = found[f"{short}{name}_us"]
        found[f"{short}mean_us"] = (
            histogram,
            lambda frame, name=histogram: measures.means(frame.histograms[name]),  # type: ignore[misc]
        )
    for metric in METRICS:
        if metric.kind == "count":
            found[metric.name] = (None, _total(metric.name))
            found[f"{metric.name}_per_s"] = (None, _rate(metric.name))
        else:
            found[metric.name] = (None, _mean(metric.name))
    found["rss_most_bytes"] = (None, most("rss_bytes"))
    found["mem_used_most_bytes"] = (None, most("mem_used_bytes"))
    found["temp_most_c"] = (None, most("temp_c"))
    found["error_ratio"] = (None, _ratio("errors"))
    found["mem_ratio"] = (None, _ratio("mem_used_bytes"))
    found["agreement"] = (None, _ratio("agreed"))
    return found


MEASURES: Final[Mapping[str, tuple[str | None, Measure]]] = _table()

OF_A_SERIES: Final = (
    "inferences",
    "p50_us",
    "p95_us",
    "p99_us",
    "mean_us",
    "queue_p95_us",
    "rss_bytes",
    "rss_most_bytes",
    "mem_ratio",
    "cpu_percent",
    "temp_c",
    "throttled",
    "power_mw",
    "energy_mj",
    "errors",
    "error_ratio",
    "inferences_per_s",
    "compared",
    "agreement",
    "input_psi",
    "output_psi",
    "confidence",
)
"""What is told of a device, an artifact or an arm of a rollout as a whole."""

OVER_TIME: Final = (
    "p50_us",
    "p95_us",
    "p99_us",
    "rss_bytes",
    "mem_ratio",
    "cpu_percent",
    "temp_c",
    "power_mw",
    "energy_mj",
    "error_ratio",
    "inferences_per_s",
    "input_psi",
    "output_psi",
    "confidence",
    "agreement",
)
"""What is drawn of it."""


def histograms_of(names: Collection[str]) -> tuple[str, ...]:
    """The histograms that these figures need."""
    return tuple(dict.fromkeys(found for name in names if (found := MEASURES[name][0]) is not None))


def whole(frame: Frame, names: Sequence[str] = OF_A_SERIES) -> dict[str, float | None]:
    """All rows of a frame together; None: not measured."""
    if len(frame) == 0:
        return dict.fromkeys(names)
    joined = frame.grouped(np.zeros(len(frame), np.int64), frame.span_ms)
    return {name: figure(float(MEASURES[name][1](joined)[0])) for name in names}


def told(frame: Frame, devices: int) -> dict[str, float | None]:
    """`whole`, with how many devices it is of; where nothing was counted, that is none and not unknown."""
    found = whole(frame)
    return {
        "devices": float(devices),
        **found,
        "inferences": found["inferences"] or 0.0,
        "errors": found["errors"] or 0.0,
    }


def over_time(frame: Frame, made: Plan, names: Sequence[str] = OVER_TIME) -> dict[str, list[float | None]]:
    """Lists of ``made.steps`` figures; None: not measured in that step."""
    stepped = frame.steps(made.step_ms, made.from_ms)
    at = (stepped.at - made.from_ms) // made.step_ms
    there = np.flatnonzero((at >= 0) & (at < made.steps))
    places = at[there].tolist()
    lists: dict[str, list[float | None]] = {}
    for name in names:
        values: list[float | None] = [None] * made.steps
        for place, value in zip(places, MEASURES[name][1](stepped)[there].tolist(), strict=True):
            values[place] = figure(value)
        lists[name] = values
    return lists


def title(name: str) -> str:
    """What a figure is called."""
    if name in BY_NAME:
        return BY_NAME[name].title
    return _TITLES.get(name, name)


_TITLES: Final = {
    "p50_us": "Latency, p50",
    "p95_us": "Latency, p95",
    "p99_us": "Latency, p99",
    "error_ratio": "Share of failed requests",
    "mem_ratio": "Share of memory in use",
    "agreement": "Agreement in shadow mode",
    "inferences_per_s": "Inferences a second",
}

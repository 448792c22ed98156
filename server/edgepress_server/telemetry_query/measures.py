"""What can be asked of a metric, and how its figure comes from sums, counts and histograms.

* a gauge: ``mean`` over its samples, ``min``, ``max``, ``count`` of samples that had a value
* a count: ``rate`` per second of a device's own time (mean over the devices), ``throughput`` per second of
  the clock (all devices together), ``sum``, ``count``
* a flag: ``mean``, which is the share of samples in which it was so, ``count``
* a histogram: ``p50 p90 p95 p99`` and ``mean`` within 1.09 %, ``count`` of what was timed, ``throughput``
* ``ratio``: of a part to its whole, for the pairs of `RATIOS`
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from edgepress_devices.metrics import BY_NAME, HISTOGRAMS
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.series.histograms import HistogramColumn

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Aggregate = Literal[
    "mean", "min", "max", "sum", "rate", "throughput", "p50", "p90", "p95", "p99", "count", "ratio"
]
AGGREGATES: Final[tuple[Aggregate, ...]] = get_args(Aggregate)
QUANTILES: Final[Mapping[str, float]] = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}

_REQUESTS: Final = ("inferences", "errors")  # those answered and those that failed
RATIOS: Final[Mapping[str, tuple[str, ...]]] = {
    "errors": _REQUESTS,
    "errors_input": _REQUESTS,
    "errors_runtime": _REQUESTS,
    "errors_timeout": _REQUESTS,
    "errors_busy": _REQUESTS,
    "agreed": ("compared",),
    "mem_used_bytes": ("mem_total_bytes",),
}
"""Part -> what its whole is the sum of."""

_BY_KIND: Final[Mapping[str, tuple[Aggregate, ...]]] = {
    "gauge": ("mean", "min", "max", "count"),
    "count": ("rate", "throughput", "sum", "count"),
    "flag": ("mean", "count"),
}
_OF_HISTOGRAMS: Final[tuple[Aggregate, ...]] = ("p95", "p50", "p90", "p99", "mean", "count", "throughput")
_SHORT: Final = {name.removesuffix("_us"): name for name in HISTOGRAMS}


class Added(Protocol):
    """Rows with sums and counts by metric, as `series.frame.Frame` has them."""

    def mean(self, metric: str) -> Floats: ...
    def total(self, metric: str) -> Floats: ...


class Summed(Added, Protocol):
    """All that figures are made of."""

    @property
    def histograms(self) -> Mapping[str, HistogramColumn]: ...

    def lowest(self, metric: str) -> Floats: ...
    def highest(self, metric: str) -> Floats: ...
    def rate(self, metric: str) -> Floats: ...
    def samples(self, metric: str) -> Ints: ...


def metric_named(name: str) -> str:
    """The name in the catalogue; `latency` stands for `latency_us`. Raises InvalidInputError."""
    found = _SHORT.get(name, name)
    if found not in BY_NAME and found not in HISTOGRAMS:
        raise InvalidInputError(
            "query_metric",
            f"metric: {name[:80]!r} is none. Take one of {', '.join((*_SHORT, *BY_NAME))}.",
        )
    return found


def aggregates(metric: str) -> tuple[Aggregate, ...]:
    """What may be asked of it; the first is what is meant where nothing is said."""
    if metric in HISTOGRAMS:
        return _OF_HISTOGRAMS
    found = _BY_KIND[BY_NAME[metric].kind]
    return (*found, "ratio") if metric in RATIOS else found


def aggregate_named(metric: str, name: str | None) -> Aggregate:
    """Raises InvalidInputError, which names those that this metric has."""
    allowed = aggregates(metric)
    for each in allowed:
        if name in (None, each):
            return each
    hint = ""
    if name in QUANTILES:
        hint = f" Quantiles are kept of {', '.join(_SHORT)}."
    raise InvalidInputError(
        "query_aggregate",
        f"aggregate: {str(name)[:40]!r} cannot be asked of {metric}; it has {', '.join(allowed)}.{hint}",
    )


def columns(metric: str, aggregate: Aggregate) -> tuple[str, ...]:
    """The metrics whose sums the figure is made of."""
    if metric in HISTOGRAMS:
        return ()
    if aggregate == "ratio":
        return tuple(dict.fromkeys((metric, *RATIOS[metric])))
    return (metric,)


def title(metric: str, aggregate: Aggregate) -> str:
    if metric in HISTOGRAMS:
        name, words = HISTOGRAMS[metric], {"count": "number", "throughput": "a second, together"}
        return f"{name}, {words.get(aggregate, aggregate)}"
    words = {
        "mean": "mean" if BY_NAME[metric].kind == "gauge" else "share of the time",
        "min": "least",
        "max": "most",
        "sum": "total",
        "rate": "a second, of a device",
        "throughput": "a second, together",
        "count": "samples",
        "ratio": f"share of {' and '.join(RATIOS.get(metric, ()))}".replace("_", " "),
    }
    return f"{BY_NAME[metric].title}, {words[aggregate]}"


def unit(metric: str, aggregate: Aggregate) -> str:
    if aggregate in ("count", "ratio") or (metric in BY_NAME and BY_NAME[metric].kind == "flag"):
        return ""
    own = "us" if metric in HISTOGRAMS else BY_NAME[metric].unit
    if aggregate == "throughput" and metric in HISTOGRAMS:
        own = ""
    return f"{own}/s" if aggregate in ("rate", "throughput") else own


def values(rows: Summed, metric: str, aggregate: Aggregate, clock_ms: Ints) -> Floats:
    """[n] the figure of every row, nan: nothing was measured; ``clock_ms``: [n] the time they stand for."""
    if metric in HISTOGRAMS:
        return _of_histogram(rows.histograms[metric], aggregate, clock_ms)
    if aggregate == "ratio":
        return ratio(rows, metric)
    if aggregate == "count":
        return rows.samples(metric).astype(np.float64)
    if aggregate == "throughput":
        return rows.total(metric) * 1000 / clock_ms
    figures: dict[Aggregate, Callable[[str], Floats]] = {
        "mean": rows.mean,
        "min": rows.lowest,
        "max": rows.highest,
        "sum": rows.total,
        "rate": rows.rate,
    }
    return figures[aggregate](metric)


def ratio(rows: Added, part: str) -> Floats:
    """A part of its whole, 0 to 1. Gauges go by their means: a board's memory is not added over time."""
    if BY_NAME[part].kind == "gauge":
        have, of = rows.mean(part), np.sum([rows.mean(name) for name in RATIOS[part]], axis=0)
    else:
        have = rows.total(part)
        # Of requests that nobody counted there are none: only the part itself has to have been measured.
        of = np.sum([np.nan_to_num(rows.total(name)) for name in RATIOS[part]], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(of > 0, have / of, np.nan)


def _of_histogram(column: HistogramColumn, aggregate: Aggregate, clock_ms: Ints) -> Floats:
    if aggregate in QUANTILES:
        return column.quantiles(QUANTILES[aggregate])
    totals = column.totals()
    if aggregate == "count":
        return totals.astype(np.float64)
    if aggregate == "throughput":
        return np.where(totals > 0, totals * 1000 / clock_ms, np.nan)
    return means(column)


def means(column: HistogramColumn) -> Floats:
    """[n] means as far as buckets tell, as `edgepress_devices.histogram.mean`; nan: nothing was measured."""
    totals = column.totals()
    rows = np.repeat(np.arange(len(column)), column.length)
    begin = np.repeat(column.start, column.length)
    index = (np.arange(len(column.counts)) - begin + column.offset[rows]).astype(np.float64)
    width = np.exp2(-column.scale[rows].astype(np.float64))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        lower, upper = np.exp2(index * width), np.exp2((index + 1) * width)
        centre = 2.0 * lower / (1.0 + lower / upper)
        weighted = np.where(column.counts > 0, centre * column.counts, 0.0)
        sums = np.bincount(rows, weighted, len(column))
        return np.where(totals > 0, sums / totals, np.nan)

"""Samples of the wire as a `SampleTable`: whole numbers, plausible ones only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_devices.metrics import INDEX, METRICS
from edgepress_devices.protocol import Sample
from edgepress_server.store.series.frame import WIDTH
from edgepress_server.store.series.histograms import HistogramColumn
from edgepress_server.store.series.table import ABSENT, NAMES, SampleTable

_RESOLUTION: Final = np.array([metric.resolution for metric in METRICS])
_LOW: Final = np.array([metric.low for metric in METRICS])
_HIGH: Final = np.array([metric.high for metric in METRICS])

_PLAIN: Final = tuple(
    metric.name
    for metric in METRICS
    if metric.name in Sample.__struct_fields__ and metric.name not in ("power_mw", "energy_mj")
)
_COLUMNS: Final = np.array([INDEX["covered_ms"], *(INDEX[name] for name in _PLAIN)])
_plain = attrgetter("interval_ms", *_PLAIN)
_ERRORS: Final = {f"errors_{kind}": kind for kind in ("input", "runtime", "timeout", "busy")}
_STATS: Final = ("input_psi", "input_ks", "output_psi", "output_ks", "confidence", "compared", "agreed")


def values_of(samples: Sequence[Sample]) -> NDArray[np.float64]:
    """[n, WIDTH] in the metrics' units, nan where the board could not tell."""
    values = np.full((len(samples), WIDTH), np.nan)
    if not samples:
        return values
    values[:, _COLUMNS] = np.array([_plain(sample) for sample in samples], np.float64)
    for name in ("power_mw", "energy_mj"):
        readings = list(map(attrgetter(name), samples))
        if any(reading is not None for reading in readings):
            values[:, INDEX[name]] = [np.nan if each is None else each.value for each in readings]
    for i, kinds in enumerate(map(attrgetter("error_kinds"), samples)):
        if kinds is not None:
            for name, kind in _ERRORS.items():
                values[i, INDEX[name]] = getattr(kinds, kind)
    for i, stats in enumerate(map(attrgetter("model"), samples)):
        if stats is not None:
            for name in _STATS:
                value = getattr(stats, name)
                values[i, INDEX[name]] = np.nan if value is None else value
    return values


def implausible(values: NDArray[np.float64]) -> dict[int, str]:
    """Rows that cannot be true -> why."""
    wrong = (values < _LOW) | (values > _HIGH)
    found: dict[int, str] = {}
    for row, column in zip(*(each.tolist() for each in np.nonzero(wrong)), strict=True):
        metric = METRICS[column]
        found.setdefault(
            row,
            f"{metric.name} of {values[row, column]:g} {metric.unit}".rstrip()
            + f"; a device can measure {metric.low:g} to {metric.high:g}",
        )
    return found


def table_of(
    samples: Sequence[Sample], values: NDArray[np.float64], code: Callable[[str], int]
) -> SampleTable:
    """``code`` turns a digest or a method into its number."""
    known: dict[Any, int] = {None: 0}

    def artifact(digest: str | None) -> int:
        found = known.get(digest)
        if found is None:
            found = known[digest] = code(digest or "")
        return found

    def how(reading: Any) -> int:
        if reading is None:
            return 0
        found = known.get((reading.method, reading.scope))
        if found is None:
            found = known[reading.method, reading.scope] = code(f"{reading.method}|{reading.scope}")
        return found

    there = ~np.isnan(values)
    steps = np.rint(np.where(there, values, 0.0) / _RESOLUTION).astype(np.int64)
    histograms = {}
    for name in NAMES:
        column = list(map(attrgetter(name), samples))
        if any(each is not None for each in column):
            histograms[name] = HistogramColumn.of(column)
    return SampleTable(
        np.array([sample.at_ms for sample in samples], np.int64),
        np.array([artifact(sample.artifact) for sample in samples], np.int64),
        np.array([how(sample.power_mw) for sample in samples], np.int64),
        np.array([how(sample.energy_mj) for sample in samples], np.int64),
        np.where(there, steps, ABSENT),
        histograms,
    )

"""Samples of the wire as a `SampleTable`: whole numbers, plausible ones only.

Field by field and not sample by sample: at tens of thousands of samples a second what is done for each
of them counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgepress_devices.metrics import INDEX, METRICS
from edgepress_devices.protocol import ErrorKinds, ModelStats, Reading, Sample
from edgepress_server.store.series.frame import WIDTH
from edgepress_server.store.series.histograms import HistogramColumn
from edgepress_server.store.series.table import ABSENT, NAMES, SampleTable

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

COUNT_MAX: Final = 10**9  # of one sample: more latencies than a device can measure
SCALE_LEAST: Final = (
    3  # of a histogram of latencies: 9 % wide buckets; ours have 5, and 4 where they are wide
)
LATENCY_LOG2_US: Final = (-20, 45)  # what a latency lies between: a picosecond and a year
_FIELDS: Final = Sample.__struct_fields__
_PLAIN: Final = {
    metric.name: metric.name
    for metric in METRICS
    if metric.name in _FIELDS and metric.name not in ("power_mw", "energy_mj")
} | {"covered_ms": "interval_ms"}
_READINGS: Final = ("power_mw", "energy_mj")
_ERRORS: Final = {kind: f"errors_{kind}" for kind in ErrorKinds.__struct_fields__}
_STATS: Final = {name: name for name in ModelStats.__struct_fields__ if name in INDEX}


class SampleFields:
    """The samples of many batches, a column for each field; [n] each."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        columns = list(zip(*map(msgspec.structs.astuple, samples), strict=True)) or [()] * len(_FIELDS)
        self._columns: dict[str, tuple[Any, ...]] = dict(zip(_FIELDS, columns, strict=True))
        self.samples = list(samples)
        self.at = np.array(self._columns["at_ms"], np.int64)
        self.histograms = {
            name: HistogramColumn.of(self._columns[name]) for name in NAMES if self._is_there(name)
        }
        self._readings = {name: _Readings(self._columns[name]) for name in _READINGS if self._is_there(name)}
        self.values = self._values()

    def __len__(self) -> int:
        return len(self.samples)

    def replace(self, first: int, samples: Sequence[Sample]) -> None:
        """These stand in the rows from ``first`` on; they differ in their times only."""
        self.samples[first : first + len(samples)] = samples
        self.at[first : first + len(samples)] = [sample.at_ms for sample in samples]

    def where(self, name: str) -> list[int]:
        """Rows in which this field is there."""
        return [i for i, value in enumerate(self._columns[name]) if value is not None]

    def _is_there(self, name: str) -> bool:
        return any(value is not None for value in self._columns[name])

    def _values(self) -> Floats:
        """[n, WIDTH] in the metrics' units, nan where the board could not tell."""
        values = np.full((WIDTH, len(self)), np.nan)
        for metric, field in _PLAIN.items():
            values[INDEX[metric]] = np.array(self._columns[field], np.float64)  # None becomes nan
        for name, readings in self._readings.items():
            values[INDEX[name], readings.rows] = readings.values
        for field, names in (("error_kinds", _ERRORS), ("model", _STATS)):
            for i in self.where(field):
                for part, metric in names.items():
                    value = getattr(self._columns[field][i], part)
                    values[INDEX[metric], i] = np.nan if value is None else value
        return values.T

    def implausible(self) -> dict[int, str]:
        """Rows that cannot be true -> why."""
        found: dict[int, str] = {}
        with np.errstate(invalid="ignore"):
            wrong = (self.values < _LOW) | (self.values > _HIGH)
        if wrong.any():
            for row, column in zip(*(each.tolist() for each in np.nonzero(wrong)), strict=True):
                metric = METRICS[column]
                said = f"{metric.name} of {self.values[row, column]:g} {metric.unit}".rstrip()
                found.setdefault(row, f"{said}; a device can measure {metric.low:g} to {metric.high:g}")
        for name, column in self.histograms.items():
            for row in np.flatnonzero(column.totals() > COUNT_MAX).tolist():
                found.setdefault(row, f"more {name} in one sample than a device can measure")
            for row in np.flatnonzero(_blurs(column)).tolist():
                found.setdefault(
                    row,
                    f"{name} in buckets of scale {column.scale[row]} from {column.offset[row]} on: "
                    "merged with these no other would tell a latency any more",
                )
        return found

    def table(self, code: Callable[[str], int]) -> SampleTable:
        """``code`` turns a digest or a method into its number. Values must be plausible."""
        used = np.flatnonzero(~np.isnan(self.values).all(axis=0)) if len(self) else np.zeros(0, np.intp)
        mine = self.values[:, used]
        there = ~np.isnan(mine)
        steps = np.rint(np.where(there, mine, 0.0) / _RESOLUTION[used]).astype(np.int64)
        whole = np.full((len(self), WIDTH), ABSENT)
        whole[:, used] = np.where(there, steps, ABSENT)
        artifacts = _codes(self._columns["artifact"], lambda digest: code(digest or ""))
        hows = {name: np.zeros(len(self), np.int64) for name in _READINGS}
        for name, readings in self._readings.items():
            hows[name][readings.rows] = _codes(readings.hows, lambda pair: code("|".join(pair)))
        return SampleTable(self.at, artifacts, hows["power_mw"], hows["energy_mj"], whole, self.histograms)


def _blurs(column: HistogramColumn) -> NDArray[np.bool_]:
    """[n] whose buckets are so coarse, or so far out, that what they are merged with loses its resolution."""
    width = np.exp2(-column.scale.astype(np.float64))  # log2 of a bucket's bounds
    low, high = column.offset * width, (column.offset + column.length) * width
    out = (column.scale < SCALE_LEAST) | (low < LATENCY_LOG2_US[0]) | (high > LATENCY_LOG2_US[1])
    return out & (column.length > 0)


class _Readings:
    """Those of a column that are there: their rows, values, and (method, scope)."""

    def __init__(self, column: Sequence[Reading | None]) -> None:
        there = [reading for reading in column if reading is not None]
        self.rows: Ints = (
            np.arange(len(column))
            if len(there) == len(column)
            else np.array([i for i, reading in enumerate(column) if reading is not None])
        )
        self.values = [reading.value for reading in there]
        self.hows = list(
            zip([reading.method for reading in there], [reading.scope for reading in there], strict=True)
        )


def _codes(texts: Sequence[Any], code: Callable[[Any], int]) -> Ints:
    known = {text: code(text) for text in set(texts)}
    return np.fromiter(map(known.__getitem__, texts), np.int64, len(texts))


_RESOLUTION: Final = np.array([metric.resolution for metric in METRICS])
_LOW: Final = np.array([metric.low for metric in METRICS])
_HIGH: Final = np.array([metric.high for metric in METRICS])

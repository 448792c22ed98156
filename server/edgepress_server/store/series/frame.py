"""Rows of a series as arrays: what the store hands out and everything above computes with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_devices.metrics import BY_NAME, INDEX, METRICS
from edgepress_server.store.series.histograms import HistogramColumn

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

NO_LEAST: Final = np.iinfo(np.int64).max
NO_MOST: Final = np.iinfo(np.int64).min
WIDTH: Final = len(METRICS)
MIXED: Final = -1  # code of rows that steps() joined of several artifacts
_COVERED: Final = INDEX["covered_ms"]


@dataclass(frozen=True)
class Frame:
    """n rows of one series, or of several that were `merged`, ascending in time.

    Values are whole numbers of `Metric.resolution`. Where ``counts`` is 0 nothing was measured: the sum is 0
    then, ``least`` is NO_LEAST and ``most`` NO_MOST.
    """

    at: Ints  # [n] Unix ms: start of the row's interval; of raw samples: when they were taken
    span_ms: int  # 0: raw samples; 60_000; 3_600_000; or what `steps` was asked for
    artifact: Ints  # [n] codes, named in ``artifacts``
    sums: Ints  # [n, WIDTH]
    least: Ints  # [n, WIDTH]
    most: Ints  # [n, WIDTH]
    counts: Ints  # [n, WIDTH] samples that had a value
    histograms: Mapping[str, HistogramColumn] = field(default_factory=dict)
    artifacts: Mapping[int, str] = field(default_factory=dict)  # code -> digest, "" = no model

    def __len__(self) -> int:
        return len(self.at)

    @staticmethod
    def empty(span_ms: int = 0, histograms: Sequence[str] = ()) -> Frame:
        none = np.zeros(0, np.int64)
        table = np.zeros((0, WIDTH), np.int64)
        columns = {name: HistogramColumn.empty(0) for name in histograms}
        return Frame(none, span_ms, none, table, table, table, table, columns)

    @staticmethod
    def merged(frames: Sequence[Frame]) -> Frame:
        """All rows of all, ascending. Codes must be of one store. `steps` then gives the group's figures."""
        if len(frames) == 1:
            return frames[0]
        if not frames:
            return Frame.empty()
        arrays = {
            name: np.concatenate([getattr(frame, name) for frame in frames])
            for name in ("at", "artifact", "sums", "least", "most", "counts")
        }
        names = set.intersection(*(set(frame.histograms) for frame in frames))
        columns = {name: HistogramColumn.joined([f.histograms[name] for f in frames]) for name in names}
        artifacts = {code: name for frame in frames for code, name in frame.artifacts.items()}
        joined = Frame.of(arrays, frames[0].span_ms, columns, artifacts)
        order = np.argsort(joined.at, kind="stable")
        return joined.take(order)

    @staticmethod
    def of(
        arrays: Mapping[str, Ints],
        span_ms: int,
        histograms: Mapping[str, HistogramColumn],
        artifacts: Mapping[int, str] | None = None,
    ) -> Frame:
        """``arrays`` by the names of this class."""
        return Frame(
            arrays["at"],
            span_ms,
            arrays["artifact"],
            arrays["sums"],
            arrays["least"],
            arrays["most"],
            arrays["counts"],
            histograms,
            artifacts or {},
        )

    def take(self, rows: NDArray[np.intp]) -> Frame:
        return Frame(
            self.at[rows],
            self.span_ms,
            self.artifact[rows],
            self.sums[rows],
            self.least[rows],
            self.most[rows],
            self.counts[rows],
            {name: column.take(rows) for name, column in self.histograms.items()},
            self.artifacts,
        )

    def between(self, from_ms: int, to_ms: int) -> Frame:
        """Rows that begin in this time."""
        return self.take(np.flatnonzero((self.at >= from_ms) & (self.at < to_ms)))

    def only(self, artifact: str) -> Frame:
        """Rows of this artifact; "" = of no model."""
        codes = [code for code, name in self.artifacts.items() if name == artifact]
        return self.take(np.flatnonzero(np.isin(self.artifact, codes)))

    def steps(self, step_ms: int, start_ms: int = 0, *, by_artifact: bool = False) -> Frame:
        """Rows merged into steps that begin at ``start_ms + k * step_ms``; steps without rows are not there.

        Rows of several artifacts in one step become one with the code MIXED, or stay apart.
        """
        step = start_ms + (self.at - start_ms) // step_ms * step_ms
        return self.grouped(step, step_ms, by_artifact=by_artifact)

    def named(self, artifacts: Mapping[int, str]) -> Frame:
        """The same rows, with what their codes stand for."""
        return replace(self, artifacts=artifacts)

    def spanning(self, at: Ints, span_ms: int) -> Frame:
        """The same rows, as those of intervals that begin there."""
        return replace(self, at=at, span_ms=span_ms)

    def grouped(self, at: Ints, span_ms: int, *, by_artifact: bool = False) -> Frame:
        """Rows with the same ``at`` (and artifact) as one."""
        if len(self) == 0:
            return Frame.empty(span_ms, list(self.histograms))
        keys = (self.artifact, at) if by_artifact else (at,)
        order = np.lexsort(keys)
        sorted_at, sorted_artifact = at[order], self.artifact[order]
        new = np.empty(len(at), bool)
        new[0] = True
        new[1:] = sorted_at[1:] != sorted_at[:-1]
        if by_artifact:
            new[1:] |= sorted_artifact[1:] != sorted_artifact[:-1]
        first = np.flatnonzero(new)
        if len(first) == len(at):  # each is alone in its group: nothing to add up
            return self.spanning(at, span_ms).take(order)
        artifact = sorted_artifact[first]
        if not by_artifact:
            mixed = np.maximum.reduceat(sorted_artifact, first) != np.minimum.reduceat(sorted_artifact, first)
            artifact = np.where(mixed, MIXED, artifact)
        group = np.empty(len(at), np.int64)
        group[order] = np.cumsum(new) - 1
        return Frame(
            sorted_at[first],
            span_ms,
            artifact,
            np.add.reduceat(self.sums[order], first),
            np.minimum.reduceat(self.least[order], first),
            np.maximum.reduceat(self.most[order], first),
            np.add.reduceat(self.counts[order], first),
            {name: column.merged(group, len(first)) for name, column in self.histograms.items()},
            self.artifacts,
        )

    # --- figures, each [n], nan where nothing was measured ------------------------------------------------

    def mean(self, metric: str) -> Floats:
        """In the metric's unit."""
        i = INDEX[metric]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(
                self.counts[:, i] > 0,
                self.sums[:, i] / self.counts[:, i] * BY_NAME[metric].resolution,
                np.nan,
            )

    def samples(self, metric: str) -> Ints:
        """How many samples had a value."""
        return self.counts[:, INDEX[metric]]

    def total(self, metric: str) -> Floats:
        i = INDEX[metric]
        return np.where(self.counts[:, i] > 0, self.sums[:, i] * BY_NAME[metric].resolution, np.nan)

    def lowest(self, metric: str) -> Floats:
        return _figure(self.least[:, INDEX[metric]], NO_LEAST, BY_NAME[metric].resolution)

    def highest(self, metric: str) -> Floats:
        return _figure(self.most[:, INDEX[metric]], NO_MOST, BY_NAME[metric].resolution)

    def rate(self, metric: str) -> Floats:
        """A count per second of the time that samples cover."""
        covered = self.sums[:, _COVERED]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(covered > 0, self.total(metric) * 1000 / covered, np.nan)

    def quantile(self, histogram: str, q: float) -> Floats:
        """In microseconds."""
        return self.histograms[histogram].quantiles(q)


def _figure(values: Ints, absent: int, resolution: float) -> Floats:
    return np.where(values == absent, np.nan, values * resolution)

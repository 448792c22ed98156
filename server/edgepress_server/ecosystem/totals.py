"""Running totals of rows: what Prometheus calls counters, and OpenTelemetry cumulative points.

A total is the sum of every row that the store has taken, so it only grows: late data shows as a step when it
comes, as a step. Rows outlive their retention here, so a total never falls when old rows are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from edgepress_devices.histogram import merge
from edgepress_devices.metrics import BY_NAME, HISTOGRAMS, INDEX, METRICS
from edgepress_devices.protocol import Histogram
from edgepress_server.store.series.frame import Frame

COUNTS: Final = tuple(metric.name for metric in METRICS if metric.kind == "count")
_COLUMNS: Final = [INDEX[name] for name in COUNTS]


@dataclass
class Total:
    """Of one artifact on one device, or in one profile."""

    sums: dict[str, int] = field(default_factory=dict)  # count metric -> steps of its resolution
    samples: int = 0
    histograms: dict[str, Histogram] = field(default_factory=dict)
    last_at: int = 0  # Unix ms: when its newest row began

    def plus(self, other: Total) -> Total:
        sums = {name: self.sums.get(name, 0) + other.sums.get(name, 0) for name in {*self.sums, *other.sums}}
        histograms = dict(self.histograms)
        for name, histogram in other.histograms.items():
            merged = merge([histograms[name], histogram]) if name in histograms else histogram
            if merged is not None:
                histograms[name] = merged
        return Total(sums, self.samples + other.samples, histograms, max(self.last_at, other.last_at))

    def value(self, metric: str) -> float | None:
        """In the metric's unit; None where it was never measured."""
        steps = self.sums.get(metric)
        return None if steps is None else steps * BY_NAME[metric].resolution


def total_of(rows: Frame) -> Total:
    """The sum of at least one row, whatever artifact it is of."""
    sums, counts = rows.sums[:, _COLUMNS].sum(axis=0), rows.counts[:, _COLUMNS].sum(axis=0)
    one = np.zeros(len(rows), np.int64)
    merged = {name: rows.histograms[name].merged(one, 1)[0] for name in HISTOGRAMS if name in rows.histograms}
    return Total(
        sums={name: int(value) for name, value, count in zip(COUNTS, sums, counts, strict=True) if count > 0},
        samples=int(rows.counts[:, INDEX["covered_ms"]].sum()),
        histograms={name: histogram for name, histogram in merged.items() if histogram is not None},
        last_at=int(rows.at.max()),
    )

"""Rows of many devices merged into (group, step) cells, holding only the columns a question needs.

Ten thousand devices' minutes of an hour are 600,000 rows; in all columns they would be gigabytes. So devices
are read in parts, each part is cut to its columns and merged at once, and the merged parts in the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepress_devices.metrics import BY_NAME, INDEX
from edgepress_server.store.series.frame import NO_LEAST, NO_MOST, Frame
from edgepress_server.store.series.histograms import HistogramColumn

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Cells:
    """n rows, each a key and the sums of its columns; see `series.frame.Frame`, whose figures these are."""

    names: tuple[str, ...]  # metrics, k of them; covered_ms is always among them
    key: Ints  # [n]
    sums: Ints  # [n, k] whole numbers of the metric's resolution
    least: Ints  # [n, k]
    most: Ints  # [n, k]
    counts: Ints  # [n, k]
    histograms: dict[str, HistogramColumn]

    def __len__(self) -> int:
        return len(self.key)

    @staticmethod
    def of(frame: Frame, key: Ints, metrics: Sequence[str], histograms: Sequence[str]) -> Cells:
        """The frame's rows under these keys ([n])."""
        names = tuple(dict.fromkeys((*metrics, "covered_ms")))
        at = [INDEX[name] for name in names]
        return Cells(
            names,
            key,
            frame.sums[:, at],
            frame.least[:, at],
            frame.most[:, at],
            frame.counts[:, at],
            {name: frame.histograms[name] for name in histograms},
        )

    @staticmethod
    def joined(parts: Sequence[Cells]) -> Cells:
        """All rows of all. At least one part."""
        if len(parts) == 1:
            return parts[0]
        return Cells(
            parts[0].names,
            np.concatenate([part.key for part in parts]),
            np.concatenate([part.sums for part in parts]),
            np.concatenate([part.least for part in parts]),
            np.concatenate([part.most for part in parts]),
            np.concatenate([part.counts for part in parts]),
            {
                name: HistogramColumn.joined([part.histograms[name] for part in parts])
                for name in parts[0].histograms
            },
        )

    def merged(self) -> Cells:
        """Rows with the same key as one, ascending by key."""
        if len(self) == 0:
            return self
        order = np.argsort(self.key, kind="stable")
        keys = self.key[order]
        new = np.empty(len(keys), bool)
        new[0] = True
        new[1:] = keys[1:] != keys[:-1]
        first = np.flatnonzero(new)
        group = np.empty(len(keys), np.int64)
        group[order] = np.cumsum(new) - 1
        return Cells(
            self.names,
            keys[first],
            np.add.reduceat(self.sums[order], first),
            np.minimum.reduceat(self.least[order], first),
            np.maximum.reduceat(self.most[order], first),
            np.add.reduceat(self.counts[order], first),
            {name: column.merged(group, len(first)) for name, column in self.histograms.items()},
        )

    def take_key(self, key: int) -> Cells:
        """The rows of this key; of merged cells one, or none."""
        first, last = (int(at) for at in np.searchsorted(self.key, (key, key + 1)))
        return Cells(
            self.names,
            self.key[first:last],
            self.sums[first:last],
            self.least[first:last],
            self.most[first:last],
            self.counts[first:last],
            {name: column.cut(first, last) for name, column in self.histograms.items()},
        )

    def keyed(self, key: Ints) -> Cells:
        return Cells(self.names, key, self.sums, self.least, self.most, self.counts, self.histograms)

    # --- figures, each [n], nan where nothing was measured ------------------------------------------------

    def mean(self, metric: str) -> Floats:
        i = self.names.index(metric)
        with np.errstate(invalid="ignore", divide="ignore"):
            figure = self.sums[:, i] / self.counts[:, i] * BY_NAME[metric].resolution
        return np.where(self.counts[:, i] > 0, figure, np.nan)

    def total(self, metric: str) -> Floats:
        i = self.names.index(metric)
        return np.where(self.counts[:, i] > 0, self.sums[:, i] * BY_NAME[metric].resolution, np.nan)

    def lowest(self, metric: str) -> Floats:
        values = self.least[:, self.names.index(metric)]
        return np.where(values == NO_LEAST, np.nan, values * BY_NAME[metric].resolution)

    def highest(self, metric: str) -> Floats:
        values = self.most[:, self.names.index(metric)]
        return np.where(values == NO_MOST, np.nan, values * BY_NAME[metric].resolution)

    def rate(self, metric: str) -> Floats:
        covered = self.sums[:, self.names.index("covered_ms")]
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(covered > 0, self.total(metric) * 1000 / covered, np.nan)

    def samples(self, metric: str) -> Ints:
        return self.counts[:, self.names.index(metric)]

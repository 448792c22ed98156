"""Many histograms at once: a column of them as flat arrays, merged by adding without a loop over rows.

The same histograms as `edgepress_devices.histogram` (OpenTelemetry, base-2 exponential), the same quantiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from edgepress_devices.histogram import MAX_BUCKETS, SCALE
from edgepress_devices.protocol import BUCKET_COUNT_MAX, Histogram

Ints = NDArray[np.int64]
_parts = attrgetter("scale", "offset", "zero_count", "counts")


@dataclass(frozen=True)
class HistogramColumn(Sequence[Histogram | None]):
    """``n`` histograms; row i holds ``counts[start[i] : start[i] + length[i]]``. One without zeros and counts
    is none: nothing was measured.
    """

    scale: Ints  # [n]
    offset: Ints  # [n] index of the first bucket
    length: Ints  # [n]
    zeros: Ints  # [n]
    counts: Ints  # [sum(length)]

    @staticmethod
    def empty(n: int) -> HistogramColumn:
        none = np.zeros(n, np.int64)
        return HistogramColumn(np.full(n, SCALE, np.int64), none, none, none, np.zeros(0, np.int64))

    @staticmethod
    def of(histograms: Sequence[Histogram | None]) -> HistogramColumn:
        """From the wire's form."""
        there = [i for i, h in enumerate(histograms) if h is not None and (h.zero_count or any(h.counts))]
        found = HistogramColumn.empty(len(histograms))
        if not there:
            return found
        scales, offsets, zeros, counts = zip(*[_parts(histograms[i]) for i in there], strict=True)
        scale, offset, length, zero = (
            np.array(each) for each in (found.scale, found.offset, found.length, found.zeros)
        )
        lengths = list(map(len, counts))
        scale[there], offset[there], length[there], zero[there] = scales, offsets, lengths, zeros
        flat = np.fromiter(chain.from_iterable(counts), np.int64, sum(lengths))
        return HistogramColumn(scale, offset, length, zero, flat)

    @staticmethod
    def joined(columns: Sequence[HistogramColumn]) -> HistogramColumn:
        if len(columns) == 1:
            return columns[0]
        if not columns:
            return HistogramColumn.empty(0)
        return HistogramColumn(
            *(
                np.concatenate([getattr(each, name) for each in columns])
                for name in ("scale", "offset", "length", "zeros", "counts")
            )
        )

    def __len__(self) -> int:
        return len(self.scale)

    @property
    def start(self) -> Ints:
        return np.cumsum(self.length) - self.length

    @property
    def is_empty(self) -> bool:
        """No row has a histogram."""
        return len(self.counts) == 0 and not self.zeros.any()

    def __getitem__(self, i: int) -> Histogram | None:  # type: ignore[override]
        i = range(len(self))[i]
        length, zeros = int(self.length[i]), int(self.zeros[i])
        if length == 0 and zeros == 0:
            return None
        start = int(self.length[:i].sum())
        counts = self.counts[start : start + length].tolist()
        return Histogram(int(self.scale[i]), int(self.offset[i]), counts, zeros)

    def __iter__(self) -> Iterator[Histogram | None]:
        flat, at = self.counts.tolist(), 0
        heads = zip(
            self.scale.tolist(), self.offset.tolist(), self.length.tolist(), self.zeros.tolist(), strict=True
        )
        for scale, offset, length, zeros in heads:
            counts = flat[at : at + length]
            at += length
            yield Histogram(scale, offset, counts, zeros) if counts or zeros else None

    def take(self, rows: NDArray[np.intp]) -> HistogramColumn:
        """These rows, in this order."""
        length = self.length[rows]
        places = ranges(self.start[rows], length)
        return HistogramColumn(
            self.scale[rows], self.offset[rows], length, self.zeros[rows], self.counts[places]
        )

    def cut(self, first: int, last: int) -> HistogramColumn:
        """Rows first to last - 1: views, no copies."""
        start = int(self.length[:first].sum())
        length = self.length[first:last]
        return HistogramColumn(
            self.scale[first:last],
            self.offset[first:last],
            length,
            self.zeros[first:last],
            self.counts[start : start + int(length.sum())],
        )

    def totals(self) -> Ints:
        """[n] how many values each holds."""
        sums = np.concatenate([[0], np.cumsum(self.counts)])
        start = self.start
        totals: Ints = self.zeros + sums[start + self.length] - sums[start]
        return totals

    def merged(self, group: Ints, groups: int) -> HistogramColumn:
        """Row i is added to row ``group[i]`` of the ``groups`` rows that come back.

        At the coarsest scale of each group, or coarser where MAX_BUCKETS asks for it, as
        `edgepress_devices.histogram.merge`.
        """
        zeros = np.zeros(groups, np.int64)
        np.add.at(zeros, group, self.zeros)
        filled = np.flatnonzero(self.length)
        if len(filled) == 0:
            none = HistogramColumn.empty(groups)
            return HistogramColumn(
                none.scale, none.offset, none.length, np.minimum(zeros, BUCKET_COUNT_MAX), none.counts
            )
        mine = group[filled]
        scale = np.full(groups, np.iinfo(np.int64).max)
        np.minimum.at(scale, mine, self.scale[filled])
        scale[scale == np.iinfo(np.int64).max] = SCALE
        first, last = self.offset[filled], self.offset[filled] + self.length[filled] - 1
        while True:
            shift = self.scale[filled] - scale[mine]
            low = np.full(groups, np.iinfo(np.int64).max)
            high = np.full(groups, np.iinfo(np.int64).min)
            np.minimum.at(low, mine, first >> shift)
            np.maximum.at(high, mine, last >> shift)
            wide = (high >= low) & (high - low >= MAX_BUCKETS)
            if not wide.any():
                break
            scale[wide] -= 1
        length = np.where(high >= low, high - low + 1, 0)
        low = np.where(high >= low, low, 0)
        start = np.cumsum(length) - length
        row = np.repeat(np.arange(len(filled)), self.length[filled])
        bucket = ranges(first, self.length[filled])
        place = start[mine][row] + (bucket >> shift[row]) - low[mine][row]
        counts = np.bincount(
            place, self.counts[ranges(self.start[filled], self.length[filled])], int(length.sum())
        )
        # Sums of doubles are exact below 2**53, and no count is above 2**40.
        whole = np.minimum(counts.astype(np.int64), BUCKET_COUNT_MAX)
        return HistogramColumn(scale, low, length, np.minimum(zeros, BUCKET_COUNT_MAX), whole)

    def quantiles(self, q: float) -> NDArray[np.float64]:
        """[n] in microseconds, nan where nothing was measured; see `edgepress_devices.histogram.quantile`."""
        total = self.totals()
        rank = np.maximum(1, np.ceil(q * total)).astype(np.int64) - self.zeros
        sums = np.concatenate([[0], np.cumsum(self.counts)])
        start = self.start
        place = np.searchsorted(sums, sums[start] + np.maximum(rank, 1), side="left") - 1
        index = (self.offset + place - start).astype(np.float64)
        width = np.exp2(-self.scale.astype(np.float64))
        with np.errstate(over="ignore", invalid="ignore"):
            lower, upper = np.exp2(index * width), np.exp2((index + 1) * width)
            values = 2.0 * lower / (1.0 + lower / upper)
        return np.where(total == 0, np.nan, np.where(rank <= 0, 0.0, values))


def one(histograms: Iterable[Histogram | None]) -> HistogramColumn:
    """All of them as one row."""
    column = HistogramColumn.of(list(histograms))
    return column.merged(np.zeros(len(column), np.int64), 1)


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """start, start + 1, ... start + length - 1, of one after the other: [sum(lengths)]."""
    total = int(lengths.sum())
    begins = np.cumsum(lengths) - lengths
    found: Ints = np.arange(total) + np.repeat(starts - begins, lengths)
    return found

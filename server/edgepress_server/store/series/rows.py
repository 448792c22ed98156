"""Minutes of many series together, on their way into the store: what a flush adds, and what is still open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgepress_devices.protocol import Histogram
from edgepress_server.store.series.frame import WIDTH, Frame
from edgepress_server.store.series.histograms import HistogramColumn
from edgepress_server.store.series.table import NAMES

Ints = NDArray[np.int64]
MINUTE_MS: Final = 60_000

_histograms = msgspec.msgpack.Decoder(dict[int, Histogram])


@dataclass(frozen=True)
class MinuteRows:
    """n rows; (series, minute, artifact) is a row's key, and may be there several times until `merged`."""

    series: Ints
    frame: Frame  # at: the minute; artifact: codes

    def __len__(self) -> int:
        return len(self.series)

    @staticmethod
    def empty() -> MinuteRows:
        return MinuteRows(np.zeros(0, np.int64), Frame.empty(MINUTE_MS, NAMES))

    @staticmethod
    def joined(parts: Sequence[MinuteRows]) -> MinuteRows:
        parts = [part for part in parts if len(part)] or list(parts[:1]) or [MinuteRows.empty()]
        if len(parts) == 1:
            return parts[0]
        frames = [part.frame for part in parts]
        arrays = {
            name: np.concatenate([getattr(frame, name) for frame in frames])
            for name in ("at", "artifact", "sums", "least", "most", "counts")
        }
        columns = {name: HistogramColumn.joined([f.histograms[name] for f in frames]) for name in NAMES}
        joined = Frame.of(arrays, MINUTE_MS, columns)
        return MinuteRows(np.concatenate([part.series for part in parts]), joined)

    def take(self, rows: NDArray[np.intp]) -> MinuteRows:
        return MinuteRows(self.series[rows], self.frame.take(rows))

    def owned_by(self, series: Ints) -> MinuteRows:
        """The same rows as those of other series, of the groups that a device is in: no artifact then."""
        return MinuteRows(series, replace(self.frame, artifact=np.zeros_like(self.frame.artifact)))

    def merged(self) -> MinuteRows:
        """One row a key, ascending."""
        return self.merged_marked(np.zeros(len(self), bool))[0]

    def merged_marked(self, mark: NDArray[np.bool_]) -> tuple[MinuteRows, NDArray[np.bool_]]:
        """`merged`, and of which keys some row was marked."""
        if len(self) == 0:
            return self, mark
        frame = self.frame
        order = np.lexsort((frame.artifact, frame.at, self.series))
        keys = [each[order] for each in (self.series, frame.at, frame.artifact)]
        new = np.ones(len(self), bool)
        new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
        first = np.flatnonzero(new)
        group = np.empty(len(self), np.int64)
        group[order] = np.cumsum(new) - 1
        merged = Frame(
            keys[1][first],
            MINUTE_MS,
            keys[2][first],
            np.add.reduceat(frame.sums[order], first),
            np.minimum.reduceat(frame.least[order], first),
            np.maximum.reduceat(frame.most[order], first),
            np.add.reduceat(frame.counts[order], first),
            {name: column.merged(group, len(first)) for name, column in frame.histograms.items()},
        )
        return MinuteRows(keys[0][first], merged), np.logical_or.reduceat(mark[order], first)

    def stored(self) -> list[tuple[Any, ...]]:
        """(series, minute, artifact, cells, histograms) of each, as `open_minutes` keeps them."""
        frame = self.frame
        cells = np.stack([frame.sums, frame.least, frame.most, frame.counts], axis=1)
        columns = [list(frame.histograms[name]) for name in NAMES]
        blobs = [
            msgspec.msgpack.encode({i: h for i, h in enumerate(row) if h is not None})
            for row in zip(*columns, strict=True)
        ]
        size = cells.itemsize * 4 * WIDTH
        packed = cells.tobytes()
        heads = zip(self.series.tolist(), frame.at.tolist(), frame.artifact.tolist(), strict=True)
        return [
            (*head, packed[i * size : (i + 1) * size], blob)
            for i, (head, blob) in enumerate(zip(heads, blobs, strict=True))
        ]


def from_stored(rows: Sequence[Any]) -> MinuteRows:
    """Rows (series, minute, artifact, cells, histograms) of `open_minutes`. Raises ValueError, MsgspecError.

    Cells of an older edgepress have fewer metrics: new ones are only ever added at the end.
    """
    if not rows:
        return MinuteRows.empty()
    heads = np.array([(row[0], row[1], row[2]) for row in rows], np.int64)
    cells = np.frombuffer(b"".join([row[3] for row in rows]), np.int64).reshape(len(rows), 4, -1)
    if cells.shape[2] != WIDTH:
        wider = np.zeros((len(rows), 4, WIDTH), np.int64)
        wider[:, 1], wider[:, 2] = np.iinfo(np.int64).max, np.iinfo(np.int64).min
        wider[:, :, : cells.shape[2]] = cells
        cells = wider
    found = [_histograms.decode(row[4]) for row in rows]
    columns = {name: HistogramColumn.of([each.get(i) for each in found]) for i, name in enumerate(NAMES)}
    frame = Frame(
        heads[:, 1], MINUTE_MS, heads[:, 2], cells[:, 0], cells[:, 1], cells[:, 2], cells[:, 3], columns
    )
    return MinuteRows(heads[:, 0], frame)


class OpenMinutes:
    """Minutes of devices that are not sealed, in memory; written down now and then for readers elsewhere.

    A cache: after a restart it is made anew of the hot rows. Rows are never changed in place, so a `mark` is
    cheap, and `back_to` undoes what was done since.
    """

    def __init__(self) -> None:
        self._merged: dict[int, MinuteRows] = {}  # minute -> its rows, one a key
        self._new: list[MinuteRows] = []

    def mark(self) -> tuple[dict[int, MinuteRows], list[MinuteRows]]:
        return dict(self._merged), list(self._new)

    def back_to(self, mark: tuple[dict[int, MinuteRows], list[MinuteRows]]) -> None:
        self._merged, self._new = mark

    def add(self, rows: MinuteRows) -> None:
        if len(rows):
            self._new.append(rows)

    def changed(self) -> int:
        """At least as many rows as `take_changed` would give."""
        return sum(len(part) for part in self._new)

    def take_changed(self) -> MinuteRows:
        """All rows that came since the last call, whole."""
        if not self._new:
            return MinuteRows.empty()
        new = MinuteRows.joined(self._new)
        self._new = []
        changed = []
        for minute in np.unique(new.frame.at).tolist():
            mine = new.take(np.flatnonzero(new.frame.at == minute))
            before = self._merged.get(minute, MinuteRows.empty())
            mark = np.arange(len(before) + len(mine)) >= len(before)
            rows, touched = MinuteRows.joined([before, mine]).merged_marked(mark)
            self._merged[minute] = rows
            changed.append(rows.take(np.flatnonzero(touched)))
        return MinuteRows.joined(changed)

    def drop(self, series: Sequence[int], before_ms: int) -> None:
        """These are sealed up to there."""
        mine = np.array(series, np.int64)
        for minute in [minute for minute in self._merged if minute < before_ms]:
            rows = self._merged[minute]
            left = rows.take(np.flatnonzero(~np.isin(rows.series, mine)))
            if len(left):
                self._merged[minute] = left
            else:
                del self._merged[minute]
        self._new = [
            part.take(np.flatnonzero(~((part.frame.at < before_ms) & np.isin(part.series, mine))))
            for part in self._new
        ]


class GroupMinutes:
    """Newest minutes of the groups, as the store has them, so that adding to one reads nothing."""

    KEEP: Final = 4000

    def __init__(self) -> None:
        self._recent = MinuteRows.empty()

    def forget(self) -> None:
        """What was added was not stored."""
        self._recent = MinuteRows.empty()

    def missing(self, rows: MinuteRows) -> MinuteRows:
        """Those of ``rows`` (one a key) that are not here: read what the store has of them."""
        mark = np.arange(len(self._recent) + len(rows)) < len(self._recent)
        found, known = MinuteRows.joined([self._recent, rows]).merged_marked(mark)
        return found.take(np.flatnonzero(~known))

    def added(self, rows: MinuteRows, read: MinuteRows) -> MinuteRows:
        """What the store is to have of them from now on. ``read``: what it has of the missing ones."""
        before = len(self._recent) + len(read)
        mark = np.arange(before + len(rows)) >= before
        everything, changed = MinuteRows.joined([self._recent, read, rows]).merged_marked(mark)
        newest = np.sort(np.argsort(everything.frame.at, kind="stable")[-self.KEEP :])
        self._recent = everything.take(newest)
        return everything.take(np.flatnonzero(changed))

    def drop(self, series: Sequence[int], before_ms: int) -> None:
        rows = self._recent
        kept = ~((rows.frame.at < before_ms) & np.isin(rows.series, np.array(series, np.int64)))
        self._recent = rows.take(np.flatnonzero(kept))

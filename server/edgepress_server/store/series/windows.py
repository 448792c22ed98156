"""The newest rows of very many series in one frame: what a look at a whole fleet reads. Read only.

`SeriesRead.frames` hands out a frame for each series, which costs some hundred microseconds each; here the
rows of all of them are put together as arrays, and none is looked at alone unless it is sealed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np

from edgepress_server.errors import StoreError
from edgepress_server.store.database import Database
from edgepress_server.store.series.block import BlockError
from edgepress_server.store.series.frame import Frame, Ints
from edgepress_server.store.series.keys import SeriesIds, SeriesKey
from edgepress_server.store.series.rows import from_stored
from edgepress_server.store.series.seal import HOUR_MS, MINUTE_MS
from edgepress_server.store.series.sealed import open_rollup
from edgepress_server.store.series.tables import HOURS, MINUTES, SeriesTables
from edgepress_server.store.series.texts import Texts

AT_A_TIME: Final = 2000  # series whose rows are in memory as rows of the database
_NO_HISTOGRAMS: Final = b"\x80"  # msgpack: an empty map


class SeriesWindows:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._tables = SeriesTables(database)
        self._ids = SeriesIds(database)
        self._texts = Texts(database)

    def rows(
        self,
        keys: Sequence[SeriesKey],
        from_ms: int,
        to_ms: int,
        *,
        span: Literal["minute", "hour"],
        histograms: Collection[str] = (),
    ) -> tuple[Frame, Ints]:
        """(all rows, when each begins); ``at`` of a row is the place of its series in ``keys``.

        A minute may be in several rows: whoever merges them by series adds them. Raises StoreError.
        """
        with self._database.snapshot():
            parts = list(self._parts(keys, from_ms, to_ms, span, histograms))
        frame, times = _joined(parts, span, histograms)
        return self._named(frame), times

    def merged(
        self,
        keys: Sequence[SeriesKey],
        from_ms: int,
        to_ms: int,
        *,
        span: Literal["minute", "hour"],
        histograms: Collection[str] = (),
    ) -> Frame:
        """One row for each series that has any; ``at`` is its place in ``keys``. Raises StoreError."""
        found = []
        with self._database.snapshot():
            for frame, _ in self._parts(keys, from_ms, to_ms, span, histograms):
                found.append(frame.grouped(frame.at, 0))  # at once: all rows of 10,000 devices are 50 MB
        return self._named(Frame.merged(found) if found else Frame.empty(0, list(histograms)))

    def _parts(
        self,
        keys: Sequence[SeriesKey],
        from_ms: int,
        to_ms: int,
        span: Literal["minute", "hour"],
        histograms: Collection[str],
    ) -> Iterator[tuple[Frame, Ints]]:
        """As `rows`, for some of the series at a time: all rows of those."""
        span_ms, tier = (MINUTE_MS, MINUTES) if span == "minute" else (HOUR_MS, HOURS)
        first_ms = from_ms // span_ms * span_ms
        last_ms = -(-to_ms // span_ms) * span_ms
        ids = self._ids.find(keys)
        place = {ids[key]: number for number, key in enumerate(keys) if key in ids}
        series = list(place)
        for first in range(0, len(series), AT_A_TIME):
            some = series[first : first + AT_A_TIME]
            parts = []
            for row in self._tables.blocks(some, tier, first_ms, to_ms):
                try:
                    frame = open_rollup(row["block"], span_ms, histograms)
                except BlockError as error:
                    raise StoreError(
                        "store_damaged",
                        f"Block {row['id']} of the telemetry cannot be read ({error}). Stop the server and "
                        "put a back-up of the store in its place.",
                    ) from error
                parts.append(_placed(frame, place[row["series"]], span_ms, first_ms, to_ms, histograms))
            open_rows: Sequence[Any] = self._tables.open_rows(some, first_ms, last_ms)
            if not histograms:  # decoding them is most of the work
                open_rows = [(*row[:4], _NO_HISTOGRAMS) for row in open_rows]
            if open_rows:
                minutes = from_stored(open_rows)
                places = np.array([place[number] for number in minutes.series.tolist()], np.int64)
                parts.append(_placed(minutes.frame, places, span_ms, first_ms, to_ms, histograms))
            if parts:
                yield _joined(parts, span, histograms)

    def _named(self, frame: Frame) -> Frame:
        if not len(frame):
            return frame
        return frame.named(self._texts.names(set(np.unique(frame.artifact).tolist())))


def _placed(
    frame: Frame, places: Ints | int, span_ms: int, first_ms: int, to_ms: int, histograms: Collection[str]
) -> tuple[Frame, Ints]:
    """(the rows of this time, ``at`` being their places; when each begins)."""
    columns = {name: frame.histograms[name] for name in histograms}
    at = frame.at // span_ms * span_ms
    whose = np.broadcast_to(np.asarray(places, np.int64), len(frame))
    placed = replace(frame, at=whose, span_ms=span_ms, histograms=columns)
    inside = (at >= first_ms) & (at < to_ms)
    if inside.all():
        return placed, at
    rows = np.flatnonzero(inside)
    return placed.take(rows), at[rows]


def _joined(
    parts: Sequence[tuple[Frame, Ints]], span: Literal["minute", "hour"], histograms: Collection[str]
) -> tuple[Frame, Ints]:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        span_ms = MINUTE_MS if span == "minute" else HOUR_MS
        return Frame.empty(span_ms, list(histograms)), np.zeros(0, np.int64)
    frames = [frame for frame, _ in parts]
    order = np.argsort(np.concatenate([frame.at for frame in frames]), kind="stable")  # as merged() does
    return Frame.merged(frames), np.concatenate([times for _, times in parts])[order]

"""The newest rows of very many series in one frame: what a look at a whole fleet reads. Read only.

`SeriesRead.frames` hands out a frame for each series, which costs some hundred microseconds each; here the
rows of all of them are put together as arrays, and none is looked at alone unless it is sealed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

import numpy as np

from edgepress_server.errors import StoreError
from edgepress_server.store.database import Database
from edgepress_server.store.series.block import BlockError
from edgepress_server.store.series.frame import Frame
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
    ) -> tuple[Frame, np.ndarray[Any, np.dtype[np.int64]]]:
        """(all rows, when each begins); ``at`` of a row is the place of its series in ``keys``.

        A minute may be in several rows: whoever merges them by series adds them. Raises StoreError.
        """
        span_ms, tier = (MINUTE_MS, MINUTES) if span == "minute" else (HOUR_MS, HOURS)
        first_ms = from_ms // span_ms * span_ms
        last_ms = -(-to_ms // span_ms) * span_ms
        parts: list[Frame] = []
        times: list[np.ndarray[Any, np.dtype[np.int64]]] = []

        def add(frame: Frame, places: Any) -> None:
            at = frame.at // span_ms * span_ms
            inside = np.flatnonzero((at >= first_ms) & (at < to_ms))
            some = frame.take(inside)
            columns = {name: some.histograms[name] for name in histograms}
            places = np.broadcast_to(places, len(frame))[inside].astype(np.int64)
            parts.append(replace(some, at=places, span_ms=span_ms, histograms=columns))
            times.append(at[inside])

        with self._database.snapshot():
            ids = self._ids.find(keys)
            place = {ids[key]: number for number, key in enumerate(keys) if key in ids}
            series = list(place)
            for first in range(0, len(series), AT_A_TIME):
                some = series[first : first + AT_A_TIME]
                for row in self._tables.blocks(some, tier, first_ms, to_ms):
                    try:
                        add(open_rollup(row["block"], span_ms, histograms), place[row["series"]])
                    except BlockError as error:
                        raise StoreError(
                            "store_damaged",
                            f"Block {row['id']} of the telemetry cannot be read ({error}). Stop the server and "
                            "put a back-up of the store in its place.",
                        ) from error
                open_rows = self._tables.open_rows(some, first_ms, last_ms)
                if not histograms:  # decoding them is most of the work
                    open_rows = [(*row[:4], _NO_HISTOGRAMS) for row in open_rows]  # type: ignore[misc]
                if open_rows:
                    minutes = from_stored(open_rows)
                    add(minutes.frame, np.array([place[number] for number in minutes.series.tolist()]))
            merged = Frame.merged(parts) if parts else Frame.empty(span_ms, list(histograms))
            when = np.concatenate(times) if times else np.zeros(0, np.int64)
            order = np.argsort(np.concatenate([p.at for p in parts]), kind="stable") if parts else when
            return self._named(merged), when[order] if len(parts) > 1 else when

    def _named(self, frame: Frame) -> Frame:
        if not len(frame):
            return frame
        return frame.named(self._texts.names(set(np.unique(frame.artifact).tolist())))

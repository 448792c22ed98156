"""What the query engine needs of the store: rows of series, and who the devices are."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.keys import SeriesKey
from edgepress_server.telemetry_query.plan import Tier


class Source(Protocol):
    """Rows of series with ``from_ms <= at < to_ms``; a series without rows is an empty frame."""

    def frame(
        self,
        key: SeriesKey,
        from_ms: int,
        to_ms: int,
        *,
        span: Tier | None = None,
        histograms: Collection[str] = (),
    ) -> Frame: ...

    def frames(
        self,
        keys: Sequence[SeriesKey],
        from_ms: int,
        to_ms: int,
        *,
        span: Tier | None = None,
        histograms: Collection[str] = (),
    ) -> Mapping[SeriesKey, Frame]: ...

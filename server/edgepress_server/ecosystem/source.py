"""What is read of the telemetry store here: rows of series, as `store.series_read` hands them out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol

from edgepress_devices.protocol import Sample
from edgepress_server.store.series.frame import Frame
from edgepress_server.store.series.keys import SeriesKey

Span = Literal["raw", "minute", "hour"]


class SeriesSource(Protocol):
    def frame(
        self,
        key: SeriesKey,
        from_ms: int,
        to_ms: int,
        *,
        span: Span | None = None,
        histograms: Collection[str] = (),
    ) -> Frame: ...

    def frames(
        self,
        keys: Sequence[SeriesKey],
        from_ms: int,
        to_ms: int,
        *,
        span: Span | None = None,
        histograms: Collection[str] = (),
    ) -> Mapping[SeriesKey, Frame]: ...

    def latest(self) -> Mapping[str, Sample]: ...

"""How the times of a device's requests are spread: the merged histogram of a range, bucket by bucket."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from flask import Response
from pydantic import Field

from edgepress_server.api.answers import Answer, Asked, answer, section
from edgepress_server.api.auth import needs
from edgepress_server.api.context import context
from edgepress_server.api.telemetry_times import Time, read_range
from edgepress_server.store.series.keys import SeriesKey

api = section("latency distributions", "How the times of requests are spread.")

_HOUR_MS = 3600 * 1000


class DistributionQuery(Asked):
    device: Annotated[str, Field(max_length=80)]
    stage: Literal["latency", "queue", "pre", "post"] = Field(
        "latency",
        description="latency is the run of the model; pre reads the request, post writes the answer",
    )
    from_: Time | None = Field(None, alias="from", description="Unix ms; default: an hour before `to`")
    to: Time | None = Field(None, description="Unix ms; default: now")


class DistributionAnswer(Answer):
    stage: Literal["latency", "queue", "pre", "post"]
    count: int = Field(description="Requests timed")
    low: list[float] = Field(description="us: above this, ascending; empty buckets are left out")
    high: list[float] = Field(description="us: up to and with this")
    counts: list[int]
    p50_us: float | None = Field(description="Within 1.09 %, as every quantile of a histogram")
    p95_us: float | None
    p99_us: float | None


@api.get("/telemetry/distribution", responses={200: DistributionAnswer})
@needs("viewer")
def get_distribution(query: DistributionQuery) -> Response:
    """The histogram of one device's times over a range

    A range of up to an hour of the last day is that of single samples, of up to two days of whole minutes,
    of a longer one, of whole hours. What took no measurable time is a first bucket from 0 to 0.
    """
    store = context().store
    store.devices.get(query.device)
    from_ms, to_ms = read_range(query.from_, query.to, None, _HOUR_MS, store.now_ms())
    name = f"{query.stage}_us"
    frame = store.series_read.frame(SeriesKey("device", query.device), from_ms, to_ms, histograms=(name,))
    joined = frame.grouped(np.zeros(len(frame), np.int64), frame.span_ms)
    merged = joined.histograms[name][0] if len(joined) else None
    low: list[float] = []
    high: list[float] = []
    counts: list[int] = []
    if merged is not None:
        if merged.zero_count:
            low, high, counts = [0.0], [0.0], [merged.zero_count]
        exponent = 2.0**-merged.scale
        for i, n in enumerate(merged.counts, merged.offset):
            if n:
                low.append(2.0 ** (i * exponent))
                high.append(2.0 ** ((i + 1) * exponent))
                counts.append(n)

    def quantile(q: float) -> float | None:
        return float(joined.quantile(name, q)[0]) if counts else None

    return answer(
        DistributionAnswer(
            stage=query.stage,
            count=sum(counts),
            low=low,
            high=high,
            counts=counts,
            p50_us=quantile(0.5),
            p95_us=quantile(0.95),
            p99_us=quantile(0.99),
        )
    )

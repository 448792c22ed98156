"""Families as ``io.prometheus.client.MetricFamily`` messages, each after its length: with native histograms.

Our histograms are Prometheus' native ones: base-2 exponential buckets, schema = scale. Only the numbering
differs: our bucket i is ``base**i < v <= base**(i+1)``, theirs is named after its upper bound, i + 1. So
counts and bounds arrive exactly; a schema above 8 is brought down to 8 exactly (buckets are joined in pairs),
one below -4, which Prometheus has not, is left out: classic buckets still tell it.

::

    MetricFamily  name 1 text, help 2 text, type 3 enum, metric 4, unit 5 text
    Metric        label 1 (name 1, value 2), gauge 2 (value 1 double), counter 3 (value 1 double), histogram 7
    Histogram     sample_count 1 u64, sample_sum 2 double, bucket 3 (cumulative_count 1 u64, upper_bound 2
                  double), schema 5 s32, zero_threshold 6 double, zero_count 7 u64,
                  positive_span 12 (offset 1 s32, length 2 u32), positive_delta 13 s64, packed

Source: client_model's metrics.proto, and the text of Prometheus' documentation of native histograms.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from edgepress_devices.histogram import total
from edgepress_devices.protocol import Histogram
from edgepress_server.ecosystem.exposition_text import classic_bounds, cumulative, sum_of
from edgepress_server.ecosystem.families import Family, Point
from edgepress_server.ecosystem.protobuf import (
    double,
    message,
    packed_signed,
    signed,
    text,
    unsigned,
    varint,
)

PROTOBUF_TYPE: Final = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)
SCHEMA_LEAST: Final = -4
SCHEMA_MOST: Final = 8
ZERO_THRESHOLD: Final = 2.0**-128  # of what is called zero; Prometheus' own, and below every bucket of ours
GAP_MAX: Final = 2  # empty buckets that are written rather than skipped: a span costs about as much

_TYPES: Final = {"counter": 0, "gauge": 1, "histogram": 4}


def write_protobuf(families: Iterable[Family]) -> bytes:
    out = bytearray()
    for family in families:
        body = _family(family)
        out += varint(len(body)) + body
    return bytes(out)


def _family(family: Family) -> bytes:
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    parts = [text(1, name), text(2, family.help), unsigned(3, _TYPES[family.kind])]
    parts += (message(4, _metric(family, point)) for point in family.points)
    if family.unit:
        parts.append(text(5, family.unit))
    return b"".join(parts)


def _metric(family: Family, point: Point) -> bytes:
    labels = b"".join(message(1, text(1, name) + text(2, value)) for name, value in point.labels)
    if point.histogram is not None:
        return labels + message(7, _histogram(family, point.histogram))
    return labels + message(3 if family.kind == "counter" else 2, double(1, point.value))


def _histogram(family: Family, histogram: Histogram) -> bytes:
    classic = (
        message(3, unsigned(1, seen) + double(2, bound))
        for bound, seen in cumulative(histogram, classic_bounds(family))
    )
    head = unsigned(1, total(histogram)) + double(2, sum_of(histogram)) + b"".join(classic)
    return head + _native(histogram)


def _native(histogram: Histogram) -> bytes:
    if histogram.scale < SCHEMA_LEAST:
        return b""
    coarse = at_most(histogram, SCHEMA_MOST)
    spans, counts = native_spans(coarse)
    deltas = [after - before for before, after in pairwise([0, *counts])]
    return (
        signed(5, coarse.scale)
        + double(6, ZERO_THRESHOLD)
        + unsigned(7, coarse.zero_count)
        # A span of nothing says that this is a native histogram where all values are zero.
        + b"".join(message(12, signed(1, offset) + unsigned(2, n)) for offset, n in spans or [(0, 0)])
        + packed_signed(13, deltas)
    )


def native_spans(histogram: Histogram) -> tuple[list[tuple[int, int]], list[int]]:
    """((gap since the last span, or place of the first bucket; buckets), ...) and all their counts."""
    spans: list[tuple[int, int]] = []
    counts: list[int] = []
    end = 0  # one past the last span
    for first, run in _runs(histogram.counts):
        place = histogram.offset + 1 + first
        spans.append((place - end, len(run)))
        counts += run
        end = place + len(run)
    return spans, counts


def _runs(counts: list[int]) -> Iterator[tuple[int, list[int]]]:
    """Stretches of buckets with at most GAP_MAX empty ones in a row, none at their ends."""
    used = [i for i, count in enumerate(counts) if count]
    if not used:
        return
    first = last = used[0]
    for i in used[1:]:
        if i - last > GAP_MAX + 1:
            yield first, counts[first : last + 1]
            first = i
        last = i
    yield first, counts[first : last + 1]


def at_most(histogram: Histogram, scale: int) -> Histogram:
    """The same at this scale where it was a finer one: exactly."""
    shift = histogram.scale - scale
    if shift <= 0 or not histogram.counts:
        return histogram if shift <= 0 else Histogram(scale, 0, [], histogram.zero_count)
    low = histogram.offset >> shift
    counts = [0] * (((histogram.offset + len(histogram.counts) - 1) >> shift) - low + 1)
    for i, count in enumerate(histogram.counts, histogram.offset):
        counts[(i >> shift) - low] += count
    return Histogram(scale, low, counts, histogram.zero_count)

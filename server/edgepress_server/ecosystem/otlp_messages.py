"""Running totals of devices as OTLP: the bytes of ``ExportMetricsServiceRequest`` (opentelemetry-proto, v1).

One resource for each device and artifact. Counts are cumulative monotonic sums, gauges the mean of the newest
minute, latencies cumulative ExponentialHistograms: the same scale, offset and counts that we hold, no bucket
is moved. There is no ``sum`` in them, since devices send none.

::

    Request        resource_metrics 1
    ResourceMetrics  resource 1 (attributes 1), scope_metrics 2
    ScopeMetrics   scope 1 (name 1, version 2), metrics 2
    Metric         name 1, description 2, unit 3, gauge 5, sum 7, exponential_histogram 10
    Gauge          data_points 1
    Sum            data_points 1, aggregation_temporality 2 (2: cumulative), is_monotonic 3
    NumberDataPoint  start 2, time 3 (fixed64, ns), as_double 4, as_int 6 (sfixed64), attributes 7
    ExponentialHistogram  data_points 1, aggregation_temporality 2
      its point    start 2, time 3, count 4 (fixed64), scale 6 (sint32), zero_count 7 (fixed64),
                   positive 8 (offset 1 sint32, bucket_counts 2 uint64, packed), zero_threshold 14
    KeyValue       key 1, value 2 (AnyValue: string_value 1)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from edgepress_devices import __version__
from edgepress_devices.histogram import total
from edgepress_devices.metrics import BY_NAME, HISTOGRAMS, Metric
from edgepress_devices.protocol import Histogram
from edgepress_server.ecosystem.names import PREFIX, histogram_plain, otlp_name, ucum
from edgepress_server.ecosystem.protobuf import (
    double,
    fixed64,
    message,
    packed_unsigned,
    signed,
    signed_fixed64,
    text,
    unsigned,
)
from edgepress_server.ecosystem.totals import COUNTS, Total

CUMULATIVE: Final = 2
ZERO_THRESHOLD: Final = 2.0**-64  # us: what devices count as zero (`edgepress_devices.histogram`)
_NS: Final = 1_000_000  # of a millisecond


@dataclass(frozen=True)
class DevicePoints:
    """What is told of one device and artifact at one moment."""

    attributes: Mapping[str, str]  # of the resource
    start_ms: int  # totals count from here, Unix ms
    time_ms: int  # ... to here
    total: Total
    gauges: Mapping[str, float]  # metric -> mean of the newest minute, in the catalogue's unit


def request_of(points: Iterable[DevicePoints]) -> bytes:
    return b"".join(message(1, _resource_metrics(each)) for each in points)


def points_in(each: DevicePoints) -> int:
    """How many data points `request_of` writes for it."""
    counts = sum(name in each.total.sums for name in COUNTS)
    return counts + len(each.gauges) + sum(name in each.total.histograms for name in HISTOGRAMS)


def _resource_metrics(each: DevicePoints) -> bytes:
    resource = b"".join(_attribute(1, key, value) for key, value in each.attributes.items() if value)
    scope = text(1, f"{PREFIX}-server") + text(2, __version__)
    metrics = b"".join(message(2, metric) for metric in _metrics(each))
    return message(1, resource) + message(2, message(1, scope) + metrics)


def _metrics(each: DevicePoints) -> Iterable[bytes]:
    times = fixed64(2, each.start_ms * _NS) + fixed64(3, each.time_ms * _NS)
    for name in COUNTS:
        if name in each.total.sums:
            metric = BY_NAME[name]
            point = times + signed_fixed64(6, round(each.total.value(name) or 0.0))
            body = message(1, point) + unsigned(2, CUMULATIVE) + unsigned(3, 1)
            yield _head(metric) + message(7, body)
    for name, value in each.gauges.items():
        point = fixed64(3, each.time_ms * _NS) + double(4, value)
        yield _head(BY_NAME[name]) + message(5, message(1, point))
    for name, title in HISTOGRAMS.items():
        histogram = each.total.histograms.get(name)
        if histogram is not None:
            head = text(1, f"{PREFIX}.{histogram_plain(name)}") + text(2, title) + text(3, "us")
            body = message(1, times + _histogram(histogram)) + unsigned(2, CUMULATIVE)
            yield head + message(10, body)


def _head(metric: Metric) -> bytes:
    return text(1, otlp_name(metric)) + text(2, metric.title) + text(3, ucum(metric))


def _histogram(histogram: Histogram) -> bytes:
    positive = signed(1, histogram.offset) + packed_unsigned(2, histogram.counts)
    return (
        fixed64(4, total(histogram))
        + signed(6, histogram.scale)
        + fixed64(7, histogram.zero_count)
        + message(8, positive if histogram.counts else b"")
        + double(14, ZERO_THRESHOLD)
    )


def _attribute(field: int, key: str, value: str) -> bytes:
    return message(field, text(1, key) + message(2, text(1, value)))

"""OTLP: what is written, as opentelemetry's own classes read it; what collectors answer; the line to them."""

from __future__ import annotations

import random

import pytest
from ecosystem_fleet import A, Fleet
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsPartialSuccess,
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE
from server_story import Clock

from edgepress_devices.histogram import merge, total
from edgepress_server.ecosystem.otlp_answer import Outcome, outcome_of, read_partial_success
from edgepress_server.ecosystem.otlp_line import PAUSE_MAX_S, Line, Request
from edgepress_server.ecosystem.otlp_messages import DevicePoints, points_in, request_of
from edgepress_server.ecosystem.otlp_push import metrics_url, read_headers
from edgepress_server.ecosystem.totals import total_of
from edgepress_server.errors import InvalidInputError
from edgepress_server.store import Store
from edgepress_server.store.series.keys import SeriesKey

AGAIN = Outcome(taken=False, try_again=True, saying="the collector answered 503")
TAKEN = Outcome(taken=True)


def test_opentelemetry_reads_what_the_device_measured(store: Store, clock: Clock) -> None:
    fleet = Fleet(store, clock)
    samples = fleet.report("pi-1", 30)
    frame = store.series_read.frame(
        SeriesKey("device", "pi-1"), 0, clock.ms + 1, span="minute", histograms=("latency_us",)
    )
    points = DevicePoints(
        attributes={"host.name": "pi-1", "edgepress.artifact": A, "edgepress.model": ""},
        start_ms=clock.ms - 60_000,
        time_ms=clock.ms,
        total=total_of(frame),
        gauges={"temp_c": 51.25, "power_mw": 2500.0},
    )
    read = ExportMetricsServiceRequest.FromString(request_of([points, points]))
    assert len(read.resource_metrics) == 2
    (scope,) = read.resource_metrics[0].scope_metrics
    attributes = {a.key: a.value.string_value for a in read.resource_metrics[0].resource.attributes}
    assert attributes == {"host.name": "pi-1", "edgepress.artifact": A}
    metrics = {metric.name: metric for metric in scope.metrics}
    inferences = metrics["edgepress.inferences"].sum
    assert (
        inferences.is_monotonic and inferences.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    )
    assert inferences.data_points[0].as_int == sum(sample.inferences for sample in samples)
    assert inferences.data_points[0].start_time_unix_nano == (clock.ms - 60_000) * 1_000_000
    assert metrics["edgepress.temp"].gauge.data_points[0].as_double == 51.25
    assert (metrics["edgepress.temp"].unit, metrics["edgepress.latency"].unit) == ("Cel", "us")
    latency = metrics["edgepress.latency"].exponential_histogram
    assert latency.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    expected = merge([sample.latency_us for sample in samples if sample.latency_us is not None])
    assert expected is not None
    point = latency.data_points[0]
    assert (point.scale, point.positive.offset) == (expected.scale, expected.offset)
    assert list(point.positive.bucket_counts) == expected.counts
    assert (point.count, point.zero_count) == (total(expected), 0) and not point.HasField("sum")
    written = sum(
        len(m.sum.data_points) + len(m.gauge.data_points) + len(m.exponential_histogram.data_points)
        for m in scope.metrics
    )
    assert points_in(points) == written


@pytest.mark.parametrize(
    ("status", "retry_after", "expected"),
    [
        (200, None, TAKEN),
        (202, None, TAKEN),
        (503, None, Outcome(False, True, None, saying="the collector answered 503")),
        (429, "7", Outcome(False, True, 7.0, saying="the collector answered 429")),
        (429, "99999", Outcome(False, True, 300.0, saying="the collector answered 429")),
        (504, "Wed, 21 Oct 2026", Outcome(False, True, None, saying="the collector answered 504")),
        (400, None, Outcome(False, saying="the collector refuses what is sent (HTTP 400)")),
        (401, None, Outcome(False, saying="the collector refuses what is sent (HTTP 401)")),
        (301, None, Outcome(False, saying="the collector refuses what is sent (HTTP 301)")),
    ],
)
def test_what_an_answer_means(status: int, retry_after: str | None, expected: Outcome) -> None:
    assert outcome_of(status, b"", retry_after) == expected


def test_partial_success_is_read() -> None:
    body = ExportMetricsServiceResponse(
        partial_success=ExportMetricsPartialSuccess(rejected_data_points=3, error_message="too old\nby far")
    ).SerializeToString()
    assert outcome_of(200, body) == Outcome(taken=True, rejected=3, saying="too old by far")
    assert outcome_of(200, ExportMetricsServiceResponse().SerializeToString()) == TAKEN


@pytest.mark.attack("answer of a collector", "any bytes: it counts as taken, nothing breaks")
@given(st.binary(max_size=200))
def test_no_answer_of_a_collector_breaks_anything(body: bytes) -> None:
    rejected, words = read_partial_success(body)
    assert rejected >= 0 and words.isprintable()


def test_a_collector_that_is_away_is_tried_ever_more_rarely() -> None:
    line = Line(draw=random.Random(1))
    line.put(Request(b"x", 5))
    now_s, pauses = 0.0, []
    for _ in range(10):
        assert line.next(now_s) is not None
        line.settle(AGAIN, now_s)
        assert line.next(now_s) is None
        pauses.append(line.due_s - now_s)
        now_s = line.due_s
    assert pauses[0] <= 1.0 and 30.0 <= pauses[-1] <= PAUSE_MAX_S
    line.settle(TAKEN, now_s)
    assert (line.sent_points, len(line)) == (5, 0)
    line.put(Request(b"x", 5))
    line.settle(AGAIN, now_s)
    assert line.due_s - now_s <= 1.0  # it begins anew


def test_the_collector_may_ask_for_a_pause() -> None:
    line = Line()
    line.put(Request(b"x", 5))
    line.settle(outcome_of(429, b"", "17"), 100.0)
    assert line.due_s == 117.0


@pytest.mark.fault("collector away", "requests wait in a bounded line, the oldest goes, totals lose nothing")
def test_the_line_is_bounded_and_the_oldest_goes() -> None:
    line = Line(max_bytes=100)
    for n in range(10):
        line.put(Request(bytes(30), n))
    assert len(line) == 3 and line.waiting_bytes == 90
    assert line.dropped_points == sum(range(7))
    first = line.next(0.0)
    assert first is not None and first.points == 7


def test_what_is_refused_is_not_sent_again() -> None:
    line = Line()
    line.put(Request(b"x", 5))
    line.put(Request(b"y", 6))
    line.settle(outcome_of(400, b""), 0.0)
    assert (line.refused_points, line.sent_points, len(line)) == (5, 0, 1)
    assert "HTTP 400" in line.trouble
    line.settle(Outcome(taken=True, rejected=2), 0.0)
    assert (line.rejected_points, line.sent_points, line.trouble) == (2, 4, "")


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/metrics"),
        ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/metrics"),
        ("https://otel.example.org/otlp", "https://otel.example.org/otlp/v1/metrics"),
        ("https://otel.example.org/v1/metrics", "https://otel.example.org/v1/metrics"),
        ("https://otel.example.org/v1/metrics/?key=1", "https://otel.example.org/v1/metrics?key=1"),
    ],
)
def test_where_metrics_go(endpoint: str, url: str) -> None:
    assert metrics_url(endpoint) == url


def test_headers_are_read_as_opentelemetry_writes_them() -> None:
    assert read_headers(" Authorization=Bearer%20a%3Db, X-Scope=1 ") == {
        "Authorization": "Bearer a=b",
        "X-Scope": "1",
    }
    for wrong in ("nonsense", "a b=c", "X=%0d%0aEvil", "=x"):
        with pytest.raises(InvalidInputError, match="EDGEPRESS_OTLP_HEADERS"):
            read_headers(wrong)

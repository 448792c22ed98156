"""What Prometheus reads: three formats, each by a reader that is not ours."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text
from prometheus_messages import decode, native_counts

from edgepress_devices.histogram import LatencyRecorder, total
from edgepress_devices.protocol import Histogram
from edgepress_server.ecosystem import protobuf
from edgepress_server.ecosystem.exposition_protobuf import at_most, write_protobuf
from edgepress_server.ecosystem.exposition_text import CLASSIC_BOUNDS, write_text
from edgepress_server.ecosystem.families import Family
from edgepress_server.ecosystem.negotiate import wanted_format

NASTY = 'a "quoted" \\ back\nslash, über {brace}'


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    """Any that the wire lets in, at the scales that Prometheus has and finer ones."""
    scale = draw(st.integers(-4, 20))
    edge = int(math.ldexp(128.0, scale))
    offset = draw(st.integers(-edge, edge))
    counts = draw(st.lists(st.one_of(st.just(0), st.integers(0, 2**40)), max_size=min(80, edge - offset)))
    return Histogram(scale, offset, counts, draw(st.integers(0, 2**40)))


def sample_families() -> list[Family]:
    counter = Family("edgepress_inferences", "counter", 'Inferences, "all" of\nthem')
    counter.add(12, profile=NASTY, artifact="0123")
    counter.add(1e15, profile="x", artifact="")
    gauge = Family("edgepress_temp_max_celsius", "gauge", "Temperature")
    gauge.add(-1.5, device="pi")
    gauge.add(math.nan, device="silent")
    gauge.add(None, device="absent")
    recorder = LatencyRecorder()
    for value_us in (0.0, 31.9, 32.0, 32.1, 1000.0, 1e9):
        recorder.record(value_us)
    latency = Family("edgepress_latency_microseconds", "histogram", "Latency")
    latency.add_histogram(recorder.snapshot(), profile="x")
    latency.add_histogram(None, profile="never measured")
    return [counter, gauge, latency]


def test_text_says_what_the_families_hold() -> None:
    text = write_text(sample_families(), openmetrics=False).decode()
    found = {family.name: family for family in read_text(text)}
    assert {name: family.type for name, family in found.items()} == {
        "edgepress_inferences": "counter",
        "edgepress_temp_max_celsius": "gauge",
        "edgepress_latency_microseconds": "histogram",
    }
    first = found["edgepress_inferences"].samples[0]
    assert (first.name, first.labels["profile"], first.value) == ("edgepress_inferences_total", NASTY, 12.0)
    assert [s.labels["device"] for s in found["edgepress_temp_max_celsius"].samples] == ["pi"]


def test_openmetrics_is_read_by_its_strict_parser() -> None:
    text = write_text(sample_families(), openmetrics=True).decode()
    assert text.endswith("# EOF\n")
    found = {family.name: family for family in read_openmetrics(text)}
    assert found["edgepress_temp_max_celsius"].unit == "celsius"
    assert found["edgepress_inferences"].samples[0].labels["profile"] == NASTY
    assert found["edgepress_inferences"].documentation == 'Inferences, "all" of\nthem'


def test_classic_buckets_are_exact_at_powers_of_two() -> None:
    found = {f.name: f for f in read_text(write_text(sample_families(), openmetrics=False).decode())}
    samples = found["edgepress_latency_microseconds"].samples
    buckets = {s.labels["le"]: s.value for s in samples if s.name.endswith("_bucket")}
    assert buckets["32.0"] == 3  # 0, 31.9 and 32 itself: the bound belongs to its bucket
    assert buckets["64.0"] == 4
    assert buckets["1024.0"] == 5
    assert buckets[f"{CLASSIC_BOUNDS[-1]}"] == 5
    assert buckets["+Inf"] == 6
    assert next(s.value for s in samples if s.name.endswith("_count")) == 6


@given(histograms())
def test_native_histograms_hold_the_same_buckets(histogram: Histogram) -> None:
    family = Family("edgepress_latency_microseconds", "histogram", "Latency")
    family.add_histogram(histogram, profile="x")
    read = decode(write_protobuf([family]))["edgepress_latency_microseconds"].metric[0].histogram
    exact = at_most(histogram, 8)
    theirs = {index: count for index, count in native_counts(read).items() if count}
    # ours begins above base**i, theirs ends at base**index
    ours = {exact.offset + i + 1: count for i, count in enumerate(exact.counts) if count}
    assert theirs == ours
    assert (read.schema, read.zero_count) == (exact.scale, histogram.zero_count)
    assert read.sample_count == total(histogram) == read.zero_count + sum(theirs.values())
    assert len(read.positive_span) >= 1  # what tells a native histogram from a classic one


@given(histograms())
def test_classic_buckets_grow_and_end_at_the_count(histogram: Histogram) -> None:
    family = Family("edgepress_latency_microseconds", "histogram", "Latency")
    family.add_histogram(histogram, profile="x")
    read = decode(write_protobuf([family]))["edgepress_latency_microseconds"].metric[0].histogram
    seen = [bucket.cumulative_count for bucket in read.bucket]
    assert seen == sorted(seen) and seen[-1] <= read.sample_count
    assert [bucket.upper_bound for bucket in read.bucket] == list(CLASSIC_BOUNDS)


def test_protobuf_says_what_the_families_hold() -> None:
    found = decode(write_protobuf(sample_families()))
    assert list(found) == [
        "edgepress_inferences_total",
        "edgepress_temp_max_celsius",
        "edgepress_latency_microseconds",
    ]
    counter = found["edgepress_inferences_total"]
    assert [pair.value for pair in counter.metric[0].label] == [NASTY, "0123"]
    assert counter.metric[1].counter.value == 1e15
    assert found["edgepress_temp_max_celsius"].metric[0].gauge.value == -1.5
    assert found["edgepress_temp_max_celsius"].unit == "celsius"


def test_a_histogram_too_coarse_for_prometheus_is_told_by_classic_buckets_only() -> None:
    family = Family("edgepress_latency_microseconds", "histogram", "Latency")
    family.add_histogram(Histogram(-6, 0, [5]), profile="x")
    read = decode(write_protobuf([family]))["edgepress_latency_microseconds"].metric[0].histogram
    assert read.sample_count == 5 and not read.HasField("schema")


def test_only_zeros_are_a_native_histogram_too() -> None:
    family = Family("edgepress_latency_microseconds", "histogram", "Latency")
    family.add_histogram(Histogram(5, 0, [], 7), profile="x")
    read = decode(write_protobuf([family]))["edgepress_latency_microseconds"].metric[0].histogram
    assert (read.zero_count, read.sample_count, len(read.positive_span)) == (7, 7, 1)


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_numbers_are_written_as_protobuf_reads_them(value: int) -> None:
    from google.protobuf.internal import decoder, wire_format

    data = protobuf.varint(protobuf.zigzag(value))
    raw, end = decoder._DecodeVarint(data, 0)
    assert (wire_format.ZigZagDecode(raw), end) == (value, len(data))


PROMETHEUS_3 = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "text"),
        ("*/*", "text"),
        ("text/html,application/xhtml+xml", "text"),
        ("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", "openmetrics"),
        ("application/openmetrics-text;version=9.0.0,text/plain;q=0.1", "text"),
        (PROMETHEUS_3, "protobuf"),
        ("application/vnd.google.protobuf;encoding=text", "text"),
        ("application/vnd.google.protobuf;q=0", "text"),
        ("application/openmetrics-text;q=x", "text"),
        (",;=," * 5000, "text"),
    ],
)
def test_the_scraper_gets_what_it_asks_for(accept: str, form: str) -> None:
    assert wanted_format(accept) == form


@pytest.mark.parametrize("name", ["edgepress_total", "edgepress-x", "9lives", "a_bucket"])
def test_a_family_with_a_wrong_name_cannot_be_made(name: str) -> None:
    with pytest.raises(ValueError, match="no name"):
        Family(name, "counter", "")

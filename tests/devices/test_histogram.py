"""Latency histograms against brute force: exact buckets, quantiles within 1.09 %, merging without loss."""

import math
import random
import threading
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_devices import protocol
from edgepress_devices.histogram import (
    LATENCY_MAX_US,
    MAX_BUCKETS,
    SCALE,
    HistogramError,
    LatencyRecorder,
    bounds,
    bucket_index,
    buckets,
    mean,
    merge,
    quantile,
    total,
)
from edgepress_devices.protocol import BUCKET_COUNT_MAX, Histogram

# DESIGN: about 1 %. The best point of a bucket is at most (base - 1) / (base + 1) away from any value in it
WORST = (2 ** (1 / 32) - 1) / (2 ** (1 / 32) + 1) + 1e-12

latencies = st.floats(0.001, 1e9)
anything = st.floats(0.0, LATENCY_MAX_US)
lists = st.lists(latencies, min_size=1, max_size=200)


def recorded(values: list[float], max_buckets: int = MAX_BUCKETS) -> Histogram:
    recorder = LatencyRecorder(max_buckets)
    for value in values:
        recorder.record(value)
    histogram = recorder.take()
    assert histogram is not None
    return histogram


def contains(scale: int, index: int, value: float) -> bool:
    """base**index < value <= base**(index + 1), in exact rational arithmetic."""
    power = Fraction(value) ** (1 << scale) if scale >= 0 else Fraction(value)
    width = 1 if scale >= 0 else 1 << -scale
    return Fraction(2) ** (index * width) < power <= Fraction(2) ** ((index + 1) * width)


@given(st.floats(2.0**-64, LATENCY_MAX_US))
def test_a_value_falls_into_the_bucket_that_holds_it_exactly(value: float) -> None:
    assert contains(SCALE, bucket_index(value), value)


@pytest.mark.parametrize("exponent", [-40, -1, 0, 1, 10, 63])
def test_a_power_of_two_is_the_upper_end_of_its_bucket(exponent: int) -> None:
    value = 2.0**exponent
    assert bucket_index(value) == exponent * 32 - 1
    assert bucket_index(math.nextafter(value, math.inf)) == exponent * 32


@given(lists, st.floats(0.0, 1.0))
def test_a_quantile_is_within_1_09_percent_of_the_sorted_list(values: list[float], q: float) -> None:
    histogram = recorded(values, max_buckets=4096)  # no value is out of range: scale 5 throughout
    exact = sorted(values)[max(1, math.ceil(q * len(values))) - 1]
    answer = quantile(histogram, q)
    assert histogram.scale == SCALE
    assert answer is not None and abs(answer - exact) <= WORST * exact


@given(lists)
def test_the_mean_is_within_1_09_percent(values: list[float]) -> None:
    exact = math.fsum(values) / len(values)
    answer = mean(recorded(values, max_buckets=4096))
    assert answer is not None and abs(answer - exact) <= WORST * exact * (1 + 1e-9)


@given(st.lists(anything, max_size=100), st.integers(4, 64))
def test_recording_keeps_every_value_and_its_bound(values: list[float], max_buckets: int) -> None:
    recorder = LatencyRecorder(max_buckets)
    for value in values:
        recorder.record(value)
    histogram = recorder.take()
    if not values:
        assert histogram is None
        return
    assert histogram is not None
    assert len(histogram.counts) <= max_buckets
    assert total(histogram) == len(values)
    for value in values:
        if value >= 2.0**-64:
            position = (bucket_index(value) >> (SCALE - histogram.scale)) - histogram.offset
            assert histogram.counts[position] > 0 and contains(
                histogram.scale, histogram.offset + position, value
            )


@given(st.lists(anything, min_size=1, max_size=60), st.integers(0, 2**32))
def test_the_order_of_recording_does_not_matter(values: list[float], seed: int) -> None:
    shuffled = values.copy()
    random.Random(seed).shuffle(shuffled)
    assert recorded(values, 40) == recorded(shuffled, 40)


@given(st.lists(st.lists(anything, min_size=1, max_size=40), min_size=1, max_size=6))
def test_merging_is_recording_everything_in_one(parts: list[list[float]]) -> None:
    merged = merge([recorded(part) for part in parts])
    assert merged == recorded([value for part in parts for value in part])


@given(st.lists(st.lists(anything, min_size=1, max_size=20), min_size=2, max_size=5), st.integers(4, 80))
def test_merging_is_associative_and_commutative(parts: list[list[float]], max_buckets: int) -> None:
    histograms = [recorded(part, max_buckets) for part in parts]
    left = histograms[0]
    for histogram in histograms[1:]:
        step = merge([left, histogram], max_buckets)
        assert step is not None
        left = step
    assert left == merge(reversed(histograms), max_buckets)
    assert total(left) == sum(len(part) for part in parts)


WIRE = [
    Histogram(-10, -1, [1, 2], 3),
    Histogram(20, 2**27 - 4000, [1] * 4000),
    Histogram(20, -(2**27), [0] * 4000 + [5]),
    Histogram(5, 0, [], 9),
    Histogram(0, 40, [0, 0, 0]),
    Histogram(5, 320, [BUCKET_COUNT_MAX], BUCKET_COUNT_MAX),
]


def test_whatever_the_wire_lets_in_merges_into_something_it_lets_in_again() -> None:
    for limit in (4, 160, MAX_BUCKETS):
        merged = merge(WIRE * 2, limit)
        assert merged is not None and len(merged.counts) <= limit
        batch = protocol.TelemetryBatch(1, "e", 1, [protocol.Sample(1, 1, latency_us=merged)])
        assert protocol.decode_batch(protocol.encode_batch(batch)) == batch
        answers = [quantile(merged, q) for q in (0.0, 0.5, 1.0)] + [mean(merged)]
        assert all(answer is not None and math.isfinite(answer) for answer in answers)


def test_counts_stop_at_the_limit_instead_of_passing_it() -> None:
    full = Histogram(5, 320, [BUCKET_COUNT_MAX], BUCKET_COUNT_MAX)
    assert merge([full, full]) == full


def test_a_fleets_p99_is_the_quantile_of_the_merged_histogram() -> None:
    slow, fast = recorded([9_000.0] * 100), recorded([1_000.0] * 9_900)
    fleet = merge([slow, fast])
    assert fleet is not None
    p99, p999 = quantile(fleet, 0.99), quantile(fleet, 0.999)
    assert p99 == pytest.approx(1_000.0, rel=WORST)
    assert p999 == pytest.approx(9_000.0, rel=WORST)


def test_take_starts_again_and_snapshot_does_not() -> None:
    recorder = LatencyRecorder()
    recorder.record(10.0, count=3)
    assert recorder.snapshot() == recorder.snapshot() == recorder.take()
    assert recorder.take() is None


def test_zero_and_unmeasurably_small_are_counted_as_zero() -> None:
    histogram = recorded([0.0, 1e-30, 5.0])
    assert histogram.zero_count == 2
    assert [quantile(histogram, q) for q in (0.1, 0.6)] == [0.0, 0.0]


def test_empty_histograms_have_no_quantile() -> None:
    empty = Histogram(SCALE, 0, [])
    assert quantile(empty, 0.5) is None and mean(empty) is None
    assert merge([]) is None
    assert merge([empty, empty]) == empty


def test_buckets_for_a_chart_leave_out_the_empty_ones() -> None:
    shown = list(buckets(recorded([1.5, 1.5, 100.0])))
    assert [count for _, _, count in shown] == [2, 1]
    assert all(low < value <= high for (low, high, _), value in zip(shown, (1.5, 100.0), strict=True))
    assert bounds(Histogram(0, 3, [1]), 0) == (8.0, 16.0)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, -math.inf, 2.0**65])
def test_what_is_no_latency_is_refused(value: float) -> None:
    with pytest.raises(HistogramError, match="cannot be"):
        LatencyRecorder().record(value)


def test_quantiles_and_sizes_out_of_range_are_refused() -> None:
    histogram = recorded([1.0])
    for call in (
        lambda: quantile(histogram, 1.1),
        lambda: quantile(histogram, math.nan),
        lambda: LatencyRecorder(3),
        lambda: merge([histogram], 3),
    ):
        with pytest.raises(HistogramError):
            call()


def test_threads_lose_no_count() -> None:
    recorder, per_thread, taken = LatencyRecorder(), 20_000, []

    def work(seed: int) -> None:
        generator = random.Random(seed)
        for _ in range(per_thread):
            recorder.record(generator.lognormvariate(7, 1))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken.append(recorder.take())
        threads[0].join(0.005)
    taken.append(recorder.take())
    merged = merge([histogram for histogram in taken if histogram is not None])
    assert merged is not None and total(merged) == 3 * per_thread

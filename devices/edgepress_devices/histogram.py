"""Latency histograms: OpenTelemetry's base-2 exponential buckets, recorded in O(1) and merged by adding.

Bucket ``i`` at scale ``s`` holds ``base**i < v <= base**(i+1)`` with ``base = 2**(2**-s)`` (OpenTelemetry
metrics data model, ExponentialHistogram). At scale 5, base = 1.0219: any value of a bucket lies within
1.09 % of the value that :func:`quantile` answers for it. Adding 1 to a scale halves the buckets; going down
one scale joins the buckets ``2i`` and ``2i+1`` into ``i`` exactly, so histograms of different scales merge
without error beyond the coarser one's.

A fleet's p99 is the quantile of the merged histogram, never an average of the devices' p99.
"""

import math
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from typing import Final

from edgepress_devices.protocol import BUCKET_COUNT_MAX, Histogram

SCALE: Final = 5
MAX_BUCKETS: Final = 640  # at scale 5 a range of 1 : 2**20, so 1 us to 1 s without losing resolution


LATENCY_MAX_US: Final = 2.0**64  # half a million years; a larger one is a bug in the caller
_ZERO_US: Final = 2.0**-64  # below any clock's resolution


class HistogramError(ValueError):
    """A value or a histogram that no latency can have; the text says which."""


def _mantissa_bounds() -> tuple[float, ...]:
    """``2**(j/32)`` for j = 0..31, each rounded *down*, so that ``v <= bound`` decides exactly as on reals.

    Nested floors of square roots are the floor of the 32nd root: integers only, the same on every machine.
    """
    bounds = []
    for j in range(1 << SCALE):
        root = 1 << (52 * (1 << SCALE) + j)
        for _ in range(SCALE):
            root = math.isqrt(root)
        bounds.append(root / 2**52)
    return tuple(bounds)


_BOUNDS: Final = _mantissa_bounds()


def bucket_index(value: float) -> int:
    """The scale-5 bucket of a positive, finite value: exact at every boundary."""
    mantissa, exponent = math.frexp(value)  # value = mantissa * 2**exponent, 0.5 <= mantissa < 1
    return ((exponent - 1) << SCALE) + bisect_left(_BOUNDS, mantissa * 2.0) - 1


class LatencyRecorder:
    """Collects latencies from any thread until ``take()`` hands them over as one Histogram.

    Memory is bounded: past ``max_buckets`` between the fastest and the slowest it goes down a scale, which
    doubles the relative error instead of growing.
    """

    def __init__(self, max_buckets: int = MAX_BUCKETS) -> None:
        self._max_buckets = _checked_limit(max_buckets)
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._counts: dict[int, int] = {}
        self._shift = 0  # scales below SCALE
        self._low = self._high = 0
        self._zeros = 0

    def record(self, value_us: float, count: int = 1) -> None:
        """Count a latency in microseconds. O(1). Raises HistogramError for what is no latency."""
        if not 0.0 <= value_us <= LATENCY_MAX_US:
            raise HistogramError(f"a latency of {value_us!r} us cannot be")
        with self._lock:
            if value_us < _ZERO_US:
                self._zeros += count
                return
            index = bucket_index(value_us) >> self._shift
            counts = self._counts
            if index in counts:
                counts[index] += count
                return
            if not counts:
                self._low = self._high = index
            low, high = min(self._low, index), max(self._high, index)
            while high - low >= self._max_buckets:
                self._downscale()
                low, high, index = low >> 1, high >> 1, index >> 1
            self._low, self._high = low, high
            self._counts[index] = self._counts.get(index, 0) + count

    def _downscale(self) -> None:
        joined: dict[int, int] = {}
        for index, count in self._counts.items():
            joined[index >> 1] = joined.get(index >> 1, 0) + count
        self._counts = joined
        self._shift += 1

    def snapshot(self) -> Histogram | None:
        """What was recorded so far; None when nothing was."""
        with self._lock:
            return self._histogram()

    def take(self) -> Histogram | None:
        """What was recorded since the last ``take()``, and start again; None when nothing was."""
        with self._lock:
            histogram = self._histogram()
            self._clear()
            return histogram

    def _histogram(self) -> Histogram | None:
        if not self._counts:
            return Histogram(SCALE, 0, [], self._zeros) if self._zeros else None
        counts = [min(BUCKET_COUNT_MAX, self._counts.get(i, 0)) for i in range(self._low, self._high + 1)]
        return Histogram(SCALE - self._shift, self._low, counts, self._zeros)


def merge(histograms: Iterable[Histogram], max_buckets: int = MAX_BUCKETS) -> Histogram | None:
    """Add histograms, at the coarsest scale among them or coarser where ``max_buckets`` asks for it.

    Their order does not matter; a count that would pass BUCKET_COUNT_MAX stays there. None where there are
    none. Raises HistogramError where ``max_buckets`` is below 4.
    """
    limit = _checked_limit(max_buckets)
    trimmed = [_trim(h) for h in histograms]
    if not trimmed:
        return None
    zeros = min(BUCKET_COUNT_MAX, sum(h.zero_count for h in trimmed))
    filled = [h for h in trimmed if h.counts]
    scale = min((h.scale for h in filled), default=SCALE)
    if not filled:
        return Histogram(scale, 0, [], zeros)

    def span(at: int) -> tuple[int, int]:
        lows = [h.offset >> (h.scale - at) for h in filled]
        highs = [(h.offset + len(h.counts) - 1) >> (h.scale - at) for h in filled]
        return min(lows), max(highs)

    low, high = span(scale)
    while high - low >= limit:
        scale -= 1
        low, high = span(scale)
    counts = [0] * (high - low + 1)
    for h in filled:
        shift = h.scale - scale
        for i, count in enumerate(h.counts, h.offset):
            counts[(i >> shift) - low] += count
    return Histogram(scale, low, [min(BUCKET_COUNT_MAX, count) for count in counts], zeros)


def _checked_limit(max_buckets: int) -> int:
    if max_buckets < 4:  # what the coarsest scale needs for all that the wire lets in
        raise HistogramError(f"max_buckets is {max_buckets}; give at least 4")
    return max_buckets


def _exponent(index: int, scale: int) -> float:
    """log2 of the lower bound of a bucket."""
    return math.ldexp(index, -scale)


def _trim(h: Histogram) -> Histogram:
    """Without empty buckets at the ends."""
    used = [i for i, count in enumerate(h.counts) if count]
    if not used:
        return Histogram(h.scale, 0, [], h.zero_count)
    first, last = used[0], used[-1]
    return Histogram(h.scale, h.offset + first, h.counts[first : last + 1], h.zero_count)


def total(h: Histogram) -> int:
    """How many latencies were recorded."""
    return h.zero_count + sum(h.counts)


def bounds(h: Histogram, position: int) -> tuple[float, float]:
    """(lower, upper] in microseconds of ``h.counts[position]``; at very coarse scales upper may be inf."""
    index = h.offset + position
    return _power(_exponent(index, h.scale)), _power(_exponent(index + 1, h.scale))


def _power(exponent: float) -> float:
    return 2.0**exponent if exponent < 1024 else math.inf


def buckets(h: Histogram) -> Iterator[tuple[float, float, int]]:
    """(lower, upper, count) in microseconds of every bucket that is not empty, ascending: for charts."""
    for position, count in enumerate(h.counts):
        if count:
            yield (*bounds(h, position), count)


def quantile(h: Histogram, q: float) -> float | None:
    """The q-quantile in microseconds (q = 0.95: 95 % took at most this), within 1.09 % at scale 5.

    The nearest-rank sample's bucket answers with the point whose largest relative error over the bucket is
    least (Masson, Rim, Lee 2019, DDSketch, section 2.1): 2 * lower * upper / (lower + upper).
    None when empty. Raises HistogramError when q is not in 0..1.
    """
    if not 0.0 <= q <= 1.0:
        raise HistogramError(f"quantile {q!r}; give a number from 0 to 1")
    count = total(h)
    if count == 0:
        return None
    rank = max(1, math.ceil(q * count))
    seen = h.zero_count
    if rank <= seen:
        return 0.0
    for position, in_bucket in enumerate(h.counts):
        seen += in_bucket
        if rank <= seen:
            return _centre(*bounds(h, position))
    raise HistogramError("a histogram changed while it was read")


def mean(h: Histogram) -> float | None:
    """The mean in microseconds as far as buckets tell, within 1.09 % at scale 5. None when empty."""
    count = total(h)
    if count == 0:
        return None
    return sum(_centre(low, high) * n for low, high, n in buckets(h)) / count


def _centre(lower: float, upper: float) -> float:
    return 2.0 * lower / (1.0 + lower / upper)

"""Families as text: Prometheus 0.0.4 and OpenMetrics 1.0.

Text has no native histograms, so a histogram is written with classic buckets. Their bounds are powers of two,
which are bounds of our buckets at every scale from 0 up: each bucket's count is exact. At coarser scales (a
range of more than 1 : 2**640 was seen) a bucket that reaches over a bound is counted above it.

``_sum`` is what the buckets tell (`edgepress_devices.histogram.mean`), within 1.09 % at scale 5: devices send
no sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from edgepress_devices.histogram import bounds, mean, total
from edgepress_devices.protocol import Histogram
from edgepress_server.ecosystem.families import Family, Labels, Point

TEXT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_TYPE: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

CLASSIC_BOUNDS: Final = tuple(2.0**exponent for exponent in range(5, 25))
"""32 us to 16.8 s, where the unit is a microsecond."""
CLASSIC_BOUNDS_S: Final = tuple(2.0**exponent for exponent in range(-11, 5))
"""0.5 ms to 16 s, where it is a second."""


def classic_bounds(family: Family) -> tuple[float, ...]:
    return CLASSIC_BOUNDS_S if family.unit == "seconds" else CLASSIC_BOUNDS


def cumulative(histogram: Histogram, upper_bounds: Iterable[float]) -> Iterator[tuple[float, int]]:
    """(bound, values that are at most that) for each ascending bound."""
    seen, position = histogram.zero_count, 0
    for bound in upper_bounds:
        while position < len(histogram.counts) and bounds(histogram, position)[1] <= bound:
            seen += histogram.counts[position]
            position += 1
        yield bound, seen


def sum_of(histogram: Histogram) -> float:
    """As far as buckets tell."""
    return (mean(histogram) or 0.0) * total(histogram)


def write_text(families: Iterable[Family], *, openmetrics: bool) -> bytes:
    lines: list[str] = []
    for family in families:
        is_counter = family.kind == "counter"
        # 0.0.4 names a counter's family as its samples are named, OpenMetrics without the suffix
        name = f"{family.name}_total" if is_counter and not openmetrics else family.name
        lines.append(f"# HELP {name} {_escape_help(family.help, openmetrics=openmetrics)}")
        lines.append(f"# TYPE {name} {family.kind}")
        if openmetrics and family.unit:
            lines.append(f"# UNIT {name} {family.unit}")
        sample = f"{family.name}_total" if is_counter else family.name
        for point in family.points:
            if family.kind == "histogram":
                lines.extend(_histogram(family, point))
            else:
                lines.append(f"{sample}{_labels(point.labels)} {number(point.value)}")
    if openmetrics:
        lines.append("# EOF")
    return ("\n".join(lines) + "\n").encode("utf-8")


def _histogram(family: Family, point: Point) -> Iterator[str]:
    histogram = point.histogram
    if histogram is None:
        return
    count = total(histogram)
    for bound, seen in cumulative(histogram, classic_bounds(family)):
        yield f"{family.name}_bucket{_labels((*point.labels, ('le', number(bound))))} {seen}"
    yield f"{family.name}_bucket{_labels((*point.labels, ('le', '+Inf')))} {count}"
    yield f"{family.name}_sum{_labels(point.labels)} {number(sum_of(histogram))}"
    yield f"{family.name}_count{_labels(point.labels)} {count}"


def number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    return repr(float(value))


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _escape_help(value: str, *, openmetrics: bool) -> str:
    escaped = value.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if openmetrics else escaped

"""Metrics as Prometheus understands them: families of points, before anybody writes them as text or bytes.

A name and a label are checked when a family is made: a wrong one is a fault of ours, found by the tests.
Label values are data of people and devices: any text, escaped where it is written.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal

from edgepress_devices.protocol import Histogram

Kind = Literal["counter", "gauge", "histogram"]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_UNITS: Final = (
    "seconds",
    "bytes",
    "ratio",
    "celsius",
    "watts",
    "joules",
    "hertz",
    "microseconds",
    "dbm",
)
LABEL_MAX_CHARS: Final = 200

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Point:
    labels: Labels
    value: float = 0.0
    histogram: Histogram | None = None  # of a histogram family; its unit is the family's


@dataclass
class Family:
    """``name`` without ``_total``: who writes it adds that to a counter."""

    name: str
    kind: Kind
    help: str
    points: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name.endswith(("_total", "_bucket", "_count", "_sum")):
            raise ValueError(f"{self.name!r} is no name of a metric family")

    @property
    def unit(self) -> str:
        """The last part of the name where that is a unit, else ""."""
        last = self.name.rpartition("_")[2]
        return last if last in _UNITS else ""

    def add(self, value: float | None, **labels: str) -> None:
        """A point; none where there is no value."""
        if value is not None and not math.isnan(value):
            self.points.append(Point(_labels(labels), float(value)))

    def add_histogram(self, histogram: Histogram | None, **labels: str) -> None:
        if histogram is not None:
            self.points.append(Point(_labels(labels), histogram=histogram))


def _labels(labels: Mapping[str, str]) -> Labels:
    _check_names(tuple(labels))
    return tuple((name, value[:LABEL_MAX_CHARS]) for name, value in labels.items())


@lru_cache(maxsize=1000)
def _check_names(names: tuple[str, ...]) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a label")


def filled(families: Iterable[Family]) -> list[Family]:
    """Those that have points."""
    return [family for family in families if family.points]

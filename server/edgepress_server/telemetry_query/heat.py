"""The heat map of the fleet: one cell a device, by profile, coloured by one figure of its newest sample.

Names stand once, values as an array beside them: 10,000 devices are some 200 KB, 40 KB compressed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepress_devices.protocol import Sample
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.fleet_pages import DeviceRow
from edgepress_server.store.series.histograms import HistogramColumn

CELLS_MAX: Final = 10_000


Samples = Sequence[Sample | None]
Values = list[float | None]


def p95_us(samples: Samples) -> Values:
    column = HistogramColumn.of([None if sample is None else sample.latency_us for sample in samples])
    return [None if math.isnan(value) else value for value in column.quantiles(0.95).tolist()]


def _each(of: Callable[[Sample], float | None]) -> Callable[[Samples], Values]:
    return lambda samples: [None if sample is None else of(sample) for sample in samples]


def _error_ratio(sample: Sample) -> float | None:
    requests = sample.inferences + sample.errors
    return sample.errors / requests if requests else None


def _power(sample: Sample) -> float | None:
    return None if sample.power_mw is None else sample.power_mw.value


@dataclass(frozen=True)
class HeatMeasure:
    name: str
    title: str
    unit: str
    of: Callable[[Samples], Values]


HEAT: Final = (
    HeatMeasure("latency_p95_us", "Latency, p95", "us", p95_us),
    HeatMeasure("cpu_percent", "CPU", "%", _each(lambda sample: sample.cpu_percent)),
    HeatMeasure("temp_c", "Temperature", "°C", _each(lambda sample: sample.temp_c)),
    HeatMeasure("rss_bytes", "Agent's memory", "B", _each(lambda sample: sample.rss_bytes)),
    HeatMeasure("power_mw", "Power", "mW", _each(_power)),
    HeatMeasure("error_ratio", "Share of failed requests", "", _each(_error_ratio)),
)
_BY_NAME: Final = {one.name: one for one in HEAT}
_LETTERS: Final = {"online": "o", "offline": "f", "registered": "r"}


@dataclass(frozen=True)
class HeatGroup:
    profile: str
    names: list[str]
    status: str  # a letter a device: o online, f offline, r registered
    values: list[float | None]
    problem: str  # a digit a device: 0 none, 1 warning, 2 critical


@dataclass(frozen=True)
class Heat:
    metric: str
    title: str
    unit: str
    low: (
        float | None
    )  # 5th and 95th percentile of the values: the ends of a scale that outliers do not stretch
    high: float | None
    groups: list[HeatGroup]
    left_out: int


def heat_named(name: str) -> HeatMeasure:
    """Raises InvalidInputError."""
    if name not in _BY_NAME:
        raise InvalidInputError("heat", f"heat: {name[:40]!r} is none. Take {', '.join(_BY_NAME)}.")
    return _BY_NAME[name]


def heat(
    measure: HeatMeasure,
    devices: Sequence[DeviceRow],
    latest: Mapping[str, Sample],
    problems: Mapping[str, int],
) -> Heat:
    """``devices``: without revoked ones. ``problems``: device -> 1 warning, 2 critical."""
    shown = devices[:CELLS_MAX]
    values = measure.of([latest.get(one.name) if one.status == "online" else None for one in shown])
    places: dict[str, list[int]] = {}
    for place, device in enumerate(shown):
        places.setdefault(device.profile, []).append(place)
    there = [value for value in values if value is not None]
    low, high = (float(each) for each in np.percentile(there, (5, 95))) if there else (None, None)
    groups = [
        HeatGroup(
            profile,
            [shown[i].name for i in mine],
            "".join(_LETTERS.get(shown[i].status, "f") for i in mine),
            [None if (value := values[i]) is None else float(f"{value:.5g}") for i in mine],
            "".join(str(problems.get(shown[i].name, 0)) for i in mine),
        )
        for profile, mine in sorted(places.items())
    ]
    return Heat(measure.name, measure.title, measure.unit, low, high, groups, len(devices) - len(shown))

"""The heat map of the fleet: one cell a device, by profile, coloured by one figure of its newest sample.

Names stand once, values as an array beside them: 10,000 devices are some 200 KB, 40 KB compressed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepress_devices.histogram import HistogramError, quantile
from edgepress_devices.protocol import Sample
from edgepress_server.errors import InvalidInputError
from edgepress_server.store.fleet_pages import DeviceRow

CELLS_MAX: Final = 10_000


def p95_us(sample: Sample) -> float | None:
    if sample.latency_us is None:
        return None
    try:
        return quantile(sample.latency_us, 0.95)
    except HistogramError:  # ingest refuses such; a store from elsewhere may hold one
        return None


def error_ratio(sample: Sample) -> float | None:
    requests = sample.inferences + sample.errors
    return sample.errors / requests if requests else None


@dataclass(frozen=True)
class HeatMeasure:
    name: str
    title: str
    unit: str
    of: Callable[[Sample], float | None]


HEAT: Final = (
    HeatMeasure("latency_p95_us", "Latency, p95", "us", p95_us),
    HeatMeasure("cpu_percent", "CPU", "%", lambda sample: sample.cpu_percent),
    HeatMeasure("temp_c", "Temperature", "°C", lambda sample: sample.temp_c),
    HeatMeasure("rss_bytes", "Agent's memory", "B", lambda sample: sample.rss_bytes),
    HeatMeasure(
        "power_mw", "Power", "mW", lambda sample: None if sample.power_mw is None else sample.power_mw.value
    ),
    HeatMeasure("error_ratio", "Share of failed requests", "", error_ratio),
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
    groups: dict[str, HeatGroup] = {}
    shown = devices[:CELLS_MAX]
    values: list[float] = []
    letters: dict[str, list[str]] = {}
    digits: dict[str, list[str]] = {}
    for device in shown:
        group = groups.get(device.profile)
        if group is None:
            group = groups[device.profile] = HeatGroup(device.profile, [], "", [], "")
            letters[device.profile], digits[device.profile] = [], []
        sample = latest.get(device.name) if device.status == "online" else None
        value = None if sample is None else measure.of(sample)
        group.names.append(device.name)
        group.values.append(None if value is None else float(f"{value:.5g}"))
        letters[device.profile].append(_LETTERS.get(device.status, "f"))
        digits[device.profile].append(str(problems.get(device.name, 0)))
        if value is not None:
            values.append(value)
    low, high = (float(each) for each in np.percentile(values, (5, 95))) if values else (None, None)
    found = [
        HeatGroup(one.profile, one.names, "".join(letters[name]), one.values, "".join(digits[name]))
        for name, one in sorted(groups.items())
    ]
    return Heat(measure.name, measure.title, measure.unit, low, high, found, len(devices) - len(shown))

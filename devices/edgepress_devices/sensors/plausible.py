"""Readings that no board can have are dropped: the catalogue of metrics says what can be."""

from typing import TypeVar

from edgepress_devices.metrics import BY_NAME
from edgepress_devices.say_once import say_once

Number = TypeVar("Number", int, float)


def plausible(name: str, value: Number | None) -> Number | None:
    """``value`` where it lies in the range of the metric ``name``, else None; NaN lies in none."""
    if value is None:
        return None
    metric = BY_NAME[name]
    if metric.low <= value <= metric.high:
        return value
    say_once(
        f"{name} is {value:g}{metric.unit}, outside {metric.low:g} to {metric.high:g}: ignored",
        key=f"implausible {name}",
    )
    return None

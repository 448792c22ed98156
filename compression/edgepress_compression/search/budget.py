"""What a person asks for: `--latency 20ms --size 2MB --memory 64MB --energy 5mJ --max-drop 1.0`."""

from __future__ import annotations

import math
import re
from typing import Final

import msgspec

from edgepress_compression.errors import BudgetError

_NUMBER = re.compile(r"\s*([+-]?(?:\d+(?:[_,]\d{3})*|\d*)(?:\.\d+)?)\s*([a-zA-Zµμ%]*)\s*\Z")

# What one of a unit is, in the unit of the field; and the usual one, for the error.
LATENCY_US: Final = {"ns": 1e-3, "us": 1.0, "µs": 1.0, "μs": 1.0, "ms": 1e3, "s": 1e6}
BYTES: Final = {
    "B": 1.0, "kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3,
}  # fmt: skip
ENERGY_MJ: Final = {"uJ": 1e-3, "µJ": 1e-3, "μJ": 1e-3, "mJ": 1.0, "J": 1e3, "mWh": 3600.0}
POINTS_MAX: Final = 100.0
_LIMIT_MAX: Final = 1e15


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Hard limits; None: no limit. Build with `check` where the numbers come from outside."""

    latency_us: float | None = None  # of one sample on the profile
    artifact_bytes: int | None = None
    memory_bytes: int | None = None  # what a process holds to load and run it
    energy_mj: float | None = None  # of one inference
    max_drop: float | None = None  # of the data set's metric, fraction 0..1 (0.01: one point)

    @property
    def empty(self) -> bool:
        return self == Budget()

    def words(self) -> str:
        """For people: "20 ms, 2.00 MB, at most 1.0 points lost"."""
        said = []
        if self.latency_us is not None:
            said.append(f"{milliseconds(self.latency_us)}")
        if self.artifact_bytes is not None:
            said.append(megabytes(self.artifact_bytes))
        if self.memory_bytes is not None:
            said.append(f"{megabytes(self.memory_bytes)} of memory")
        if self.energy_mj is not None:
            said.append(f"{self.energy_mj:.3g} mJ")
        if self.max_drop is not None:
            said.append(f"at most {100 * self.max_drop:g} points lost")
        return ", ".join(said) or "no limit"


def check(budget: Budget) -> Budget:
    """The budget, if its numbers can be meant. Raises BudgetError that says which one cannot."""
    for field, least in (("latency_us", 0.0), ("artifact_bytes", 0), ("memory_bytes", 0), ("energy_mj", 0.0)):
        value = getattr(budget, field)
        if value is not None and not (math.isfinite(value) and least < value <= _LIMIT_MAX):
            raise BudgetError(field, f"The budget's {field} is {value}; it must be a number above 0.")
    drop = budget.max_drop
    if drop is not None and not (math.isfinite(drop) and 0.0 <= drop <= 1.0):
        raise BudgetError(
            "max_drop", f"The budget's max_drop is {drop}; it is a fraction: 0.01 is one point."
        )
    return budget


def parse_latency_us(text: str) -> float:
    """ "20ms", "850 us", "1.5s". Raises BudgetError."""
    return _parse(text, "latency", LATENCY_US, "20ms")


def parse_bytes(text: str, what: str = "size") -> int:
    """ "2MB" (2,000,000), "512KiB". Raises BudgetError."""
    value = _parse(text, what, BYTES, "2MB")
    if value < 1:
        raise BudgetError(what, f"The {what} {text!r} is less than one byte.")
    return int(value)


def parse_energy_mj(text: str) -> float:
    """ "5mJ", "0.2J". Raises BudgetError."""
    return _parse(text, "energy", ENERGY_MJ, "5mJ")


def parse_drop(text: str) -> float:
    """Points (hundredths) that may be lost, as a fraction: "1.0", "1%", "1pt". Raises BudgetError."""
    number, unit = _number(text, "max-drop", "1.0")
    if unit not in {"", "%", "pt", "pts", "point", "points", "pp"}:
        raise BudgetError(
            "max-drop", f"The max-drop {text!r} is in points: 1.0 allows 91.0 % to become 90.0 %."
        )
    if not 0.0 <= number <= POINTS_MAX:
        raise BudgetError("max-drop", f"The max-drop {text!r} must be from 0 to {POINTS_MAX:g} points.")
    return number / 100


def _parse(text: str, what: str, units: dict[str, float], example: str) -> float:
    number, unit = _number(text, what, example)
    if not unit:
        raise BudgetError(what, f"The {what} {text!r} has no unit. Say {example} (known: {_known(units)}).")
    factor = units.get(unit)
    if factor is None:
        close = [known for known in units if known.lower() == unit.lower()]
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise BudgetError(what, f"The {what} {text!r} has an unknown unit. {hint}Known: {_known(units)}.")
    value = number * factor
    if not 0 < value <= _LIMIT_MAX:
        raise BudgetError(what, f"The {what} {text!r} must be above 0 and a number that a device can have.")
    return value


def _number(text: str, what: str, example: str) -> tuple[float, str]:
    matched = _NUMBER.match(text) if len(text) <= 40 else None
    digits = matched.group(1).replace(",", "").replace("_", "") if matched else ""
    try:
        return float(digits), matched.group(2) if matched else ""
    except ValueError as error:
        raise BudgetError(
            what, f"The {what} {text[:40]!r} is no number with a unit, such as {example}."
        ) from error


def _known(units: dict[str, float]) -> str:
    return ", ".join(unit for unit in units if unit.isascii())


def milliseconds(latency_us: float) -> str:
    return f"{latency_us / 1e3:.3g} ms" if latency_us >= 100 else f"{latency_us:.3g} us"


def megabytes(size_bytes: float) -> str:
    if size_bytes < 1e3:
        return f"{size_bytes:.0f} B"
    return f"{size_bytes / 1e6:.2f} MB" if size_bytes >= 1e6 else f"{size_bytes / 1e3:.1f} kB"

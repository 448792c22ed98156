"""The units of a profile's fields: for a number given without one, with another, or of an unlikely size.

A field's name ends in its unit (`clock_mhz`). Somebody who writes `clock = 1500` or `clock_ghz = 1.5` is told
the right name and, where the unit is known, the number in it; somebody who writes megabytes where gigabytes
are asked gets a warning, because a size alone proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_K: Final = 1024.0
_HERTZ: Final = {"hz": 1e-6, "khz": 1e-3, "mhz": 1.0, "ghz": 1e3}  # to MHz
_MIB: Final = {
    "bytes": 1 / _K**2, "kib": 1 / _K, "kb": 1e3 / _K**2, "mib": 1.0, "mb": 1e6 / _K**2,
    "gib": _K, "gb": 1e9 / _K**2,
}  # fmt: skip
_BYTES: Final = {"kib": _K, "kb": _K, "mib": _K**2, "mb": _K**2}  # caches are quoted in powers of two
_MILLIWATTS: Final = {"uw": 1e-3, "mw": 1.0, "w": 1e3, "kw": 1e6}
_PER_S: Final = {"b": 1e-9, "kb": 1e-6, "mb": 1e-3, "gb": 1.0}  # to GB/s
_GIGA: Final = {"flops": 1e-9, "mflops": 1e-3, "tflops": 1e3, "ops": 1e-9, "mops": 1e-3, "tops": 1e3}


@dataclass(frozen=True)
class _Unit:
    stem: str  # the name without its unit
    spelled: dict[str, float]  # the name with another unit -> factor to ours


def _with_units(stem: str, unit: str, factors: dict[str, float]) -> dict[str, _Unit]:
    others = {f"{stem}_{other}": factor for other, factor in factors.items() if other != unit}
    return {f"{stem}_{unit}": _Unit(stem, others)}


_RATES: Final = {
    f"{size}{between}s": factor
    for size, factor in _PER_S.items()
    for between in ("_per_", "p", "_")
    if f"{size}{between}s" != "gb_per_s"
}
_UNITS: Final[dict[str, _Unit]] = {
    **_with_units("clock", "mhz", _HERTZ),
    **_with_units("ram", "mib", _MIB),
    **{
        field: unit
        for stem in ("idle", "typical", "tdp")
        for field, unit in _with_units(stem, "mw", _MILLIWATTS).items()
    },
    **{
        field: unit
        for stem in ("l1d", "l2", "l3")
        for field, unit in _with_units(stem, "bytes", _BYTES).items()
    },
    "mib": _Unit("usable", {**{u: f for u, f in _MIB.items() if u != "mib"}, "usable_mib": 1.0}),
    "gb_per_s": _Unit("bandwidth", _RATES),
    "gflops": _Unit("peak", {unit: factor for unit, factor in _GIGA.items() if "flops" in unit}),
    "gops": _Unit("peak", {**_GIGA, "gflops": 1.0}),
    "read_mb_per_s": _Unit(
        "read", {"read_gb_per_s": 1e3, "read_mbps": 1.0, "read_mb_s": 1.0, "read_kb_per_s": 1e-3}
    ),
    "down_mbit_per_s": _Unit(
        "down", {"down_mbps": 1.0, "down_gbit_per_s": 1e3, "down_mb_per_s": 8.0, "down_kbit_per_s": 1e-3}
    ),
}  # fmt: skip


def meant_field(name: str, value: object, fields: Iterable[str]) -> tuple[str, str] | None:
    """(the field meant, what to write) for one that does not exist and whose unit is missing or another."""
    for field in fields:
        unit = _UNITS.get(field)
        if unit is None:
            continue
        if name == unit.stem:
            return field, f"the unit belongs to the name: write {field}"
        if name in unit.spelled:
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15:
                return field, f"write {field} = {value * unit.spelled[name]:.10g}"
            return field, f"write {field}"
    return None


@dataclass(frozen=True)
class _Plausible:
    lowest: float
    highest: float
    unit: str
    below: tuple[str, float] | None = None  # what a number below is probably in, and its factor to ours
    above: tuple[str, float] | None = None


# Far wider than any device of the four kinds: a number outside is most probably in another unit.
_PLAUSIBLE: Final[dict[str, _Plausible]] = {
    "clock_mhz": _Plausible(50, 7_000, "MHz", ("GHz", 1e3), ("kHz", 1e-3)),
    "ram_mib": _Plausible(64, 2**22, "MiB", ("GiB", _K), ("bytes", 1 / _K**2)),
    "mib": _Plausible(16, 2**22, "MiB", ("GiB", _K), ("bytes", 1 / _K**2)),
    "gb_per_s": _Plausible(0.2, 5_000, "GB/s", None, ("MB/s", 1e-3)),
    "gflops": _Plausible(0.5, 1e7, "GFLOP/s", ("TFLOP/s", 1e3), ("MFLOP/s", 1e-3)),
    "gops": _Plausible(0.5, 1e7, "GOP/s", ("TOP/s", 1e3), ("MOP/s", 1e-3)),
    "l1d_bytes": _Plausible(1024, 2**22, "bytes", ("KiB", _K)),
    "l2_bytes": _Plausible(8192, 2**30, "bytes", ("KiB", _K)),
    "l3_bytes": _Plausible(65_536, 2**32, "bytes", ("KiB", _K)),
    "read_mb_per_s": _Plausible(1, 30_000, "MB/s", ("GB/s", 1e3), ("KB/s", 1e-3)),
    "idle_mw": _Plausible(20, 2_000_000, "mW", ("W", 1e3), ("uW", 1e-3)),
    "typical_mw": _Plausible(50, 5_000_000, "mW", ("W", 1e3), ("uW", 1e-3)),
    "tdp_mw": _Plausible(100, 5_000_000, "mW", ("W", 1e3), ("uW", 1e-3)),
    "down_mbit_per_s": _Plausible(0.01, 100_000, "Mbit/s", None, ("kbit/s", 1e-3)),
}  # fmt: skip


def unlikely_size(field: str, value: float) -> tuple[str, str] | None:
    """(what is odd, what to do) where a number is probably in another unit than its field's name says."""
    limits = _PLAUSIBLE.get(field)
    if limits is None or limits.lowest <= value <= limits.highest:
        return None
    other = limits.below if value < limits.lowest else limits.above
    size = "very little" if value < limits.lowest else "very much"
    fix = "check the unit"
    if other is not None:
        fix = f"if it is in {other[0]}, write {field} = {value * other[1]:.10g}"
    return f"{value:g} {limits.unit} is {size}", fix

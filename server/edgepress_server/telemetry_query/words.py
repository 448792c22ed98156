"""Figures and times in sentences."""

from __future__ import annotations

from datetime import UTC, datetime


def figure_in_words(name: str, value: float) -> str:
    """812.3 of p95_us -> '812 us'; by the unit that the name ends in."""
    if name.endswith("_us"):
        return f"{value / 1000:.2f} ms" if value >= 1000 else f"{value:.0f} us"
    if name.endswith("_bytes"):
        return _size(value)
    if name.endswith("_mw"):
        return f"{value / 1000:.2f} W" if value >= 1000 else f"{value:.0f} mW"
    if name.endswith(("_ratio", "_percent")):
        return f"{100 * value if name.endswith('_ratio') else value:.1f} %"
    return f"{value:.1f} °C" if name.endswith("_c") else f"{value:.3g}"


def _size(size_bytes: float) -> str:
    for unit in ("B", "KB", "MB"):
        if size_bytes < 1000:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} GB"


def clock(at_ms: int) -> str:
    """The time of day, UTC."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%H:%M}"


def length(span_ms: int) -> str:
    """7200000 -> '2 hours'."""
    for unit_ms, name in ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute")):
        if span_ms >= unit_ms:
            n = span_ms // unit_ms
            return f"{n} {name}" if n == 1 else f"{n} {name}s"
    return "less than a minute"


def many(n: int, thing: str) -> str:
    """1 device, 2 devices."""
    return f"1 {thing}" if n == 1 else f"{n} {thing}s"

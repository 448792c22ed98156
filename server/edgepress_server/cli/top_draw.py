"""Draws the view of `edgepress telemetry top` as lines of text.

They are never longer than the terminal is wide, and never more than it is high.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from .output import ago, micros, size
from .top_view import SORT_WORDS, Row, View, rows_that_fit

WIDTH_LEAST: Final = 40
HEIGHT_LEAST: Final = 8
_BARS: Final = "▁▂▃▄▅▆▇█"


class Column(NamedTuple):
    title: str
    width: int
    right: bool
    text: Callable[[Row], str | None]


def _number(name: str, form: str) -> Callable[[Row], str | None]:
    return lambda row: None if row.get(name) is None else form.format(row[name])


def _power(row: Row) -> str | None:
    value = row.get("power_mw")
    return None if value is None else (f"{value / 1000:.1f} W" if value >= 1000 else f"{value:.0f} mW")


def _model(row: Row) -> str | None:
    running = row.get("running")
    return None if running is None else running.get("model") or running["digest"][:12]


# In the order in which they find room: a narrow terminal shows the first ones.
COLUMNS: Final = (
    Column("STATE", 10, False, lambda row: row.get("status")),
    Column("P95", 9, True, lambda row: micros(row.get("p95_us"))),
    Column("REQ/S", 7, True, _number("inferences_per_s", "{:.1f}")),
    Column("ERR", 4, True, _number("errors", "{}")),
    Column("CPU", 5, True, _number("cpu_percent", "{:.0f}%")),
    Column("TEMP", 6, True, _number("temp_c", "{:.0f}°C")),
    Column("POWER", 8, True, _power),
    Column("MODEL", 14, False, _model),
    Column("MEMORY", 9, True, lambda row: size(row.get("rss_bytes"))),
    Column("SEEN", 10, True, lambda row: ago(row.get("seen_at"))),
    Column("PROFILE", 18, False, lambda row: row.get("profile")),
    Column("P50", 9, True, lambda row: micros(row.get("p50_us"))),
    Column("AGENT", 8, False, lambda row: row.get("agent_version")),
)
NAME_LEAST, NAME_MOST = 12, 40

SPARKS: Final = (
    ("latency_p95_us", "p95 latency", micros),
    ("inferences_per_s", "requests/s", lambda value: f"{value:.1f}"),
    ("errors_per_s", "errors/s", lambda value: f"{value:.2f}"),
    ("cpu_percent", "CPU", lambda value: f"{value:.0f} %"),
    ("temp_c", "temperature", lambda value: f"{value:.1f} °C"),
    ("power_mw", "power", lambda value: f"{value:.0f} mW"),
    ("rss_bytes", "memory", size),
)


def drawn(view: View, width: int, height: int, now: str = "") -> list[str]:
    """The lines; the row of the cursor begins with ``>``."""
    if width < WIDTH_LEAST or height < HEIGHT_LEAST:
        return [f"needs {WIDTH_LEAST}x{HEIGHT_LEAST}"[:width]]
    lines = [_head(view, width, now)]
    if view.device is not None:
        lines += _device(view, width)
    else:
        lines += _list(view, width, height)
    foot = _foot(view, width)
    lines = lines[: height - 1]
    return [*lines, *([""] * (height - 1 - len(lines))), foot]


def _head(view: View, width: int, now: str) -> str:
    if view.page is None:
        return _cut("edgepress top", width)
    statuses = view.page.statuses
    counts = ", ".join(
        f"{statuses[status]:,} {status}"
        for status in ("online", "offline", "registered")
        if statuses.get(status)
    )
    left = f"{view.page.total:,} devices: {counts or 'none yet'}"
    return _cut(left + " " * max(1, width - len(left) - len(now)) + now, width)


def _list(view: View, width: int, height: int) -> list[str]:
    page = view.page
    if page is None:
        return ["", "Waiting for the server ..." if not view.trouble else ""]
    fit = rows_that_fit(height)
    shown = page.rows[:fit]
    place = f"{page.offset + 1:,}-{page.offset + len(shown):,} of {page.matching:,}" if shown else "0 devices"
    what = f", {view.query!r}" if view.query else ""
    lines = [_cut(f"{place}{what}, {SORT_WORDS.get(view.sort, view.sort)}", width)]
    columns, name_width = _columns(width)
    lines.append(_line("DEVICE", [column.title for column in columns], columns, name_width, " ", width))
    if not shown:
        lines += ["", "  No device matches; escape shows all." if view.query else "  No device yet."]
    for number, row in enumerate(shown):
        mark = ">" if number == min(view.cursor, len(shown) - 1) else " "
        cells = [column.text(row) or "-" for column in columns]
        lines.append(_line(row["name"], cells, columns, name_width, mark, width))
    return lines


def _columns(width: int) -> tuple[list[Column], int]:
    """Those that fit, and the width of the names."""
    chosen: list[Column] = []
    used = 1 + NAME_LEAST
    for column in COLUMNS:
        if used + 1 + column.width > width:
            break
        chosen.append(column)
        used += 1 + column.width
    return chosen, min(NAME_MOST, NAME_LEAST + width - used)


def _line(
    name: str, cells: Sequence[str], columns: Sequence[Column], name_width: int, mark: str, width: int
) -> str:
    parts = [f"{mark}{_cut(name, name_width):<{name_width}}"]
    for cell, column in zip(cells, columns, strict=True):
        text = _cut(cell, column.width)
        parts.append(f"{text:>{column.width}}" if column.right else f"{text:<{column.width}}")
    return _cut(" ".join(parts), width).rstrip()


def _device(view: View, width: int) -> list[str]:
    row = view.shown_device()
    if row is None:
        return ["", _cut(f"  {view.device} is not on this page any more; escape goes back.", width)]
    facts = [
        ("device", row["name"]),
        ("state", f"{row['status']}, last heard of {ago(row.get('seen_at')) or 'never'}"),
        ("profile", row["profile"]),
        ("runs", _model(row) or "nothing"),
        ("step", f"{row.get('step') or 'nothing'}" + (f": {row['reason']}" if row.get("reason") else "")),
        ("labels", ", ".join(f"{key}={value}" for key, value in row.get("labels", {}).items()) or "none"),
    ]
    lines = ["", *(_cut(f"  {name:<12} {value}", width) for name, value in facts), ""]
    if view.detail is None:
        return [*lines, "  Reading its last hour ..."]
    room = max(10, width - 46)
    for metric, title, form in SPARKS:
        values = view.detail["series"].get(metric, [])
        known = [value for value in values if value is not None]
        if not known:
            continue
        newest, most = form(known[-1]) or "-", form(max(known)) or "-"
        line = f"  {title:<12} {newest:>10} {sparkline(values, room)} most {most}"
        lines.append(_cut(line, width))
    return lines if lines[-1] else [*lines, "  It sent no telemetry within the last hour."]


def sparkline(values: Sequence[float | None], width: int) -> str:
    """The values as bars between the least and the most of them; a blank where nothing was measured."""
    step = max(1, -(-len(values) // width))
    joined = [
        max((value for value in values[i : i + step] if value is not None), default=None)
        for i in range(0, len(values), step)
    ]
    known = [value for value in joined if value is not None]
    if not known:
        return ""
    least, most = min(known), max(known)
    span = most - least
    return "".join(
        " "
        if value is None
        else _BARS[round((len(_BARS) - 1) * (value - least) / span)]
        if span
        else _BARS[0]
        for value in joined
    )


def _foot(view: View, width: int) -> str:
    if view.trouble:
        return _cut(view.trouble, width)
    if view.typing is not None:
        return _cut(f"filter: {view.typing}_   enter: apply, escape: as it was", width)
    if view.device is not None:
        return _cut("escape: back   q: quit", width)
    return _cut("q: quit  s: sort  f: filter  arrows, page up, page down  enter: device", width)


def _cut(text: str, width: int) -> str:
    """At most so wide; what a device says cannot move the cursor."""
    clean = "".join(c if c.isprintable() else "?" for c in text)
    return clean if len(clean) <= width else clean[: max(0, width - 1)] + "…"


def clock() -> str:
    return time.strftime("%H:%M:%S")

"""What `edgepress telemetry top` shows and what its keys do: plain values, which `top_draw` draws.

::

    list --enter--> one device --escape, left, enter--> list
    list --f--> typing a filter --enter--> list of what matches; --escape--> as it was
    anything --q, ctrl-c--> done
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

SORT_WORDS: Final = {
    "-p95_us": "slowest first",
    "-errors": "errors first",
    "-temp_c": "hottest first",
    "-power_mw": "most power first",
    "-cpu_percent": "busiest CPU first",
    "-inferences_per_s": "most requests first",
    "seen_at": "longest silent first",
    "name": "by name",
}
SORTS: Final = tuple(SORT_WORDS)
FILTER_MAX_CHARS: Final = 100
_FRAME_LINES: Final = 4  # above and below the rows

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Page:
    """An answer of GET /devices/page."""

    total: int = 0
    matching: int = 0
    offset: int = 0
    rows: tuple[Row, ...] = ()
    statuses: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    page: Page | None = None  # None: nothing came yet
    sort: str = SORTS[0]
    query: str = ""
    typing: str | None = None  # a filter that is being typed
    cursor: int = 0  # row on the screen
    offset: int = 0  # wanted first row
    device: str | None = None  # shown alone
    detail: Row | None = None  # an answer of GET /telemetry/series of it
    trouble: str = ""  # why there is nothing newer
    done: bool = False

    def shown_device(self) -> Row | None:
        rows = self.page.rows if self.page is not None else ()
        return next((row for row in rows if row["name"] == self.device), None)


def rows_that_fit(height: int) -> int:
    return max(1, height - _FRAME_LINES)


def pressed(view: View, key: str, height: int) -> View:
    """The view after a key: a character, or up, down, pageup, pagedown, home, end, enter, escape, left,
    backspace."""
    if key == "ctrl-c":
        return replace(view, done=True)
    if view.typing is not None:
        return _typed(view, view.typing, key)
    if view.device is not None:
        if key in ("escape", "left", "enter", "backspace"):
            return replace(view, device=None, detail=None)
        return replace(view, done=True) if key == "q" else view
    return _in_list(view, key, height)


def _typed(view: View, typing: str, key: str) -> View:
    if key == "enter":
        return replace(view, query=typing.strip(), typing=None, cursor=0, offset=0)
    if key == "escape":
        return replace(view, typing=None)
    if key == "backspace":
        return replace(view, typing=typing[:-1])
    if len(key) == 1 and key.isprintable() and len(typing) < FILTER_MAX_CHARS:
        return replace(view, typing=typing + key)
    return view


def _in_list(view: View, key: str, height: int) -> View:
    fit = rows_that_fit(height)
    page = view.page or Page()
    if key in ("s", "S"):
        step = 1 if key == "s" else -1
        return replace(view, sort=SORTS[(SORTS.index(view.sort) + step) % len(SORTS)], cursor=0, offset=0)
    if key in ("enter", "right"):
        rows = page.rows[:fit]
        there = 0 <= view.cursor < len(rows) and page.offset == view.offset
        return replace(view, device=rows[view.cursor]["name"], detail=None) if there else view
    match key:
        case "q":
            return replace(view, done=True)
        case "f" | "/":
            return replace(view, typing=view.query)
        case "escape":
            return replace(view, query="", cursor=0, offset=0)
        case _:
            offset, cursor = _moved(view.offset, view.cursor, key, fit, page.matching)
            return replace(view, offset=offset, cursor=cursor)


def _moved(offset: int, cursor: int, key: str, fit: int, matching: int) -> tuple[int, int]:
    """Offset and cursor after a key that moves; as they are after any other."""
    end = max(0, matching - fit)
    last = max(0, min(fit, matching - offset) - 1)  # row of the screen
    moves = {
        "down": (offset, cursor + 1) if cursor < last else (min(end, offset + 1), cursor),
        "up": (offset, cursor - 1) if cursor > 0 else (max(0, offset - 1), cursor),
        "pagedown": (min(end, offset + fit), cursor),
        "pageup": (max(0, offset - fit), cursor),
        "home": (0, 0),
        "end": (end, max(0, min(fit, matching) - 1)),
    }
    aliases = {"j": "down", "k": "up", " ": "pagedown"}
    return moves.get(aliases.get(key, key), (offset, cursor))

"""Download hours: minutes of the day, UTC, in which a device may fetch. Pure."""

import re
from collections.abc import Sequence
from typing import Final

MINUTES_PER_DAY: Final = 1440
_DAY_S: Final = 86_400

Hours = Sequence[tuple[int, int]]
"""(from, to) in minutes since midnight UTC; over midnight where to <= from; empty = always"""


def within(hours: Hours, clock_s: float) -> bool:
    """``clock_s``: Unix seconds."""
    minute = clock_s % _DAY_S / 60
    return not hours or any(_covers(begin, end, minute) for begin, end in hours)


def opens_s(all_hours: Sequence[Hours], clock_s: float) -> float | None:
    """When every one of these hours allows it, from ``clock_s`` on; None when no moment of the day does."""
    begins = {begin for hours in all_hours for begin, _ in hours}
    midnight_s = clock_s - clock_s % _DAY_S
    moments = [clock_s, *(midnight_s + days * _DAY_S + begin * 60 for days in (0, 1) for begin in begins)]
    later = [at for at in moments if at >= clock_s and all(within(hours, at) for hours in all_hours)]
    return min(later, default=None)


def parse_hours(text: str) -> list[tuple[int, int]]:
    """``22:00-06:00,12:00-13:30`` -> [(1320, 360), (720, 810)]. Raises ValueError with words for people."""
    return [_parse_span(part.strip()) for part in text.split(",")]


def format_hours(hours: Hours) -> str:
    return ", ".join(f"{_clock(begin)}-{_clock(end)}" for begin, end in hours)


def _covers(begin: int, end: int, minute: float) -> bool:
    return begin <= minute < end if begin < end else minute >= begin or minute < end


def _parse_span(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)", text)
    if match is not None:
        hour, minute, to_hour, to_minute = (int(part) for part in match.groups())
        begin, end = hour * 60 + minute, to_hour * 60 + to_minute
        if max(minute, to_minute) < 60 and max(begin, end) <= MINUTES_PER_DAY:
            return begin, end
    raise ValueError(f"{text[:40]!r} are no hours: they look like 22:00-06:00, in UTC")


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"

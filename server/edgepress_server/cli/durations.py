"""Lengths of time as people type and read them: 30m, 24h, 7d."""

import re
from typing import Final

import click

_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic only in new versions of click
    """``7d`` -> seconds. Between ``least_s`` and ``most_s``."""

    name = "duration"

    def __init__(self, least_s: int, most_s: int) -> None:
        self.least_s, self.most_s = least_s, most_s

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([0-9]{1,6})([mhd])", str(value).strip().lower())
        if match is None:
            self.fail(f"{value!r} is no length of time; write 30m, 24h or 7d", param, ctx)
        seconds = int(match[1]) * _UNITS[match[2]]
        if not self.least_s <= seconds <= self.most_s:
            self.fail(
                f"{value!r} is not between {in_words(self.least_s)} and {in_words(self.most_s)}", param, ctx
            )
        return seconds

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "TIME"


def in_words(seconds: float) -> str:
    """5400 -> '90 minutes'; whole units, the largest that leaves two or more."""
    minutes = max(1, round(seconds / 60))
    if minutes < 120:
        return "1 minute" if minutes == 1 else f"{minutes} minutes"
    hours = round(minutes / 60)
    return f"{hours} hours" if hours < 72 else f"{round(hours / 24)} days"

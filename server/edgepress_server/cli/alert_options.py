"""Limits and times of alert rules as people type them: 5%, 30ms, 500MB, 15m."""

import re
from typing import Final

import click

_TIMES: Final = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_SIZES: Final = {  # into the units of the catalogue: µs, B, mW, mJ; %, °C and the rest as they are
    "": 1.0, "us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 1.0,
    "B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "mW": 1.0, "W": 1e3, "mJ": 1.0, "J": 1e3, "%": 1.0, "C": 1.0,
}  # fmt: skip


class Seconds(click.ParamType):  # type: ignore[type-arg]  # generic only in new versions of click
    """``5m`` -> 300."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r"([0-9]{1,8})(s|m|min|h|d)", str(value).strip())
        if match is None:
            self.fail(f"{value!r} is no length of time; write 30s, 5m, 6h or 7d", param, ctx)
        return int(match[1]) * _TIMES[match[2]]

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "TIME"


class Quantity(click.ParamType):  # type: ignore[type-arg]
    """``30ms`` -> 30000.0, in the unit that the rule compares in; ``5%`` of a ratio is written 0.05."""

    name = "value"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        match = re.fullmatch(r"(-?[0-9]{1,15}(?:\.[0-9]{1,9})?)([A-Za-zµ%]{0,3})", str(value).strip())
        if match is None or match[2] not in _SIZES:
            units = ", ".join(unit for unit in _SIZES if unit)
            self.fail(
                f"{value!r} is no value; write a number, with one of {units} where it has a unit", param, ctx
            )
        return float(match[1]) * _SIZES[match[2]]

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "VALUE"

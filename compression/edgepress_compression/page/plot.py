"""Plots in SVG whose places are percentages: they fill any width and their letters keep their size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

# Told apart by colour-blind people too (after Okabe and Ito 2008), on light and dark grounds.
COLORS = ("#3f74e8", "#d9731a", "#12956f", "#bd4aa8", "#a07a00", "#1391c2", "#d04050", "#7a8090")
_TICKS = 5
_WIDTH, _HEIGHT = 380.0, 280.0  # of a plot on a phone or in half a page, pixels: for names not to collide
_LETTER, _LINE = 6.6, 14.0  # pixels


@dataclass(frozen=True)
class Axis:
    low: float
    high: float
    title: str
    text: Callable[[float], str]
    log: bool = False

    def place(self, value: float) -> float:
        """0..100 from low to high."""
        low, high, at = self._scaled(self.low), self._scaled(self.high), self._scaled(value)
        return 100 * (at - low) / (high - low) if high > low else 50.0

    def ticks(self) -> list[float]:
        if self.log and len(ticks := _decades(self.low, self.high)) > 1:
            return ticks
        step = _nice((self.high - self.low) / (_TICKS - 1))
        first = math.ceil(self.low / step - 1e-9)
        return [n * step for n in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _scaled(self, value: float) -> float:
        return math.log10(max(value, 1e-12)) if self.log else value


def around(values: Sequence[float], title: str, text: Callable[[float], str], *, log: bool = False) -> Axis:
    """An axis with a little room around the values, which are at least one."""
    low, high = min(values), max(values)
    if log:
        room = max((high / low) ** 0.08, 1.15)
        return Axis(low / room, high * room, title, text, log=True)
    room = max((high - low) * 0.1, abs(high) * 0.005, 1e-9)
    return Axis(low - room, high + room, title, text)


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    name: str
    title: str  # all figures, when pointed at
    color: str = "var(--accent)"
    grey: bool = False
    hollow: bool = False
    low: float | None = None  # of y
    high: float | None = None
    href: str | None = None


def scatter(dots: Sequence[Dot], x: Axis, y: Axis) -> str:
    """Dots with their names; those that are grey lie behind."""
    parts = _frame(x, y)
    ordered = sorted(dots, key=lambda one: not one.grey)
    places = _name_places([(x.place(dot.x), 100 - y.place(dot.y), dot.name) for dot in reversed(ordered)])
    for dot, (anchor, dx, dy) in zip(ordered, reversed(places), strict=True):
        left, top = x.place(dot.x), 100 - y.place(dot.y)
        color = "var(--before)" if dot.grey else dot.color
        inner = f"<title>{escape(dot.title)}</title>"
        if dot.low is not None and dot.high is not None:
            inner += _line(left, 100 - y.place(dot.low), left, 100 - y.place(dot.high), color)
        fill = "var(--surface)" if dot.hollow else color
        place = f'cx="{left:.2f}%" cy="{top:.2f}%" r="5"'
        inner += f'<circle {place} fill="{fill}" stroke="{color}" stroke-width="2"/>'
        name = "name grey" if dot.grey else "name"
        inner += (
            f'<text class="{name}" x="{left:.2f}%" y="{top:.2f}%" dx="{dx:g}" dy="{dy:g}" '
            f'text-anchor="{anchor}">{escape(dot.name)}</text>'
        )
        parts += f'<a href="{escape(dot.href, quote=True)}">{inner}</a>' if dot.href else f"<g>{inner}</g>"
    return _plot(parts, f"{y.title} against {x.title}")


@dataclass(frozen=True)
class Curve:
    """Behind dots: straight from point to point; dashed where it is a promise and no measurement."""

    name: str
    points: Sequence[tuple[float, float]]
    color: str
    dashed: bool = False


@dataclass(frozen=True)
class Spot:
    """A dot without a name beside it, among many; `area` 0..1 of the largest."""

    x: float
    y: float
    title: str  # all figures, when pointed at
    color: str
    area: float


def spots(curves: Sequence[Curve], dots: Sequence[Spot], x: Axis, y: Axis) -> str:
    """Many dots of different sizes below named curves; the small ones lie in front."""
    parts, key = _frame(x, y), ""
    for curve in curves:
        inner = f"<title>{escape(curve.name)}</title>"
        for (x1, y1), (x2, y2) in pairwise(curve.points):
            line = _line(x.place(x1), 100 - y.place(y1), x.place(x2), 100 - y.place(y2), curve.color)
            inner += line.replace("/>", ' stroke-dasharray="5 4"/>') if curve.dashed else line
        parts += f"<g>{inner}</g>"
        style = "dashed" if curve.dashed else "solid"
        rule = f"background:none;border-top:2px {style} {curve.color}"
        key += f'<li><span style="{rule}"></span>{escape(curve.name)}</li>'
    for dot in sorted(dots, key=lambda one: -one.area):
        radius = 3 + 11 * math.sqrt(max(0.0, dot.area))
        place = f'cx="{x.place(dot.x):.2f}%" cy="{100 - y.place(dot.y):.2f}%" r="{radius:.1f}"'
        parts += (
            f'<circle {place} fill="{dot.color}" fill-opacity="0.55" stroke="{dot.color}">'
            f"<title>{escape(dot.title)}</title></circle>"
        )
    return _plot(parts, f"{y.title} against {x.title}") + f'<ul class="key">{key}</ul>'


def _name_places(dots: Sequence[tuple[float, float, str]]) -> list[tuple[str, float, float]]:
    """(anchor, dx, dy) for the name of each dot (left %, top %, name): the first place that is free."""
    taken = [_box(left, top, 0, 0, 12) for left, top, _ in dots]
    places = []
    for left, top, name in dots:
        width = _LETTER * len(name)
        choices = [
            (anchor, 9.0 if anchor == "start" else -9.0, dy)
            for dy in (-6.0, 16.0, -20.0, 30.0, -34.0, 44.0, -48.0, 58.0)
            for anchor in ("start", "end")
        ]
        best = choices[0]
        for anchor, dx, dy in choices:
            shift = dx + (width if anchor == "start" else -width) / 2
            box = _box(left, top, shift, dy - _LINE / 3, width, _LINE)
            inside = box[0] > -40 and box[1] < _WIDTH + 10 and box[2] > -10 and box[3] < _HEIGHT
            if inside and not any(_overlap(box, other) for other in taken):
                best = (anchor, dx, dy)
                break
        anchor, dx, dy = best
        shift = dx + (width if anchor == "start" else -width) / 2
        taken.append(_box(left, top, shift, dy - _LINE / 3, width, _LINE))
        places.append(best)
    return places


def _box(
    left: float, top: float, dx: float, dy: float, width: float, height: float = 12
) -> tuple[float, float, float, float]:
    """(left, right, top, bottom) in pixels of what is centred at a place in percent and a shift in pixels."""
    x, y = left / 100 * _WIDTH + dx, top / 100 * _HEIGHT + dy
    return x - width / 2, x + width / 2, y - height / 2, y + height / 2


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]


def lines(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]], x: Axis, y: Axis) -> str:
    """Named curves; a key tells the first ones apart, the rest are grey."""
    parts, key = _frame(x, y), ""
    for number, (name, points) in reversed(list(enumerate(curves))):
        color = COLORS[number] if number < len(COLORS) else "var(--before)"
        ordered = sorted(points)
        inner = f"<title>{escape(name)}</title>"
        for (x1, y1), (x2, y2) in pairwise(ordered):
            inner += _line(x.place(x1), 100 - y.place(y1), x.place(x2), 100 - y.place(y2), color)
        for px, py in ordered:
            inner += f'<circle cx="{x.place(px):.2f}%" cy="{100 - y.place(py):.2f}%" r="2.5" fill="{color}"/>'
        parts += f"<g>{inner}</g>"
    for color, (name, _) in zip(COLORS, curves, strict=False):
        key += f'<li><span style="background:{color}"></span>{escape(name)}</li>'
    if len(curves) > len(COLORS):
        key += f'<li><span style="background:var(--before)"></span>{len(curves) - len(COLORS)} others</li>'
    return _plot(parts, f"{y.title} against {x.title}") + f'<ul class="key">{key}</ul>'


def _plot(parts: str, title: str) -> str:
    return f'<div class="plot"><svg role="img" aria-label="{escape(title, quote=True)}">{parts}</svg></div>'


def _frame(x: Axis, y: Axis) -> str:
    parts = ""
    for tick in y.ticks():
        top = 100 - y.place(tick)
        parts += _line(0, top, 100, top, "var(--rule)", width=1)
        parts += f'<text x="-8" y="{top:.2f}%" dy="4" text-anchor="end">{escape(y.text(tick))}</text>'
    for tick in x.ticks():
        left = x.place(tick)
        parts += _line(left, 0, left, 100, "var(--rule)", width=1)
        parts += f'<text x="{left:.2f}%" y="100%" dy="16" text-anchor="middle">{escape(x.text(tick))}</text>'
    parts += f'<text x="100%" y="100%" dy="32" text-anchor="end">{escape(x.title)}</text>'
    return parts + f'<text x="-50" y="0" dy="-4">{escape(y.title)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, color: str, *, width: float = 1.6) -> str:
    return (
        f'<line x1="{x1:.2f}%" y1="{y1:.2f}%" x2="{x2:.2f}%" y2="{y2:.2f}%" '
        f'stroke="{color}" stroke-width="{width:g}"/>'
    )


def _nice(step: float) -> float:
    """1, 2, 2.5 or 5 times a power of ten, at least `step`."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))


def _decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every power of ten, or only some of them where there are many."""
    for factors in ((1, 2, 5), (1, 3), (1,)):
        ticks = [
            factor * 10.0**power
            for power in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
            for factor in factors
            if low <= factor * 10.0**power <= high
        ]
        if len(ticks) <= _TICKS + 1:
            break
    return ticks

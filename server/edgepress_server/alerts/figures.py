"""One value for each of many subjects at once, from the store's rows. All arrays are [subjects].

Rows of many series are put together once for each window and then merged by subject, so that a fleet of
10,000 devices costs a few array operations for a rule, and nothing for each device.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final, Literal, Protocol

import numpy as np

from edgepress_devices.metrics import BY_NAME, INDEX
from edgepress_server.alerts.rule import QUANTILES, Also, Rule
from edgepress_server.store.series.frame import Floats, Frame, Ints
from edgepress_server.store.series.keys import SeriesKey

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
MAD_TO_SIGMA: Final = 1.4826  # of a normal distribution (Rousseeuw and Croux 1993)
BASELINE_ROWS_MIN: Final = 6  # fewer hours say nothing about what is usual
SLOPE_ROWS_MIN: Final = 3
SLOPE_SPAN_MIN: Final = 0.5  # of the window that rows have to cover
LONG_WINDOW_S: Final = 3 * 3600  # from here on hours, not minutes

Span = Literal["minute", "hour"]


class Reader(Protocol):
    """What `store.alerts.windows` offers."""

    def rows(
        self,
        keys: Sequence[SeriesKey],
        from_ms: int,
        to_ms: int,
        *,
        span: Span,
        histograms: Collection[str] = (),
    ) -> tuple[Frame, Ints]:
        """(rows of all series, ``at`` being the place in ``keys``; when each row begins)."""

    def merged(
        self,
        keys: Sequence[SeriesKey],
        from_ms: int,
        to_ms: int,
        *,
        span: Span,
        histograms: Collection[str] = (),
    ) -> Frame:
        """One row a series."""


class Figures:
    """Made for one look at one moment: what was read for one rule is there for the next."""

    def __init__(self, reader: Reader, now_ms: int) -> None:
        self._reader = reader
        self._now_ms = now_ms
        self._merged: dict[tuple[tuple[SeriesKey, ...], int, str | None], Frame] = {}

    def of_groups(self, devices: tuple[SeriesKey, ...], codes: Ints) -> Figures:
        """The same for groups of devices: ``codes`` [devices] says which; their places are the subjects'."""
        return _GroupFigures(self._reader, self._now_ms, self, devices, codes)

    def value(self, rule: Rule, keys: tuple[SeriesKey, ...]) -> Floats:
        """By the rule's aggregate or rate; nan where there is too little data. Baselines: before dividing."""
        if rule.kind == "rate":
            return self._rate(rule, keys)
        frame = self.window(keys, rule.window_s, rule.histogram)
        found = aggregate(frame, rule)
        return _spread(frame.at, np.where(enough(frame, rule), found, np.nan), len(keys))

    def also(self, also: Also, rule: Rule, keys: tuple[SeriesKey, ...]) -> tuple[Floats, Floats]:
        """Means of a further metric over the rule's window; where the condition holds (1.0; unknown: 0.0)."""
        frame = self.window(keys, rule.window_s, rule.histogram)
        mean = _spread(frame.at, frame.mean(also.metric), len(keys))
        with np.errstate(invalid="ignore"):
            holds = mean > also.value if also.direction == "above" else mean < also.value
        return mean, holds.astype(np.float64)

    def is_heard(self, keys: tuple[SeriesKey, ...], window_s: int) -> Floats:
        """1.0 where there was telemetry within the window."""
        frame = self.window(keys, window_s, None)
        return _spread(frame.at, np.ones(len(frame)), len(keys), absent=0.0)

    def artifacts(
        self, keys: tuple[SeriesKey, ...], window_s: int, histogram: str | None
    ) -> list[str | None]:
        """What each ran in the window; None: nothing, or several."""
        frame = self.window(keys, window_s, histogram)
        found: list[str | None] = [None] * len(keys)
        for at, code in zip(frame.at.tolist(), frame.artifact.tolist(), strict=True):
            found[at] = frame.artifacts.get(code) or None
        return found

    def window(self, keys: tuple[SeriesKey, ...], window_s: int, histogram: str | None) -> Frame:
        """One row for each subject that had data; ``at`` is its place in ``keys``."""
        key = (keys, window_s, histogram)
        if key not in self._merged:
            self._merged[key] = self._read(keys, window_s, histogram)
        return self._merged[key]

    def hours(self, keys: tuple[SeriesKey, ...], hours: int, histogram: str | None) -> Frame:
        """Whole hours before this one, one row each; ``at`` is the place in ``keys``."""
        to_ms = self._now_ms // HOUR_MS * HOUR_MS
        wanted = () if histogram is None else (histogram,)
        rows, times = self._reader.rows(keys, to_ms - hours * HOUR_MS, to_ms, span="hour", histograms=wanted)
        return by_step(rows, times)

    def _rate(self, rule: Rule, keys: tuple[SeriesKey, ...]) -> Floats:
        """Events an hour of the time covered; or the slope of a gauge, by least squares, an hour."""
        if BY_NAME[rule.metric].kind == "count":
            frame = self.window(keys, rule.window_s, None)
            found = np.where(enough(frame, rule), frame.rate(rule.metric) * 3600, np.nan)
            return _spread(frame.at, found, len(keys))
        span: Span = "hour" if rule.window_s >= LONG_WINDOW_S else "minute"
        from_ms = self._now_ms - 1000 * rule.window_s
        rows, times = self._reader.rows(keys, from_ms, self._now_ms, span=span)
        return slopes(times, rows.mean(rule.metric), rows.at, len(keys), 1000 * rule.window_s)

    def _read(self, keys: tuple[SeriesKey, ...], window_s: int, histogram: str | None) -> Frame:
        long = window_s >= LONG_WINDOW_S
        from_ms = self._now_ms - 1000 * window_s
        start = from_ms // (HOUR_MS if long else MINUTE_MS) * (HOUR_MS if long else MINUTE_MS)
        wanted = () if histogram is None else (histogram,)
        return self._reader.merged(
            keys, start, self._now_ms + MINUTE_MS, span="hour" if long else "minute", histograms=wanted
        )


class _GroupFigures(Figures):
    def __init__(
        self, reader: Reader, now_ms: int, single: Figures, devices: tuple[SeriesKey, ...], codes: Ints
    ) -> None:
        super().__init__(reader, now_ms)
        self._single = single
        self._devices = devices
        self._codes = codes

    def window(self, keys: tuple[SeriesKey, ...], window_s: int, histogram: str | None) -> Frame:
        frame = self._single.window(self._devices, window_s, histogram)
        return frame.grouped(self._codes[frame.at], 0)


def aggregate(frame: Frame, rule: Rule) -> Floats:
    """Of each row, in the unit that `words.unit` names."""
    metric, how = rule.metric, rule.aggregate
    if how in QUANTILES:
        return frame.quantile(metric, QUANTILES[how])
    if how == "ratio":
        requests = requests_of(frame)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(requests > 0, np.nan_to_num(frame.total(metric)) / requests, np.nan)
    figures = {
        "mean": frame.mean,
        "min": frame.lowest,
        "max": frame.highest,
        "sum": frame.total,
        "per_s": frame.rate,
    }
    return figures[how](metric)


def requests_of(frame: Frame) -> Floats:
    """Answered and failed; 0 where nothing was asked."""
    both = np.nan_to_num(frame.total("inferences")) + np.nan_to_num(frame.total("errors"))
    return np.asarray(both, np.float64)


def enough(frame: Frame, rule: Rule) -> Floats:
    """Whether a row rests on as many samples (histograms: inferences; ratios: requests) as the rule asks."""
    if rule.histogram is not None:
        return np.asarray(frame.histograms[rule.histogram].totals() >= rule.least)
    if rule.aggregate == "ratio" and rule.kind != "rate":
        return np.asarray(requests_of(frame) >= rule.least)
    return np.asarray(frame.counts[:, INDEX[rule.metric]] >= rule.least)


def slopes(at_ms: Ints, values: Floats, whose: Ints, subjects: int, window_ms: int) -> Floats:
    """Least squares over the rows of each subject, an hour; nan for few rows, or for little of the window."""
    known = ~np.isnan(values)
    x = (at_ms[known] - (at_ms[known].min() if known.any() else 0)) / HOUR_MS
    y, w = values[known], whose[known]

    def total(each: Floats) -> Floats:
        return np.bincount(w, each, subjects)[:subjects].astype(np.float64)

    n = total(np.ones_like(x))
    with np.errstate(invalid="ignore", divide="ignore"):
        # Centred: sums of squares of large values lose their digits otherwise.
        dx, dy = x - (total(x) / n)[w], y - (total(y) / n)[w]
        slope = total(dx * dy) / total(dx * dx)
    first, last = np.full(subjects, np.inf), np.full(subjects, -np.inf)
    np.minimum.at(first, w, x)
    np.maximum.at(last, w, x)
    covered = (last - first) * HOUR_MS >= SLOPE_SPAN_MIN * window_ms
    return np.where((n >= SLOPE_ROWS_MIN) & covered, slope, np.nan).astype(np.float64)


def usual(values: Floats, whose: Ints, subjects: int) -> tuple[Floats, Floats]:
    """(median, robust standard deviation) of each subject's values; nan for fewer than BASELINE_ROWS_MIN."""
    median, spread = np.full(subjects, np.nan), np.full(subjects, np.nan)
    known = ~np.isnan(values)
    values, whose = values[known], whose[known]
    order = np.argsort(whose, kind="stable")
    values, whose = values[order], whose[order]
    found, starts = np.unique(whose, return_index=True)
    ends = np.append(starts[1:], len(whose))
    for place, start, end in zip(found.tolist(), starts.tolist(), ends[: len(found)].tolist(), strict=True):
        if end - start < BASELINE_ROWS_MIN:
            continue
        own = values[start:end]
        middle = float(np.median(own))
        median[place] = middle
        spread[place] = MAD_TO_SIGMA * float(np.median(np.abs(own - middle)))
    return median, spread


def _spread(places: Ints, values: Floats, subjects: int, *, absent: float = np.nan) -> Floats:
    """Rows to subjects; those without a row have no value."""
    found = np.full(subjects, absent)
    found[places] = values
    return found


def by_step(rows: Frame, times: Ints) -> Frame:
    """One row for each series and time: several artifacts of an hour, and what came late, are one."""
    if not len(rows):
        return rows
    steps, number = np.unique(times, return_inverse=True)
    merged = rows.grouped(rows.at * len(steps) + number, rows.span_ms)
    return replace(merged, at=merged.at // len(steps))

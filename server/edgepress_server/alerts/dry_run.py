"""What a rule would have said of what is stored: asked at the end of each of its windows, one by one.

The engine asks more often, with windows that overlap; so what would have fired for less than a window may
be missed here, and times are right to a window. Absences are read as gaps in telemetry. Of the server's own
checks nothing is stored but their value now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepress_devices.metrics import BY_NAME
from edgepress_server.alerts import words
from edgepress_server.alerts.baseline import of_peers
from edgepress_server.alerts.decide import OK, Standing, step, verdict
from edgepress_server.alerts.figures import (
    HOUR_MS,
    MINUTE_MS,
    Figures,
    Span,
    aggregate,
    enough,
    slopes,
    usual,
)
from edgepress_server.alerts.fleet import SERVER, Fleet, FleetReader, key_of
from edgepress_server.alerts.rule import COUNTED, Rule
from edgepress_server.alerts.server_checks import ServerChecks
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.store.series.frame import Floats, Frame, Ints
from edgepress_server.store.series.keys import SeriesKey

SUBJECTS_MAX: Final = 500  # more would take minutes; those with the lowest names
FIRINGS_MAX: Final = 200
_LONG_MS: Final = 3 * HOUR_MS


@dataclass(frozen=True)
class Firing:
    subject: str
    from_ms: int
    to_ms: int | None  # None: it would fire still
    worst: float | None  # None: of being offline
    sentence: str


@dataclass(frozen=True)
class DryRun:
    from_ms: int
    to_ms: int
    step_ms: int
    subjects: int
    without_data: int
    times: int
    firings: list[Firing]  # newest first
    words: str

    @property
    def now(self) -> list[Firing]:
        return [firing for firing in self.firings if firing.to_ms is None]


@dataclass(frozen=True)
class _Grid:
    """``values`` [subjects, steps], nan where there is none; ``normal`` [subjects]: what is usual."""

    subjects: list[str]
    left_out: int
    values: Floats
    normal: Floats | None = None


def dry_run(store: Store, settings: Settings, rule: Rule, hours: int) -> DryRun:
    """Raises InvalidInputError (query), StoreError."""
    now = store.now_ms()
    if rule.kind == "server":
        return _server(store, settings, rule, now)
    step_ms = MINUTE_MS if rule.kind == "absence" else 1000 * max(60, rule.window_s)
    steps = max(1, hours * HOUR_MS // step_ms)
    to_ms = now // MINUTE_MS * MINUTE_MS
    from_ms = to_ms - steps * step_ms
    grid = _grid(store, rule, FleetReader(store).read(), from_ms, step_ms, steps)
    firings: list[Firing] = []
    for place, subject in enumerate(grid.subjects):
        normal = None if grid.normal is None else float(grid.normal[place])
        firings += _firings(rule, subject, grid.values[place], normal, from_ms, step_ms)
    firings.sort(key=lambda firing: -firing.from_ms)
    without = int(np.isnan(grid.values).all(axis=1).sum()) if len(grid.subjects) else 0
    return DryRun(
        from_ms, to_ms, step_ms, len(grid.subjects), without, len(firings), firings[:FIRINGS_MAX],
        _summary(firings, grid, hours, without),
    )  # fmt: skip


def _summary(firings: list[Firing], grid: _Grid, hours: int, without: int) -> str:
    over = f"in {words.length(hours * 3600)}"
    whom = len({firing.subject for firing in firings})
    said = f"Would not have fired {over}" if not firings else (
        f"Would have fired {'once' if len(firings) == 1 else f'{len(firings)} times'} {over}, for {whom} of"
        f" {len(grid.subjects)}"
    )  # fmt: skip
    now = sum(firing.to_ms is None for firing in firings)
    said += f"; {now} of them still" if now else ""
    said += f". {without} have too little data" if without else ""
    said += f". {grid.left_out} more were not asked about" if grid.left_out else ""
    return said + "."


def _firings(
    rule: Rule, subject: str, values: Floats, normal: float | None, from_ms: int, step_ms: int
) -> list[Firing]:
    """The engine's own state machine, at the end of each step."""
    found: list[Firing] = []
    standing: Standing = OK
    began, worst = 0, 0.0
    for number, value in enumerate(values.tolist()):
        at = from_ms + (number + 1) * step_ms
        was_firing = standing.state in ("firing", "resolving")
        standing = step(rule, standing, verdict(rule, value), at)
        is_firing = standing.state in ("firing", "resolving")
        if is_firing and not was_firing:
            began, worst = at, value
        if is_firing and not np.isnan(value):
            worst = max(worst, value) if rule.direction == "above" else min(worst, value)
        if was_firing and not is_firing:
            found.append(_firing(rule, subject, began, at, worst, normal))
    if standing.state in ("firing", "resolving"):
        found.append(_firing(rule, subject, began, None, worst, normal))
    return found


def _firing(
    rule: Rule, subject: str, began: int, ended: int | None, worst: float, normal: float | None
) -> Firing:
    known = worst if np.isfinite(worst) else None
    return Firing(subject, began, ended, known, words.observed(rule, known, normal))


def _grid(store: Store, rule: Rule, fleet: Fleet, from_ms: int, step_ms: int, steps: int) -> _Grid:
    groups = fleet.members(rule) if rule.per != "device" and rule.query.strip() else None
    every = fleet.subjects(rule) if groups is None else list(groups)
    subjects = every[:SUBJECTS_MAX]
    left_out = len(every) - len(subjects)
    if rule.kind == "rate" and rule.metric in COUNTED:
        return _Grid(subjects, left_out, _restarts(store, rule, subjects, from_ms, step_ms, steps))
    if groups is None:
        keys = tuple(map(key_of, subjects))
        codes = np.arange(len(keys))
    else:
        keys = tuple(SeriesKey("device", name) for subject in subjects for name in groups[subject])
        codes = np.repeat(np.arange(len(subjects)), [len(groups[subject]) for subject in subjects])
    span: Span = "hour" if step_ms >= _LONG_MS else "minute"
    wanted = () if rule.histogram is None else (rule.histogram,)
    to_ms = from_ms + steps * step_ms
    rows, times = store.alerts.windows.rows(keys, from_ms, to_ms, span=span, histograms=wanted)
    cells = codes[rows.at] * steps + np.clip((times - from_ms) // step_ms, 0, steps - 1)
    size = len(subjects) * steps
    if rule.kind == "absence":
        return _Grid(subjects, left_out, _silences(rule, cells, len(subjects), steps))
    values = np.full(size, np.nan)
    if rule.kind == "rate" and _is_gauge(rule):
        values = slopes(times, rows.mean(rule.metric), cells, size, step_ms)
    else:
        merged = rows.grouped(cells, 0)
        figure = merged.rate(rule.metric) * 3600 if rule.kind == "rate" else aggregate(merged, rule)
        values[merged.at] = np.where(enough(merged, rule), figure, np.nan)
        values[merged.at] = np.where(_holds(rule, merged), values[merged.at], _inside(rule))
    table = values.reshape(len(subjects), steps)
    if rule.baseline is None:
        return _Grid(subjects, left_out, table)
    normal = _normal(store, rule, fleet, keys, table, from_ms)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(normal[0][:, None] > 0, table / normal[0][:, None], np.nan)
        still = np.abs(table - normal[0][:, None]) <= rule.baseline.deviations * normal[1][:, None]
    beyond = ratios > rule.fire_at if rule.direction == "above" else ratios < rule.fire_at
    return _Grid(subjects, left_out, np.where(beyond & still, rule.fire_at, ratios), normal[0])


def _is_gauge(rule: Rule) -> bool:
    return BY_NAME[rule.metric].kind == "gauge"


def _holds(rule: Rule, rows: Frame) -> Floats:
    holds = np.ones(len(rows), bool)
    for also in rule.also:
        mean = rows.mean(also.metric)
        with np.errstate(invalid="ignore"):
            holds &= mean > also.value if also.direction == "above" else mean < also.value
    return np.asarray(holds)


def _inside(rule: Rule) -> float:
    """A value that is within: a further condition did not hold."""
    return rule.resolves_at


def _silences(rule: Rule, cells: Ints, subjects: int, steps: int) -> Floats:
    """How long each has not been heard of, in seconds, at the end of each minute; nan before its first."""
    heard = np.bincount(cells, minlength=subjects * steps)[: subjects * steps] > 0
    table = heard.reshape(subjects, steps)
    last = np.maximum.accumulate(np.where(table, np.arange(steps), -1), axis=1)
    silent = (np.arange(steps) - last) * MINUTE_MS / 1000.0
    values = np.where(last >= 0, silent, np.nan)
    if rule.absent == "offline":  # `step` waits for the time itself: what counts is that it is away
        values = np.where(values > 0, np.inf, values)
    return np.asarray(values, np.float64)


def _restarts(
    store: Store, rule: Rule, subjects: list[str], from_ms: int, step_ms: int, steps: int
) -> Floats:
    values = np.zeros((len(subjects), steps))
    places = {subject.removeprefix("device:"): place for place, subject in enumerate(subjects)}
    for number in range(steps):
        start = from_ms + number * step_ms
        for name, count in store.alerts.facts.restarts(start, start + step_ms).items():
            if name in places:
                values[places[name], number] = count * HOUR_MS / step_ms
    return values


def _normal(
    store: Store, rule: Rule, fleet: Fleet, keys: tuple[SeriesKey, ...], table: Floats, from_ms: int
) -> tuple[Floats, Floats]:
    """(usual, deviation) of each subject, as it was when the time that is looked at began."""
    baseline = rule.baseline
    if baseline is None:
        raise ValueError("of a rule against a baseline")
    if baseline.against == "own":
        rows = Figures(store.alerts.windows, from_ms).hours(keys, baseline.hours, rule.histogram)
        figure = np.where(enough(rows, rule), aggregate(rows, rule), np.nan)
        return usual(figure, rows.at, len(keys))
    if baseline.against == "predicted":
        known = store.alerts.facts.predictions()
        devices = [fleet.devices[key.name] for key in keys]
        found = [known.get((device.profile, device.running or ""), np.nan) for device in devices]
        return np.array(found, np.float64), np.zeros(len(keys))
    flat = np.array([np.median(row[~np.isnan(row)]) if (~np.isnan(row)).any() else np.nan for row in table])
    return of_peers(flat, [fleet.devices[key.name].profile for key in keys])


def _server(store: Store, settings: Settings, rule: Rule, now: int) -> DryRun:
    value = ServerChecks(store, settings).value(rule.metric, now)
    beyond = verdict(rule, value) == "beyond"
    firings = (
        [Firing(SERVER, now, None, value, words.observed(rule, value))]
        if beyond and value is not None
        else []
    )
    unit = words.unit(rule)
    said = "no value" if value is None else words.amount(value, unit)
    return DryRun(
        now, now, 0, 1, int(value is None), len(firings), firings,
        f"Of the server's own checks nothing is stored but their value now: {said}. "
        + ("It would fire." if beyond else "It would not fire."),
    )  # fmt: skip

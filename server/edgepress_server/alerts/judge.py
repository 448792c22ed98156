"""What rules see: a verdict about each subject, from the fleet, telemetry and the server's checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepress_server.alerts.baseline import Baselines
from edgepress_server.alerts.decide import Verdict, verdict
from edgepress_server.alerts.figures import Figures
from edgepress_server.alerts.fleet import SERVER, Fleet, key_of
from edgepress_server.alerts.rule import COUNTED, Rule
from edgepress_server.alerts.server_checks import ServerChecks
from edgepress_server.store import Store
from edgepress_server.store.series.frame import Floats
from edgepress_server.store.series.keys import SeriesKey

HOUR_S: Final = 3600


@dataclass(frozen=True)
class Seen:
    """About one subject."""

    verdict: Verdict
    value: float | None = None
    usual: float | None = None  # of rules against a baseline


@dataclass(frozen=True)
class View:
    """``seen``: all that is not within, and within where it was asked for; others are ``within``."""

    subjects: frozenset[str]
    seen: dict[str, Seen]

    def of(self, subject: str) -> Seen:
        if subject not in self.subjects:
            return Seen("gone")
        return self.seen.get(subject, _WITHIN)


_WITHIN: Final = Seen("within")


class Judge:
    """``link_is_well``: whether what the store says about who is online can be believed."""

    def __init__(self, store: Store, checks: ServerChecks, baselines: Baselines) -> None:
        self._store = store
        self._checks = checks
        self._baselines = baselines

    def view(self, rule: Rule, fleet: Fleet, figures: Figures, now_ms: int, *, link_is_well: bool) -> View:
        """Raises InvalidInputError (a query of before that is none now), StoreError."""
        if rule.kind == "server":
            value = self._checks.value(rule.metric, now_ms)
            return View(frozenset({SERVER}), {SERVER: Seen(verdict(rule, value), value)})
        if rule.kind == "absence":
            return self._absence(rule, fleet, now_ms, link_is_well=link_is_well)
        if rule.kind == "rate" and rule.metric in COUNTED:
            return self._restarts(rule, fleet, now_ms)
        return self._figures(rule, fleet, figures, now_ms)

    def _absence(self, rule: Rule, fleet: Fleet, now_ms: int, *, link_is_well: bool) -> View:
        names = fleet.meant(rule)
        if rule.absent == "telemetry":
            return self._silence(rule, fleet, names, now_ms)
        subjects = frozenset(f"device:{name}" for name in names)
        if not link_is_well:  # the broker or the link is away: nobody knows who is online
            return View(subjects, dict.fromkeys(subjects, Seen("unknown")))
        away = Seen("beyond")
        return View(
            subjects, {f"device:{name}": away for name in names if fleet.devices[name].status != "online"}
        )

    def _silence(self, rule: Rule, fleet: Fleet, names: list[str], now_ms: int) -> View:
        """Of devices that are online: the others are offline, which another rule tells."""
        heard = self._store.series_read.heard_at()
        online = [name for name in names if fleet.devices[name].status == "online" and name in heard]
        seen = {}
        for name in online:
            silent_s = (now_ms - heard[name]) / 1000
            found = verdict(rule, silent_s)
            if found != "within":
                seen[f"device:{name}"] = Seen(found, silent_s)
        return View(frozenset(f"device:{name}" for name in online), seen)

    def _restarts(self, rule: Rule, fleet: Fleet, now_ms: int) -> View:
        counted = self._store.alerts.facts.restarts(now_ms - 1000 * rule.window_s, now_ms + 1)
        names = fleet.meant(rule)
        seen = {}
        for name in set(names) & counted.keys():
            value = counted[name] * HOUR_S / rule.window_s
            seen[f"device:{name}"] = Seen(verdict(rule, value), value)
        return View(frozenset(f"device:{name}" for name in names), seen)

    def _figures(self, rule: Rule, fleet: Fleet, figures: Figures, now_ms: int) -> View:
        if rule.per != "device" and rule.query.strip():
            groups = fleet.members(rule)
            subjects = list(groups)
            keys = tuple(SeriesKey("device", name) for names in groups.values() for name in names)
            sizes = [len(names) for names in groups.values()]
            codes = np.repeat(np.arange(len(subjects)), sizes).astype(np.int64)
            figures = figures.of_groups(keys, codes)
            keys = tuple(SeriesKey("device", subject) for subject in subjects)  # their places are the codes
        else:
            subjects = fleet.subjects(rule)
            keys = tuple(map(key_of, subjects))
        if not subjects:
            return View(frozenset(), {})
        values = figures.value(rule, keys)
        usual = None
        if rule.baseline is not None:
            values, usual = self._baselines.ratios(rule, values, keys, fleet, figures, now_ms)
        return View(
            frozenset(subjects), _seen(rule, subjects, values, usual, self._also(rule, figures, keys))
        )

    @staticmethod
    def _also(rule: Rule, figures: Figures, keys: tuple[SeriesKey, ...]) -> Floats:
        """1.0 where all further conditions hold; one that cannot be told does not."""
        holds = np.ones(len(keys))
        for also in rule.also:
            holds *= figures.also(also, rule, keys)[1]
        return holds


def _seen(
    rule: Rule, subjects: list[str], values: Floats, usual: Floats | None, holds: Floats
) -> dict[str, Seen]:
    above = rule.direction == "above"
    with np.errstate(invalid="ignore"):
        inside = values <= rule.resolves_at if above else values >= rule.resolves_at
    inside |= ~np.isnan(values) & (holds == 0)
    found = {}
    for place in np.flatnonzero(~inside).tolist():
        value = float(values[place])
        known = None if np.isnan(value) else value
        normal = None if usual is None or np.isnan(usual[place]) else float(usual[place])
        found[subjects[place]] = Seen(verdict(rule, known), known, normal)
    return found

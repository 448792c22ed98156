"""Looks at every rule about every ten seconds, in a thread of its own in the worker role.

    fleet, telemetry, checks --judge--> verdicts --decide.step--> states --incidents--> incidents
                                                                                |--notices--> notices in line

A look at a rule is one transaction: its states and incidents change together or not at all; so do what
people were told of an incident and the notices in line. A kill anywhere leaves what was or what is, and the
next look goes on from there. Of several workers one looks, by a lease.

A look that costs much is followed by a longer pause: alerts take BUSY_SHARE of a core, as far as LONGEST_S
allows.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from typing import Final

import psutil

from edgepress_server.alerts import words
from edgepress_server.alerts.baseline import Baselines
from edgepress_server.alerts.decide import OK, Standing, State, step
from edgepress_server.alerts.defaults import DEFAULT_RULES
from edgepress_server.alerts.figures import Figures
from edgepress_server.alerts.fleet import Fleet, FleetReader
from edgepress_server.alerts.incidents import Incidents
from edgepress_server.alerts.judge import Judge, View
from edgepress_server.alerts.notices import CALM_MS
from edgepress_server.alerts.rule import Rule
from edgepress_server.alerts.server_checks import ServerChecks
from edgepress_server.alerts.tell import Teller
from edgepress_server.errors import InvalidInputError, ServerError
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.store.alerts import Line, StateRow

log = logging.getLogger(__name__)

LOOK_S: Final = 10.0
BUSY_SHARE: Final = 0.1
LONGEST_S: Final = 45.0  # less than the lease
LEASE_MS: Final = 60_000
LEASE: Final = "alerts.engine"
LINK_SETTLE_MS: Final = 30_000  # devices say that they are there within this after a connection was made
SEEN_EVERY_MS: Final = 60_000  # how often a state that stays as it is is written
PRUNE_EVERY_MS: Final = 3_600_000
QUANTILE_EVERY_MS: Final = 60_000  # rules per device on histograms: the costly ones
SHORT_S: Final = 300
RESTARTS_KEPT_MS: Final = 8 * 24 * 3600 * 1000


class AlertEngine:
    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._fleet = FleetReader(store)
        self._checks = ServerChecks(store, settings)
        self._judge = Judge(store, self._checks, Baselines(store))
        self._incidents = Incidents(store)
        self._teller = Teller(store, settings)
        self._due: dict[str, int] = {}
        self._well_since: int | None = None
        self._prune_due = 0
        self.leading = threading.Event()  # set while it is this worker that looks

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        pause_s = 0.0
        while not stop.wait(pause_s):
            began = time.thread_time()
            try:
                if self.leads():
                    self.leading.set()
                    self.look()
                else:
                    self.leading.clear()
            except ServerError as error:  # busy, disk full: it may pass
                log.warning("alerts cannot be looked at now, trying again: %s", error.message)
            pause_s = min(LONGEST_S, max(LOOK_S, (time.thread_time() - began) / BUSY_SHARE))

    def leads(self) -> bool:
        """Whether it is this worker that looks; takes the lease where it may."""
        facts, now = self._store.facts, self._store.now_ms()
        with self._store.transaction():
            held = facts.get(LEASE)
            if (
                held is not None
                and held["by"] != self._name
                and held["until"] > now
                and not _is_dead(held["by"])
            ):
                return False
            facts.set(LEASE, {"by": self._name, "until": now + LEASE_MS})
        return True

    def look(self) -> None:
        """One look at every rule that is due. Raises StoreError."""
        store, now = self._store, self._store.now_ms()
        store.alerts.rules.install(DEFAULT_RULES)
        store.alerts.facts.note_boots(now - RESTARTS_KEPT_MS)
        rules = {kept.rule.name: kept.rule for kept in store.alerts.rules.list()}
        fleet = self._fleet.read()
        figures = Figures(store.alerts.windows, now)
        link_is_well = self._is_link_settled(now)
        states: dict[str, dict[str, StateRow]] = {}
        for row in store.alerts.states():
            states.setdefault(row.rule, {})[row.subject] = row
        for name in states.keys() - {name for name, rule in rules.items() if rule.enabled}:
            self._drop(name, rules.get(name), states[name], fleet)
        for rule in rules.values():
            if not rule.enabled or now < self._due.get(rule.name, 0):
                continue
            self._due[rule.name] = now + every_ms(rule)
            try:
                view = self._judge.view(rule, fleet, figures, now, link_is_well=link_is_well)
            except InvalidInputError as error:
                log.warning("the alert rule %s is left out: %s", rule.name, error.message)
                continue
            self._apply(rule, view, states.get(rule.name, {}), fleet, now)
        for incident in store.alerts.unsettled(now - 2 * CALM_MS):
            self._incidents.settle(incident)
        self._teller.tell(rules, fleet)
        if now >= self._prune_due:
            store.alerts.prune()
            store.alerts.channels.prune()
            self._prune_due = now + PRUNE_EVERY_MS

    def _is_link_settled(self, now: int) -> bool:
        if not self._checks.is_link_well():
            self._well_since = None
            return False
        if self._well_since is None:
            self._well_since = now
        return now - self._well_since >= LINK_SETTLE_MS

    # --- one rule -----------------------------------------------------------------------------------------

    def _apply(self, rule: Rule, view: View, old: Mapping[str, StateRow], fleet: Fleet, now: int) -> None:
        """Its states, and the incidents that they make."""
        changed: list[StateRow] = []
        over: list[str] = []
        fired: list[StateRow] = []
        lines: list[Line] = []
        rows: dict[str, StateRow] = {}  # those that fire or are resolving, after this look
        touched = {row.incident for row in old.values() if row.incident is not None}
        beyond = {subject for subject, seen in view.seen.items() if seen.verdict == "beyond"}
        for subject in sorted(old.keys() | beyond):
            before, seen = old.get(subject), view.of(subject)
            standing = step(rule, _standing(before), seen.verdict, now)
            what = transition(before.state if before else "ok", standing.state)
            value = before.value if before and seen.value is None else seen.value
            sentence = words.observed(rule, value, seen.usual)
            if before and seen.verdict in ("unknown", "gone") and value is not None:
                sentence = before.sentence
            if standing is OK or standing.state == "ok":
                over.append(subject)
                if before is not None:
                    why = _why_over(seen.verdict, sentence)
                    lines.append((rule.name, subject, before.incident, what, value, rule.fire_at, why, None))
                continue
            row = StateRow(
                rule.name, subject, standing.state, standing.since, standing.began_at, standing.data_at,
                value, sentence, before.incident if before else None,
            )  # fmt: skip
            if what == "fired" and row.incident is None:
                fired.append(row)
            if standing.state != "pending":
                rows[subject] = row
            if what:
                lines.append((rule.name, subject, row.incident, what, value, rule.fire_at, sentence, None))
            if what or before is None or now - before.data_at >= SEEN_EVERY_MS:
                changed.append(row)
        if not (changed or over or touched):
            return
        with self._store.transaction():
            self._write(rule, fleet, rows, changed, [s for s in over if s in old], fired, lines, touched)

    def _write(
        self,
        rule: Rule,
        fleet: Fleet,
        rows: dict[str, StateRow],
        changed: list[StateRow],
        over: list[str],
        fired: list[StateRow],
        lines: list[Line],
        touched: set[str],
    ) -> None:
        alerts = self._store.alerts
        assigned = self._incidents.assign(rule, fleet, fired)
        changed = [_with_incident(row, assigned) for row in changed]
        rows = {subject: _with_incident(row, assigned) for subject, row in rows.items()}
        if over:
            alerts.drop_states([(rule.name, subject) for subject in over])
        if changed:
            alerts.put_states(changed)
        if lines:
            alerts.note([(line[0], line[1], line[2] or assigned.get(line[1]), *line[3:]) for line in lines])
        for identity in sorted(touched | set(assigned.values())):
            own = [row for row in rows.values() if row.incident == identity]
            self._incidents.refresh(alerts.get(identity), rule, own, fleet)

    def _drop(self, name: str, rule: Rule | None, old: Mapping[str, StateRow], fleet: Fleet) -> None:
        """The rule was removed or switched off: nothing of it is claimed any more."""
        alerts = self._store.alerts
        self._due.pop(name, None)
        with self._store.transaction():
            alerts.drop_states([(name, subject) for subject in old])
            fire_at = None if rule is None else rule.fire_at
            alerts.note(
                [
                    (name, row.subject, row.incident, transition(row.state, "ok"), row.value, fire_at,
                     "the rule was removed or switched off", None)
                    for row in old.values()
                ]
            )  # fmt: skip
            for identity in sorted({row.incident for row in old.values() if row.incident is not None}):
                self._incidents.refresh(alerts.get(identity), None, [], fleet)


def every_ms(rule: Rule) -> int:
    """How often a rule is worth a look: at ten looks a minute a window of six hours hardly moves."""
    least = QUANTILE_EVERY_MS if rule.histogram is not None and rule.per == "device" else 0
    if rule.kind in ("absence", "server"):
        return 0
    return max(least, int(1000 * rule.window_s / 30) if rule.window_s > SHORT_S else 0)


def transition(old: State, new: State) -> str:
    """What a change is called; "" where nothing changed."""
    if old == new:
        return ""
    if new == "ok":
        return "cleared" if old == "pending" else "resolved"
    if new == "firing":
        return "again" if old == "resolving" else "fired"
    return new


def _why_over(verdict: str, sentence: str) -> str:
    match verdict:
        case "gone":
            return "it is not there any more, or not meant by the rule any more"
        case "unknown":
            return "nothing was heard for so long that it is not known any more"
    return sentence


def _standing(row: StateRow | None) -> Standing:
    return OK if row is None else Standing(row.state, row.since, row.began_at, row.data_at)


def _with_incident(row: StateRow, assigned: Mapping[str, str]) -> StateRow:
    if row.incident is not None or row.subject not in assigned:
        return row
    return StateRow(
        row.rule, row.subject, row.state, row.since, row.began_at, row.data_at, row.value, row.sentence,
        assigned[row.subject],
    )  # fmt: skip


def _is_dead(worker: str) -> bool:
    """Whether a worker of this machine is known to have ended."""
    name, _, rest = worker.partition(":")
    pid = rest.partition(":")[0]
    return name == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid))

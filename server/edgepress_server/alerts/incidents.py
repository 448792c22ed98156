"""Firings become incidents: one for all subjects of a rule that share its scope. Inside a transaction.

"212 devices of pi-4" is one incident, one line on the page and one mail.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from edgepress_server.alerts import words
from edgepress_server.alerts.fleet import Fleet
from edgepress_server.alerts.notices import FLAP_MS, REOPEN_MS, is_flapping
from edgepress_server.alerts.rule import Rule
from edgepress_server.store import Store
from edgepress_server.store.alerts import Incident, StateRow

ROLLOUT_MS: Final = 24 * 3600 * 1000  # a rollout this long before may be why
GREW_MS: Final = 60_000  # between two lines that say that an incident grew
GREW_FACTOR: Final = 1.5
GROUP_SHARE: Final = 0.5  # more than this share of the subjects: what they have in common


class Incidents:
    def __init__(self, store: Store) -> None:
        self._store = store

    def assign(self, rule: Rule, fleet: Fleet, fired: Sequence[StateRow]) -> dict[str, str]:
        """Subject -> incident, of those that fire now: one that fires, of a moment ago, or a new one."""
        found: dict[str, str] = {}
        by_scope: dict[str, str] = {}
        for row in fired:
            scope = fleet.scope(rule, row.subject)
            key = json.dumps(scope, sort_keys=True)
            if key not in by_scope:
                by_scope[key] = self._incident(rule, scope, row)
            found[row.subject] = by_scope[key]
        return found

    def _incident(self, rule: Rule, scope: dict[str, str], first: StateRow) -> str:
        alerts, now = self._store.alerts, self._store.now_ms()
        old = alerts.newest_of(rule.name, scope)
        if old is not None and old.state == "firing":
            return old.id
        if old is not None and now - (old.resolved_at or 0) <= REOPEN_MS:
            reopened = [at for at in old.reopened if now - at < FLAP_MS] + [now]
            alerts.change(
                old.id, state="firing", since=now, resolved_at=None, reopened=reopened,
                severity=rule.severity,
                acknowledged_by=None, acknowledged_at=None, acknowledged_note="",
            )  # fmt: skip
            alerts.tell(alerts.get(old.id), "reopened", f"fires again: {first.sentence}", value=first.value)
            return old.id
        opened = alerts.open(
            {
                "rule": rule.name,
                "scope": scope,
                "severity": rule.severity,
                "title": rule.title,
                "runbook": rule.runbook_link,
                "worst": first.value,
                "subjects": 0,
                "most_subjects": 0,
                "first_subject": first.subject,
            },
            sentence=first.sentence,
        )
        return opened.id

    def settle(self, incident: Incident) -> None:
        """Whether it flaps, or does no more."""
        alerts, now = self._store.alerts, self._store.now_ms()
        flapping = is_flapping([incident.opened_at, *incident.reopened], now, was=incident.flapping)
        if flapping == incident.flapping:
            return
        alerts.change(incident.id, flapping=int(flapping))
        if flapping:
            alerts.tell(incident, "flapping", "fires and resolves again and again; people are told once")
        else:
            alerts.tell(incident, "calm", "it has been calm for a while")

    def refresh(self, incident: Incident, rule: Rule | None, rows: Sequence[StateRow], fleet: Fleet) -> None:
        """Bring it up to date with its subjects' states; without any, or without a rule, it is over."""
        alerts, now = self._store.alerts, self._store.now_ms()
        if not rows or rule is None:
            if incident.state == "firing":
                self._resolve(incident, rule)
            return
        about = self._about(incident, rule, rows, fleet, now)
        changed = {name: value for name, value in about.items() if getattr(incident, name) != value}
        if not changed:
            return
        grew = about["subjects"] > incident.subjects
        alerts.change(incident.id, **changed)
        if incident.subjects == 0:
            alerts.tell(alerts.get(incident.id), "opened", about["sentence"], value=about["worst"])
        elif grew and self._is_worth_telling(incident, about["subjects"], now):
            alerts.tell(alerts.get(incident.id), "grew", about["sentence"], value=about["worst"])

    def _is_worth_telling(self, incident: Incident, subjects: int, now: int) -> bool:
        return subjects > incident.most_subjects * GREW_FACTOR or (
            subjects > incident.most_subjects and now - incident.updated_at > GREW_MS
        )

    def _resolve(self, incident: Incident, rule: Rule | None) -> None:
        alerts, now = self._store.alerts, self._store.now_ms()
        lasted = words.length((now - incident.since) / 1000)
        sentence = f"over after {lasted}" if rule is not None else "its rule was removed or switched off"
        alerts.change(incident.id, state="resolved", since=now, resolved_at=now, subjects=0)
        alerts.tell(alerts.get(incident.id), "resolved", sentence)

    def _about(
        self, incident: Incident, rule: Rule, rows: Sequence[StateRow], fleet: Fleet, now: int
    ) -> dict[str, Any]:
        """Columns of the incident, as its subjects are now."""
        known = [row for row in rows if row.value is not None]
        sign = 1 if rule.direction == "above" else -1
        worst = max(known, key=lambda row: sign * (row.value or 0.0)) if known else rows[0]
        others = [row.subject for row in rows if row is not worst]
        names = [row.subject.removeprefix("device:") for row in rows if row.subject.startswith("device:")]
        devices = [fleet.devices[name] for name in names if name in fleet.devices]
        began_at = min(row.began_at for row in rows)
        rollout = incident.rollout
        if len(rows) != incident.subjects:
            rollout = self._rollout(names, began_at)
        model = _common([device.model for device in devices])
        return {
            "subjects": len(rows),
            "most_subjects": max(len(rows), incident.most_subjects),
            "first_subject": worst.subject,
            "worst": worst.value,
            "model": model,
            "profile": _common([device.profile for device in devices]) or incident.scope.get("profile"),
            "artifact": _common([device.running for device in devices]) or incident.scope.get("artifact"),
            "rollout": rollout,
            "severity": rule.severity,
            "sentence": words.incident_sentence(
                rule,
                [worst.subject, *others],
                worst.sentence,
                scope=incident.scope,
                began_at=began_at,
                now_ms=now,
                model=model,
                release=_common([device.release for device in devices]),
                rollout=rollout,
            ),
        }

    def _rollout(self, names: list[str], began_at: int) -> str | None:
        """The one that brought most of them what they run, within the day before it began."""
        if not names:
            return None
        found = self._store.alerts.facts.rollouts_of(names, began_at - ROLLOUT_MS)
        return found[0][0] if found and found[0][1] > GROUP_SHARE * len(names) else None


def _common(values: Sequence[Any]) -> Any:
    """What more than half of them are."""
    counted = Counter(value for value in values if value is not None).most_common(1)
    return counted[0][0] if counted and counted[0][1] > GROUP_SHARE * len(values) else None

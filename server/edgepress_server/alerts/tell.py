"""Puts notices in line: for each incident what people are to be told now, once, to each of its channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from edgepress_server.alerts.fleet import Fleet
from edgepress_server.alerts.notices import (
    CALM_MS,
    RATE_CRITICAL,
    RATE_MOST,
    RATE_MS,
    Case,
    Told,
    What,
    next_notice,
    told_after,
)
from edgepress_server.alerts.rule import Rule
from edgepress_server.rollout.query import QueryError, parse
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.store.alert_channels import Channel
from edgepress_server.store.alert_silences import Silence
from edgepress_server.store.alerts import Incident

NAMED: Final = 20  # devices that a notice names


class Teller:
    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def tell(self, rules: Mapping[str, Rule], fleet: Fleet) -> None:
        """Whatever is due, each incident in a transaction of its own. Raises StoreError."""
        alerts, now = self._store.alerts, self._store.now_ms()
        unsettled = alerts.unsettled(now - 2 * CALM_MS)
        if not unsettled:
            return
        silences = alerts.silences.holding(now)
        channels = alerts.channels.list()
        lately = alerts.channels.sent_since(now - RATE_MS)
        for incident in unsettled:
            silenced = self._is_silenced(incident, silences, fleet)
            rule = rules.get(incident.rule)
            changes = silenced != incident.silenced and incident.state == "firing"
            if not changes and next_notice(_case(incident, rule), now) is None:
                continue  # as nearly always: no write
            with self._store.transaction():
                current = alerts.get(incident.id)  # somebody may have acknowledged it meanwhile
                if changes:
                    current = self._silence(current, silenced)
                self._tell(current, rule, channels, lately, now)

    def _tell(
        self, incident: Incident, rule: Rule | None, channels: list[Channel], lately: dict[str, int], now: int
    ) -> None:
        what = next_notice(_case(incident, rule), now)
        if what is None:
            return
        wanted = () if rule is None else rule.channels
        to = [c for c in channels if c.takes(incident.severity) and (not wanted or c.name in wanted)]
        most = RATE_MOST if incident.severity == "critical" else RATE_MOST - RATE_CRITICAL
        if any(lately.get(c.name, 0) >= most for c in to if c.kind != "mqtt"):
            return  # held back: told as it is once there is room
        number = incident.notices + 1
        self._store.alerts.channels.enqueue(
            incident.id, number, what, self._payload(incident, what), [c.name for c in to]
        )
        for channel in to:
            lately[channel.name] = lately.get(channel.name, 0) + 1
        self._store.alerts.change(
            incident.id,
            told=told_after(what),
            told_at=now,
            told_subjects=incident.subjects,
            notices=number,
            updated_at=incident.updated_at,
        )

    def _silence(self, incident: Incident, silenced: bool) -> Incident:
        alerts = self._store.alerts
        alerts.change(incident.id, silenced=int(silenced))
        if silenced:
            alerts.tell(incident, "silenced", "silenced: it goes on, and nobody is told")
        else:
            alerts.tell(incident, "unsilenced", "not silenced any more")
        return alerts.get(incident.id)

    def _is_silenced(self, incident: Incident, silences: Sequence[Silence], fleet: Fleet) -> bool:
        """Whether silences fit every subject that fires."""
        fitting = [silence for silence in silences if silence.fits_rule(incident.rule)]
        if not fitting or incident.state != "firing":
            return False
        if any(not silence.query.strip() for silence in fitting):
            return True
        matchers = [parse(silence.query) for silence in fitting if _is_query(silence.query)]
        rows = self._store.alerts.members(incident.id, limit=max(1, incident.subjects))
        for row in rows:
            device = fleet.devices.get(row.subject.removeprefix("device:"))
            if device is None or not any(query.matches(device, fleet.in_group) for query in matchers):
                return False
        return bool(rows)

    def _payload(self, incident: Incident, what: What) -> dict[str, Any]:
        """What receivers get; the notice's id is added where it is put in line."""
        url = self._settings.url
        rows = self._store.alerts.members(incident.id, limit=NAMED)
        return {
            "what": what,
            "alert": incident.id,
            "rule": incident.rule,
            "title": incident.title,
            "severity": incident.severity,
            "state": incident.state,
            "sentence": incident.sentence,
            "scope": incident.scope,
            "subjects": incident.subjects,
            "devices": [r.subject.removeprefix("device:") for r in rows if r.subject.startswith("device:")],
            "value": incident.worst,
            "model": incident.model,
            "profile": incident.profile,
            "artifact": incident.artifact,
            "rollout": incident.rollout,
            "opened_at": incident.opened_at,
            "resolved_at": incident.resolved_at,
            "url": f"{url}/alerts/{incident.id}",
            "runbook": incident.runbook if incident.runbook.startswith("http") else url + incident.runbook,
        }


def _case(incident: Incident, rule: Rule | None) -> Case:
    return Case(
        is_firing=incident.state == "firing",
        told=cast(Told, incident.told),
        told_at=incident.told_at or 0,
        told_subjects=incident.told_subjects,
        subjects=incident.subjects,
        since=incident.since,
        is_flapping=incident.flapping,
        is_silenced=incident.silenced,
        is_acknowledged=incident.acknowledged_by is not None,
        repeat_s=0 if rule is None else rule.repeat_s,
    )


def _is_query(text: str) -> bool:
    try:
        parse(text)
    except QueryError:  # checked when it was made; a newer language may read it no more
        return False
    return True

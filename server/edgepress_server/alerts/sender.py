"""Brings notices to their receivers, in a thread of its own in the worker role.

A notice is marked as sent after its receiver took it: killed between the two, it is sent again with the
same id. A receiver that hangs holds up the others for some seconds (bounded.py); each notice backs off by
itself.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import Any, Final

from edgepress_server.alerts.bounded import Deliveries
from edgepress_server.alerts.channels import mail, mqtt, webhook
from edgepress_server.alerts.channels.delivery import DeliveryError
from edgepress_server.alerts.rule import SEVERITIES, Severity
from edgepress_server.errors import EdgepressError, NotFoundError, ServerError
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.store.alert_channels import Channel, Notice

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
HEALTH_EVERY_MS: Final = 60_000  # between two events that say that a channel failed


class Sender:
    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._told: dict[str, int] = {}
        self._deliveries = Deliveries()

    def run(self, stop: threading.Event, leads: threading.Event) -> None:
        """Until told to stop; sends while ``leads`` is set: of several workers one does."""
        while not stop.is_set():
            sent = 0
            try:
                if leads.is_set():
                    sent = self.send_due()
            except ServerError as error:
                log.warning("notices cannot be sent now, trying again: %s", error.message)
            if sent == 0:
                stop.wait(LOOK_S)

    def send_due(self) -> int:
        """Whatever is in line now; how many were taken. Raises StoreError."""
        channels, taken = self._store.alerts.channels, 0
        for notice in channels.due():
            channel = channels.find(notice.channel)
            if channel is None or not channel.enabled:
                channels.refused(notice, "the channel is off", for_good=True)
                continue
            try:
                bring = partial(deliver, self._store, self._settings, channel, notice.payload)
                answer = self._deliveries.run(channel.name, bring)
            except DeliveryError as error:
                channels.refused(notice, str(error), for_good=error.for_good)
                self._tell(channel, notice, str(error))
            else:
                channels.sent(notice, answer)
                taken += 1
        return taken

    def _tell(self, channel: Channel, notice: Notice, why: str) -> None:
        log.warning("notice %s was not taken by the channel %s: %s", notice.id, channel.name, why)
        now = self._store.now_ms()
        if now - self._told.get(channel.name, -HEALTH_EVERY_MS) >= HEALTH_EVERY_MS:
            self._told[channel.name] = now
            self._store.events.append("alert", channel.name, "channel_failed", data={"message": why})


def deliver(store: Store, settings: Settings, channel: Channel, payload: dict[str, Any]) -> str:
    """One notice over one channel; what the receiver said. Raises DeliveryError."""
    match channel.kind:
        case "webhook":
            return webhook.send(channel.options, channel.secret, payload)
        case "email":
            return mail.send(channel.options, channel.secret, payload)
    try:
        address = mqtt.address_of(channel.options, channel.secret, settings)
    except EdgepressError as error:
        raise DeliveryError(str(error)) from error
    return mqtt.publish(address, _states(store, channel, payload))


def _states(store: Store, channel: Channel, payload: dict[str, Any]) -> dict[str, bytes]:
    """The topic of the rule at the severity that it has now; and "ok" at those that it had before."""
    now, rule = store.now_ms(), str(payload["rule"])
    kept = store.alerts.rules.find(rule)
    severity: Severity = payload["severity"] if kept is None else kept.rule.severity
    firing = [incident for incident in store.alerts.firing() if incident.rule == rule]
    found = {
        mqtt.topic(channel.options, each, rule): mqtt.state(
            rule, payload["title"], each, [one for one in firing if one.severity == each], now
        )
        for each in SEVERITIES
        if each in (severity, payload["severity"])
    }
    return found


def trial_notice(settings: Settings, channel: Channel, now_ms: int) -> dict[str, Any]:
    """What `edgepress alert channel test` sends: a real message that says that it is none."""
    return {
        "id": f"test-{now_ms}-{channel.name}",
        "what": "test",
        "alert": "",
        "rule": "test",
        "title": "Test of the channel " + channel.name,
        "severity": "info",
        "state": "resolved",
        "sentence": "Nothing is wrong: somebody asked edgepress to try this channel",
        "scope": {},
        "subjects": 0,
        "devices": [],
        "value": None,
        "model": None,
        "profile": None,
        "artifact": None,
        "rollout": None,
        "opened_at": now_ms,
        "resolved_at": now_ms,
        "url": f"{settings.url}/alerts",
        "runbook": f"{settings.url}/runbooks/notices-failing",
    }


def try_channel(store: Store, settings: Settings, name: str) -> tuple[bool, str, int]:
    """(whether it was taken, what was answered, how long it took in ms). Raises NotFoundError."""
    channel = store.alerts.channels.find(name)
    if channel is None:
        raise NotFoundError("channel_unknown", f"There is no alert channel {name[:80]!r}.")
    began = time.monotonic()
    try:
        answer, ok = deliver(store, settings, channel, trial_notice(settings, channel, store.now_ms())), True
    except DeliveryError as error:
        answer, ok = str(error), False
    return ok, answer, round(1000 * (time.monotonic() - began))

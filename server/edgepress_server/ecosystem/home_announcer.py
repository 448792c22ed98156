"""Keeps what Home Assistant hears in step with the devices: announces, updates, and takes back.

    not announced --enrolled, setting on--> announced --revoked, setting off, beyond the limit--> taken back
                                                |
                                                +-- its figures, where they changed, at most every interval

What is on the broker is noted (a fact: device -> checksum of its announcement, entities), so that a restart
says nothing twice and finds what to take back. A broker that lost what it retained is told everything again.
At most BURST messages go out at a time; the rest follows a second later.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable
from typing import Any, Final

from edgepress_server.ecosystem.home_assistant import (
    HomeDevice,
    discovery_payload,
    discovery_topic,
    measured,
    state_of,
    state_payload,
    state_topic,
)
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.store.exposed import Exposed

log = logging.getLogger(__name__)

FACT: Final = "ecosystem.home_assistant"
BURST: Final = 50
EVERY_S: Final = 1.0

Publish = Callable[[str, bytes], int | None]  # retained; None: not connected


class HomeAnnouncer:
    """Called by the link's loop only; ``now_s`` is a monotonic clock."""

    def __init__(self, settings: Settings, store: Store, publish: Publish) -> None:
        self._settings = settings
        self._store = store
        self._publish = publish
        self._exposed = Exposed(store.database)
        self._announced: dict[str, tuple[int, frozenset[str]]] = {}
        self._prefix = settings.home_assistant_prefix  # under which they were announced
        self._states: dict[str, tuple[float, bytes]] = {}  # device -> when it was published, what
        self._due_s = 0.0
        self._left = 0

    def begin(self, *, kept: bool) -> None:
        """A new connection. ``kept``: the broker still holds what was published. Raises StoreError."""
        self._prefix, self._announced = _read(
            self._store.facts.get(FACT), self._settings.home_assistant_prefix
        )
        self._states.clear()
        self._due_s = 0.0
        if not kept:
            self._announced = {name: (0, keys) for name, (_, keys) in self._announced.items()}

    def tick(self, now_s: float) -> None:
        """What is due. Raises StoreError."""
        if now_s < self._due_s or not (self._settings.home_assistant or self._announced):
            return
        self._due_s = now_s + EVERY_S
        self._left = BURST
        before = dict(self._announced)
        devices = self._wanted()
        self._take_back({device.name for device in devices})
        for device in devices:
            if self._left <= 0:
                break
            self._tell(device, now_s)
        if self._announced != before:
            self._store.facts.set(FACT, _fact(self._prefix, self._announced))

    def _wanted(self) -> list[HomeDevice]:
        if not self._settings.home_assistant:
            return []
        if self._prefix != self._settings.home_assistant_prefix:
            if self._announced:  # all of them go first, from where they were
                return []
            self._prefix = self._settings.home_assistant_prefix
        rows = self._exposed.for_home_assistant(self._settings.home_assistant_devices)
        return [HomeDevice(*row) for row in rows]

    def _take_back(self, wanted: set[str]) -> None:
        for name in sorted(self._announced.keys() - wanted):
            if self._left < 2:
                return
            if self._say(discovery_topic(self._prefix, name), b"") and self._say(state_topic(name), b""):
                del self._announced[name]
                self._states.pop(name, None)

    def _tell(self, device: HomeDevice, now_s: float) -> None:
        published_s, told = self._states.get(device.name, (float("-inf"), b""))
        if now_s - published_s < self._settings.home_assistant_interval_s:
            return
        sample = self._store.series_read.latest_of(device.name)
        state = state_of(device, sample, self._store.now_ms())
        checksum, known = self._announced.get(device.name, (0, frozenset()))
        keys = known | measured(state)
        discovery = discovery_payload(device, keys, self._settings.url)
        if zlib.crc32(discovery) != checksum:
            if not self._say(discovery_topic(self._prefix, device.name), discovery):
                return
            self._announced[device.name] = (zlib.crc32(discovery), keys)
        payload = state_payload(state)
        if payload != told and not self._say(state_topic(device.name), payload):
            return
        self._states[device.name] = (now_s, payload)

    def _say(self, topic: str, payload: bytes) -> bool:
        self._left -= 1
        return self._publish(topic, payload) is not None


def _fact(prefix: str, announced: dict[str, tuple[int, frozenset[str]]]) -> dict[str, Any]:
    devices = {name: [checksum, sorted(keys)] for name, (checksum, keys) in announced.items()}
    return {"prefix": prefix, "devices": devices}


def _read(value: Any, prefix: str) -> tuple[str, dict[str, tuple[int, frozenset[str]]]]:
    if not isinstance(value, dict):
        return prefix, {}
    devices = {name: (int(kept[0]), frozenset(kept[1])) for name, kept in value["devices"].items()}
    return (str(value["prefix"]) if devices else prefix), devices

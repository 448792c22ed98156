"""The devices as they are now, for rules: whom a rule means, and what an incident's subjects share."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from edgepress_server.alerts.rule import Rule
from edgepress_server.rollout.query import InGroup, Subject, parse
from edgepress_server.store import Store
from edgepress_server.store.rollout_targets import subject as subject_of
from edgepress_server.store.series.keys import SeriesKey

SERVER: Final = "server:"
FLEET: Final = "fleet:"


@dataclass(frozen=True)
class Fleet:
    """``devices``: those enrolled and not revoked, by name."""

    devices: dict[str, Subject]
    in_group: InGroup

    def meant(self, rule: Rule) -> list[str]:
        """Names of the devices that a rule is about. Raises InvalidInputError for a query that is none."""
        if not rule.query.strip():
            return list(self.devices)
        query = parse(rule.query)
        return [name for name, device in self.devices.items() if query.matches(device, self.in_group)]

    def subjects(self, rule: Rule) -> list[str]:
        """Of rules per device, profile, artifact or fleet."""
        names = self.meant(rule)
        match rule.per:
            case "device":
                return [f"device:{name}" for name in names]
            case "profile":
                return [f"profile:{profile}" for profile in sorted({self.devices[n].profile for n in names})]
            case "artifact":
                running = {self.devices[name].running for name in names}
                return [f"artifact:{digest}" for digest in sorted(digest for digest in running if digest)]
        return [FLEET] if names else []

    def members(self, rule: Rule) -> dict[str, list[str]]:
        """Subject -> devices whose rows it is made of, for a rule about groups of some devices."""
        found: dict[str, list[str]] = {}
        for name in self.meant(rule):
            device = self.devices[name]
            match rule.per:
                case "profile":
                    found.setdefault(f"profile:{device.profile}", []).append(name)
                case "artifact" if device.running:
                    found.setdefault(f"artifact:{device.running}", []).append(name)
                case "fleet":
                    found.setdefault(FLEET, []).append(name)
        return found

    def scope(self, rule: Rule, subject: str) -> dict[str, str]:
        """What `rule.group_by` names of a subject; what it does not have is left out."""
        kind, _, name = subject.partition(":")
        if kind == "profile":
            return {"profile": name}
        if kind == "artifact":
            return {"artifact": name}
        device = self.devices.get(name) if kind == "device" else None
        if device is None:
            return {}
        found: dict[str, str | None] = {}
        for key in rule.group_by:
            if key.startswith("label:"):
                found[key.removeprefix("label:")] = device.labels.get(key.removeprefix("label:"))
            else:
                found[key] = {"profile": device.profile, "artifact": device.running, "model": device.model}[
                    key
                ]
        return {key: value for key, value in found.items() if value is not None}


class FleetReader:
    """Keeps what did not change since the last look: parsing labels and hardware of 10,000 devices costs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[tuple[object, ...], Subject]] = {}

    def read(self) -> Fleet:
        store = self._store
        with store.database.snapshot():
            rows = store.rollout_targets.rows(None)
            in_group = store.groups.membership()
        known = {}
        devices = {}
        for row in rows:
            if row["enrolled_at"] is None or row["revoked_at"] is not None:
                continue
            name, looks = row["name"], _looks(row)
            old = self._known.get(name)
            device = old[1] if old is not None and old[0] == looks else subject_of(row)
            known[name] = (looks, device)
            devices[name] = device
        self._known = known
        return Fleet(dict(sorted(devices.items())), in_group)


def _looks(row: sqlite3.Row) -> tuple[object, ...]:
    return tuple(row[key] for key in _COLUMNS)


_COLUMNS: Final = (
    "profile", "labels", "online", "agent_version", "hardware", "running", "running_release", "running_model"
)  # fmt: skip


def key_of(subject: str) -> SeriesKey:
    kind, _, name = subject.partition(":")
    return SeriesKey(kind, name)  # type: ignore[arg-type]  # device, profile, artifact or fleet

"""What the checks of a broker work with: who connects, below which topics, and how a finding is said."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Final, Literal

from edgepress_devices.protocol import PREFIX
from edgepress_server.broker.probe import Probe, Target, Version

Level = Literal["good", "note", "warning", "broken", "unknown"]
QUIET_S: Final = 0.7  # after which what has not come will not
LOCAL: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Finding:
    check: str
    level: Level
    found: str
    breaks: str | None = None  # what of it breaks in edgepress
    remedy: str | None = None


@dataclass
class Bench:
    target: Target
    device: Target | None = None  # a device's credentials: shows what devices reach
    base: str = field(default_factory=lambda: f"{PREFIX}/server/check/{secrets.token_hex(6)}")
    versions: list[Version] = field(default_factory=list)
    properties: dict[str, object] = field(default_factory=dict)  # of CONNACK, MQTT 5
    used: set[str] = field(default_factory=set)  # topics that may hold something
    largest_bytes: int = 0

    def probe(self, **more: object) -> Probe:
        """Connected. Raises BenchError."""
        version: Version = "5" if "3.1.1" not in self.versions and self.versions else "3.1.1"
        probe = Probe(self.target, version, **more)  # type: ignore[arg-type]
        if not probe.connect():
            raise BenchError(probe.error or "no connection")
        return probe

    def topic(self, name: str) -> str:
        topic = f"{self.base}/{name}"
        self.used.add(topic)
        return topic


class BenchError(Exception):
    """The broker hung up on a check, or would not let it in; the text says why."""

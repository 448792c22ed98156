"""A fleet whose devices measure what a story says, and the alert engine that looks every ten seconds."""

from __future__ import annotations

from typing import Any

import msgspec
from fleet_story import Fleet
from server_story import Clock

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import VERSION, Sample, TelemetryBatch
from edgepress_server.alerts.defaults import DEFAULT_RULES
from edgepress_server.alerts.engine import AlertEngine
from edgepress_server.alerts.rule import Rule
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.store.alerts import Incident
from edgepress_server.store.telemetry import Received

LOOK_MS = 10_000
MINUTE_MS = 60_000


class Watched:
    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.fleet = Fleet(store, clock)
        self.settings = Settings(data_dir=store.data_dir)
        self.link_is_well = True
        self.engine = AlertEngine(store, self.settings)
        self.values: dict[str, dict[str, Any]] = {}
        self._batches = 0

    def enrol(self, *names: str, profile: str = "x86-pc", **labels: str) -> None:
        self.fleet.enrol(*names, profile=profile, labels=labels)

    def only(self, *rules: Rule) -> None:
        """No rule but these."""
        self.store.alerts.rules.install(DEFAULT_RULES)
        for kept in self.store.alerts.rules.list():
            self.store.alerts.rules.remove(kept.rule.name, actor=None)
        for rule in rules:
            self.store.alerts.rules.put(rule, actor="ada")

    def restart(self) -> None:
        """The worker was killed: what is in its memory is gone."""
        self.engine = AlertEngine(self.store, self.settings)

    def say(self, **values: Any) -> None:
        """What each device measures from now on; None: nothing. ``pc_1={"temp_c": 85}``."""
        for name, measured in values.items():
            self.values[name.replace("_", "-")] = measured

    def forward(self, ms: int) -> list[Incident]:
        """Devices send a sample, and the engine looks, every ten seconds; what fires then."""
        for _ in range(ms // LOOK_MS):
            self.clock.forward(LOOK_MS)
            self.store.facts.heartbeat("link", mqtt_connected=self.link_is_well)
            self._send()
            self.engine.look()
        return self.store.alerts.firing()

    def minutes(self, count: float) -> list[Incident]:
        return self.forward(int(count * MINUTE_MS))

    def _send(self) -> None:
        received = []
        for name, measured in self.values.items():
            if measured is None:
                continue
            fields = dict(measured)
            pace_us = fields.pop("pace_us", None)
            sample = Sample(at_ms=self.clock.ms - 1, interval_ms=LOOK_MS, inferences=10)
            sample = msgspec.structs.replace(sample, **fields)
            if pace_us is not None:
                recorder = LatencyRecorder()
                recorder.record(pace_us, 10)
                sample.latency_us = recorder.take()
            self._batches += 1
            batch = TelemetryBatch(VERSION, "epoch", self._batches, [sample])
            received.append(Received(name, self.clock.ms, batch))
        if received:
            self.store.telemetry.store(received)

    def told(self) -> list[tuple[str, str]]:
        """(channel, what) of every notice that was put in line, in order."""
        rows = self.store.database.rows("SELECT channel, what FROM alert_notices ORDER BY created_at, number")
        return [(row["channel"], row["what"]) for row in rows]

    def hook(self, name: str = "ops", **more: Any) -> None:
        self.store.alerts.channels.put(
            name, "webhook", options={"url": "https://alerts.example.org/x"}, secret="s", enabled=True,
            least_severity="info", actor="ada", **more,
        )  # fmt: skip

    def history(self, what: str) -> list[str]:
        found = self.store.alerts.history(limit=500)
        return [line.subject for line in reversed(found) if line.what == what]

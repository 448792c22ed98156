"""A small fleet that reports what a test says, for the tests of what other systems read."""

from __future__ import annotations

import random

from server_story import Clock

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import ErrorKinds, Hardware, Reading, Sample, State, TelemetryBatch
from edgepress_server.store import Store
from edgepress_server.store.telemetry import Received

A, B = "a" * 64, "b" * 64


class Fleet:
    """Devices of two profiles; `report` stores a batch of samples, one a second until the clock's now."""

    def __init__(
        self, store: Store, clock: Clock, names: tuple[str, ...] = ("pi-1", "pi-2", "jet-1")
    ) -> None:
        self.store = store
        self.clock = clock
        self._numbers: dict[str, int] = {}
        self._drawn = random.Random(7)
        for name in names:
            self.enrol(name, "jetson-nano" if name.startswith("jet") else "raspberry-pi-4")

    def enrol(self, name: str, profile: str) -> None:
        self.store.devices.register(name, profile, {"site": "hall 3"}, actor=None)
        self.store.devices.enrol(
            self.store.devices.new_code(name, actor=None)[0], "a2V5", Hardware(), "0.1.0"
        )

    def online(self, name: str, running: str | None = A, seq: int = 1) -> None:
        state = State(online=True, at_ms=self.clock.ms, seq=seq, agent="0.1.0", running=running)
        self.store.device_states.record(name, state)

    def report(
        self, name: str, seconds: int, *, artifact: str | None = A, end_ms: int | None = None
    ) -> list[Sample]:
        end_ms = self.clock.ms if end_ms is None else end_ms
        samples = [self.sample(end_ms - (seconds - 1 - n) * 1000, artifact=artifact) for n in range(seconds)]
        number = self._numbers[name] = self._numbers.get(name, 0) + 1
        batch = TelemetryBatch(1, f"epoch of {name}", number, samples)
        self.store.telemetry.store([Received(name, self.clock.ms, batch)])
        return samples

    def sample(self, at_ms: int, *, artifact: str | None = A) -> Sample:
        recorder = LatencyRecorder()
        for _ in range(5):
            recorder.record(self._drawn.lognormvariate(8.0, 0.7))
        return Sample(
            at_ms=at_ms,
            interval_ms=1000,
            artifact=artifact,
            inferences=5,
            errors=1,
            error_kinds=ErrorKinds(input=1),
            latency_us=recorder.take(),
            rss_bytes=40 << 20,
            temp_c=self._drawn.uniform(40.0, 60.0),
            throttled=False,
            power_mw=Reading(2500.0, "hwmon", "board"),
            net_rx_bytes=1000,
        )

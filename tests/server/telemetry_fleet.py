"""A small fleet with telemetry in a real store, and the same samples as a plain list to count by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
from server_story import Clock

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import Hardware, Histogram, Sample, State, TelemetryBatch
from edgepress_server.store import Store
from edgepress_server.store.models import ModelFacts
from edgepress_server.store.telemetry import Received


@dataclass
class Fleet:
    """Batches are numbered; a sample told here is in the store and in ``told``."""

    store: Store
    told: list[tuple[str, Sample]] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def device(
        self, name: str, profile: str = "raspberry-pi-4", *, online: bool = True, **labels: str
    ) -> str:
        self.store.devices.register(name, profile, labels, actor=None)
        code, _ = self.store.devices.new_code(name, actor=None)
        self.store.devices.enrol(code, "a2V5", Hardware(board=f"{profile} board"), "0.6.0")
        self.say(name, online=online)
        return name

    def say(
        self, name: str, *, online: bool = True, running: str | None = None, release: int | None = None
    ) -> None:
        state = State(online=online, seq=1, agent="0.6.0", running=running, running_release=release)
        with self.store.transaction() as connection:
            connection.execute(
                "UPDATE devices SET online = ?, seen_at = ?, state = ? WHERE name = ?",
                (online, self.store.now_ms(), msgspec.json.encode(state).decode(), name),
            )

    def artifact(self, digest: str, model: str = "kws", profile: str = "raspberry-pi-4") -> str:
        if self.store.models.find(model) is None:
            facts = ModelFacts(bytes=1, weight_bytes=1, parameters=1, macs=None, inputs=[], outputs=[])
            self.store.models.add(model, self.store.blobs.put(b"m"), facts, None, actor=None)
        self.store.artifacts.add(
            digest, model=model, profile=profile, recipe="none", size_bytes=1, report={}, job=None
        )
        return digest

    def tell(self, device: str, samples: Sequence[Sample]) -> None:
        number = self.numbers.get(device, 0) + 1
        self.numbers[device] = number
        now = self.store.now_ms()
        batch = TelemetryBatch(1, "epoch", number, list(samples), 1, sent_at_ms=now)
        self.store.telemetry.store([Received(device, now, batch)])
        self.told += [(device, sample) for sample in samples]

    def settle(self, clock: Clock) -> int:
        """Let ingest do what it does beside: minutes are written, old rows sealed. Returns the time."""
        clock.forward(3000)
        while self.store.telemetry.step():
            pass
        return clock()

    def steady(
        self,
        device: str,
        from_ms: int,
        to_ms: int,
        make: Callable[[int], Sample],
        every_ms: int = 10_000,
    ) -> None:
        """Samples of a time, in batches of an hour."""
        samples = [make(at) for at in range(from_ms, to_ms, every_ms)]
        for first in range(0, len(samples), 360):
            self.tell(device, samples[first : first + 360])


def histogram(*values_us: float) -> Histogram:
    recorder = LatencyRecorder()
    for value in values_us:
        recorder.record(value)
    found = recorder.snapshot()
    assert found is not None
    return found

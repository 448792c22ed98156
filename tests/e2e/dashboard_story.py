"""A small fleet that has run for a while: what the fleet page and the pages of its devices have to show.

    story = DashboardStory(folder)      a store with the fleet, its telemetry up to now
    story.report("belt-1", p95_us=...)  one more sample of a device, as it would send it now

`belt-1` has been three times slower for ten minutes, `belt-2` is throttled, `gate-3` went offline, `gate-4`
was registered and never enrolled, `shelf-1` never sent a sample.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import (
    ErrorKinds,
    Hardware,
    Histogram,
    Reading,
    Sample,
    State,
    TelemetryBatch,
)
from edgepress_server.store import Store, open_store
from edgepress_server.store.models import ModelFacts
from edgepress_server.store.telemetry import Received

EVERY_MS: Final = 10_000
MINUTE_MS: Final = 60_000
MODEL: Final = "keyword-spotter"
PLACES: Final = {"belt": "raspberry-pi-4", "gate": "jetson-orin-nano", "shelf": "x86-pc"}
MEDIAN_US: Final = {"raspberry-pi-4": 9_000.0, "jetson-orin-nano": 3_100.0, "x86-pc": 900.0}
HOT_C: Final = 83.0


class DashboardStory:
    """``each``: devices of a place; ``minutes``: for how long they have reported."""

    def __init__(self, folder: Path, *, each: int = 4, minutes: int = 30, seed: int = 3) -> None:
        self.store: Store = open_store(folder)
        self._drawn = random.Random(seed)
        self._numbers: dict[str, int] = {}
        self.profiles: dict[str, str] = {}
        now = self.store.now_ms()
        self._artifacts()
        for place, profile in PLACES.items():
            for n in range(1, each + 1):
                self._enrol(f"{place}-{n}", profile)
        since = now - minutes * MINUTE_MS
        for name in self.profiles:
            if name in ("gate-4", "shelf-1"):
                continue
            until = now - 8 * MINUTE_MS if name == "gate-3" else now
            times = range(since + self._drawn.randrange(EVERY_MS), until, EVERY_MS)
            self._send(name, [self._sample(name, at, slow=at > now - 10 * MINUTE_MS) for at in times])
        self._state("gate-3", online=False)

    def report(self, name: str, *, p95_us: float) -> None:
        """One sample of now, all of whose inferences took about so long."""
        recorder = LatencyRecorder()
        for _ in range(100):
            recorder.record(p95_us)
        sample = self._sample(name, self.store.now_ms())
        sample.latency_us = recorder.take()
        self._send(name, [sample])

    def until_now(self) -> None:
        """Its clock is the world's: there is nothing to wait for."""

    def register(self, name: str) -> None:
        self.store.devices.register(name, "x86-pc", {}, actor=None)

    # --- the fleet -----------------------------------------------------------------------------------------

    def digest(self, profile: str) -> str:
        return f"{list(MEDIAN_US).index(profile) + 1:02x}" * 32

    def _artifacts(self) -> None:
        blob = self.store.blobs.put(b"a model")
        self.store.models.add(MODEL, blob, _facts(), None, actor=None)
        for profile in MEDIAN_US:
            self.store.artifacts.add(
                self.digest(profile),
                model=MODEL,
                profile=profile,
                recipe="int8",
                size_bytes=40_000,
                report={},
                job=None,
            )

    def _enrol(self, name: str, profile: str) -> None:
        place, number = name.split("-")
        self.profiles[name] = profile
        self.store.devices.register(name, profile, {"place": place, "row": number}, actor=None)
        if name == "gate-4":
            return
        code, _ = self.store.devices.new_code(name, actor=None)
        hardware = Hardware(machine="aarch64", system="Linux 6.6", cores=4, ram_bytes=4 << 30)
        self.store.devices.enrol(code, "a2V5" * 10, hardware, "0.7.0")
        self._state(name, online=True)

    def _state(self, name: str, *, online: bool) -> None:
        state = State(
            online=online,
            at_ms=self.store.now_ms(),
            seq=1 if online else 2,
            running=self.digest(self.profiles[name]),
            step="committed",
        )
        self.store.device_states.record(name, state)

    def _send(self, name: str, samples: list[Sample]) -> None:
        now = self.store.now_ms()
        received = []
        for first in range(0, len(samples), 500):
            number = self._numbers[name] = self._numbers.get(name, 0) + 1
            batch = TelemetryBatch(1, "story", number, samples[first : first + 500], 1, sent_at_ms=now)
            received.append(Received(name, now, batch))
        self.store.telemetry.store(received)

    def _sample(self, name: str, at_ms: int, *, slow: bool = False) -> Sample:
        profile = self.profiles[name]
        median = MEDIAN_US[profile] * (3.0 if slow and name == "belt-1" else 1.0)
        hot = name == "belt-2"
        temp_c = (HOT_C if hot else 52.0) + self._drawn.gauss(0, 0.6)
        battery = 80.0 if profile == "jetson-orin-nano" else None
        return Sample(
            at_ms=at_ms,
            interval_ms=EVERY_MS,
            artifact=self.digest(profile),
            inferences=100,
            errors=2 if hot else 0,
            error_kinds=ErrorKinds(timeout=2) if hot else ErrorKinds(),
            latency_us=self._times(median),
            queue_us=self._times(median / 6),
            pre_us=self._times(median / 15),
            post_us=self._times(median / 40),
            rss_bytes=44_000_000 + self._drawn.randrange(500_000),
            mem_used_bytes=1_300_000_000,
            mem_total_bytes=4_000_000_000,
            swap_used_bytes=0,
            cpu_percent=35.0 + self._drawn.gauss(0, 3),
            agent_cpu_percent=0.7,
            cpu_mhz=900.0 if hot else 1500.0,
            temp_c=temp_c,
            throttled=hot,
            power_mw=Reading(4200 + self._drawn.gauss(0, 90), "estimate:tdp*cpu", "board"),
            energy_mj=Reading(38.0, "estimate:tdp*cpu", "board"),
            battery_percent=battery,
            battery_charging=None if battery is None else False,
            disk_free_bytes=9_000_000_000,
            disk_read_bytes=120_000,
            disk_written_bytes=40_000,
            net_rx_bytes=9_000,
            net_tx_bytes=21_000,
        )

    def _times(self, median_us: float) -> Histogram | None:
        recorder = LatencyRecorder()
        for _ in range(25):
            recorder.record(median_us * self._drawn.lognormvariate(0.0, 0.12), 4)
        return recorder.take()


def _facts() -> ModelFacts:
    return ModelFacts(bytes=7, weight_bytes=7, parameters=1, macs=None, inputs=[], outputs=[])

"""A fleet on a store: devices with real keys that check each want with the agent's own code, and report."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from server_story import Clock

from edgepress_agent.seal import open_content_key
from edgepress_agent.trust import Accepted, Floors, load_root, verify_want
from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import (
    VERSION,
    Hardware,
    JobStep,
    Reading,
    Sample,
    State,
    TelemetryBatch,
    TrialReport,
)
from edgepress_server.rollout.engine import Engine
from edgepress_server.store import Store
from edgepress_server.store.models import ModelFacts
from edgepress_server.store.releases import Release
from edgepress_server.store.rollouts import Rollout
from edgepress_server.store.telemetry import Received
from edgepress_server.trust.keys import Keys, create_keys_if_missing

MODEL = "digits"


@dataclass
class StoryDevice:
    """One device: it reads its want from the store, as the broker would hand it over."""

    store: Store
    keys: Keys
    name: str
    profile: str
    key: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate)
    floors: Floors = field(default_factory=Floors)
    running: str | None = None
    running_release: int | None = None
    seq: int = 0
    batches: int = 0
    trial: TrialReport | None = None

    @property
    def public_key(self) -> str:
        return base64.b64encode(self.key.public_key().public_bytes_raw()).decode()

    def enrol(self) -> None:
        code, _ = self.store.devices.new_code(self.name, actor=None)
        self.store.devices.enrol(code, self.public_key, Hardware(machine="x86_64"), "0.1.0")

    def read_want(self) -> Accepted:
        """Verified and unsealed as the agent does it; raises WantError."""
        want = self.store.wants.find(self.name)
        assert want is not None
        accepted = verify_want(
            want.payload,
            root=load_root(self.keys.root_json),
            device=self.name,
            profile=self.profile,
            floors=self.floors,
            clock_s=self.store.now_ms() // 1000,
        )
        if accepted.want.digest is not None:
            open_content_key(
                accepted.want.sealed_key, self.key, device=self.name, digest=accepted.want.digest
            )
        self.floors = Floors(accepted.counter, self.floors.release, accepted.want.issued_at)
        return accepted

    def report(self, step: JobStep, reason: str | None = None, *, online: bool = True) -> None:
        self.seq += 1
        staged = self.store.wants.find(self.name)
        state = State(
            online=online,
            at_ms=self.store.now_ms(),
            seq=self.seq,
            running=self.running,
            running_release=self.running_release,
            staged=staged.digest if staged is not None and step != "committed" else None,
            want=self.floors.want,
            step=step,
            reason=reason,
            trial=self.trial,
        )
        assert self.store.device_states.record(self.name, state)

    def commit(self) -> None:
        """Take the want and run what it names."""
        accepted = self.read_want()
        self.running, self.running_release = accepted.want.digest, accepted.release
        self.floors = Floors(self.floors.want, accepted.release, self.floors.time_s)
        self.report("committed")

    def measure(self, pace_us: float, minutes: int = 3, *, energy_mj: float | None = None) -> None:
        """So many minutes of telemetry of what it runs, the last one just over."""
        samples = []
        for minute in range(minutes, 0, -1):
            recorder = LatencyRecorder()
            energy = None if energy_mj is None else Reading(energy_mj * (1 + minute / 1000), "test", "board")
            for n in range(20):
                recorder.record(pace_us * (0.9 + 0.01 * n), 10)
            samples.append(
                Sample(
                    at_ms=self.store.now_ms() - minute * 60_000,
                    interval_ms=60_000,
                    artifact=self.running,
                    inferences=200,
                    latency_us=recorder.take(),
                    rss_bytes=50_000_000,
                    energy_mj=energy,
                )
            )
        self.batches += 1
        batch = TelemetryBatch(VERSION, "epoch", self.batches, samples)
        self.store.telemetry.store([Received(self.name, self.store.now_ms(), batch)])

    def fail(self, step: JobStep = "rejected", reason: str = "p95 is 900 us, allowed are 500 us") -> None:
        self.read_want()
        self.report(step, reason)


class Fleet:
    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.keys = create_keys_if_missing(store.data_dir / "keys")
        self.engine = Engine(store, self.keys)
        self.devices: dict[str, StoryDevice] = {}
        blob = store.blobs.put(b"the model")
        facts = ModelFacts(bytes=9, weight_bytes=9, parameters=2, macs=None, inputs=[], outputs=[])
        store.models.add(MODEL, blob, facts, None, actor=None)

    def enrol(
        self, *names: str, profile: str = "x86-pc", labels: dict[str, str] | None = None
    ) -> list[StoryDevice]:
        made = []
        for name in names:
            self.store.devices.register(name, profile, labels or {}, actor=None)
            self.devices[name] = StoryDevice(self.store, self.keys, name, profile)
            self.devices[name].enrol()
            self.devices[name].report("idle")
            made.append(self.devices[name])
        return made

    def artifact(self, text: str, profile: str = "x86-pc") -> str:
        data = text.encode() * 20_000
        digest = self.store.blobs.put(data)
        assert digest == hashlib.sha256(data).hexdigest()
        self.store.artifacts.add(
            digest, model=MODEL, profile=profile, recipe="none", size_bytes=len(data), report={}, job=None
        )
        return digest

    def release(self, *digests: str) -> Release:
        return self.store.releases.create(self.keys, model=MODEL, digests=digests)

    def roll_out(self, release: Release, **more: object) -> str:
        return self.store.rollouts.create(release.id, **more).id  # type: ignore[arg-type]

    def settle(self) -> None:
        """Let the engine do all there is to do now; these are no models to make deltas of."""
        more = True
        while more:
            more = self.engine.tick()
            while (delta := self.store.deltas.next_wanted()) is not None:
                self.store.deltas.attempted(delta.base, delta.full, "no model", final=True)
                more = True

    def rollout(self, rollout_id: str) -> Rollout:
        self.settle()
        return self.store.rollouts.get(rollout_id)

    def states(self, rollout_id: str) -> dict[str, str]:
        return {d.device: d.state for d in self.rollout(rollout_id).devices}

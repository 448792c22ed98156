"""The closed loop on a store: devices that send minutes of telemetry, searches that end as a test says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from fleet_story import MODEL, Fleet
from server_story import Clock

from edgepress_compression.search.budget import Budget
from edgepress_compression.search.trial import Figures, Trial
from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.operator import Operator
from edgepress_devices.protocol import Sample, TelemetryBatch
from edgepress_server.predict import ExecutedModel
from edgepress_server.store import Store
from edgepress_server.store.findings import Finding
from edgepress_server.store.searches import Kept, Outcome, Search
from edgepress_server.store.telemetry import Received
from edgepress_server.watch.engine import Watcher

PROFILE = "x86-pc"
LIMIT_US = 20_000.0


class KnownOperators:
    """Stands in for the child process that reads a model: one convolution, known at once."""

    def get(self, kind: str, digest: str, path: Path, layout: str, *, wait_s: float = 0.0) -> ExecutedModel:
        conv = Operator(
            name="conv", op_type="Conv", dtype="fp32", macs=10_000_000, flops=20_000_000, weight_bytes=36_864,
            read_bytes=400_000, written_bytes=400_000, depth=288, columns=32, rows=1024, kernel=3,
            stride=1, groups=1,
        )  # fmt: skip
        return ExecutedModel(operators=[conv], weight_bytes=36_864, peak_activation_bytes=800_000)


class Loop:
    def __init__(self, store: Store, clock: Clock, devices: int = 2) -> None:
        self.store, self.clock = store, clock
        self.fleet = Fleet(store, clock)
        self.devices = self.fleet.enrol(*(f"pc-{i}" for i in range(devices)), profile=PROFILE)
        self.numbers = dict.fromkeys((d.name for d in self.devices), 0)
        self.restart()
        self.first = self.fleet.artifact("first", PROFILE)
        self.run(self.fleet.roll_out(self.fleet.release(self.first)))

    def restart(self) -> None:
        """The worker was killed and comes back: it remembers nothing."""
        self.watcher = Watcher(self.store, self.fleet.keys, KnownOperators())  # type: ignore[arg-type]

    def run(self, rollout: str) -> None:
        """The devices take what the rollout brings."""
        while self.store.rollouts.state(rollout) != "done":
            self.fleet.settle()
            for device in self.devices:
                want = self.store.wants.find(device.name)
                if want is not None and want.digest != device.running:
                    device.commit()
            self.fleet.settle()

    def budget(self, **more: Any) -> None:
        limits = Budget(latency_us=LIMIT_US, max_drop=0.01)
        self.store.budgets.put(MODEL, PROFILE, more.pop("limits", limits), actor="ada", **more)

    def minute(self, latency_us: float | dict[str, float], **fields: Any) -> list[Finding]:
        """All devices work for a minute, at one pace or each at its own; then the watcher looks."""
        for device in self.devices:
            pace = latency_us if isinstance(latency_us, float) else latency_us[device.name]
            recorder = LatencyRecorder()
            recorder.record(pace, 60)
            sample = Sample(
                at_ms=self.store.now_ms(), interval_ms=60_000, inferences=60, latency_us=recorder.take(),
                artifact=device.running, **fields,
            )  # fmt: skip
            self.numbers[device.name] += 1
            batch = TelemetryBatch(1, "epoch", self.numbers[device.name], [sample])
            self.store.telemetry.store([Received(device.name, self.store.now_ms(), batch)])
        self.watcher.look()
        self.clock.forward(60_000)
        return self.live()

    def minutes(self, count: int, latency_us: float | dict[str, float], **fields: Any) -> list[Finding]:
        for _ in range(count):
            self.minute(latency_us, **fields)
        return self.live()

    def look(self) -> list[Finding]:
        self.watcher.look()
        return self.live()

    def live(self) -> list[Finding]:
        return self.store.findings.list(over=False)

    def only(self) -> Finding:
        (finding,) = self.live()
        return finding

    def jobs_end(self, message: str = "The device was switched off.") -> None:
        """The profiling jobs end without a report."""
        for job_id in self.only().jobs:
            self.store.profiling.fail(job_id, message)

    def search_ends(self, text: str | None = "better", blocked: Sequence[str] = ()) -> Search:
        """A worker ends the search: with the artifact of this text within the budget, or with nothing."""
        seat = self.store.searches.join("w1")
        assert seat is not None
        recipe = {"name": "searched", "passes": [{"name": "prune-channels"}, {"name": "int8"}]}

        def propose(known: Sequence[Trial]) -> Trial | None:
            return None if known else Trial(number=0, recipe=recipe)

        trial = self.store.search_trials.claim(seat, propose)
        assert trial is not None
        figures = Figures(latency_us=17_000.0, latency_basis="calibration", latency_error=0.08, drop=0.004)
        self.store.search_trials.finish(seat, msgspec.structs.replace(trial, state="done", figures=figures))
        if text is None:
            outcome = Outcome(front=[0], best=None, nearest=0, blocked=list(blocked))
            return self.store.searches.finish(seat, outcome, [])
        digest = self.fleet.artifact(text, PROFILE)
        kept = Kept(digest, "searched", 1000, {})
        return self.store.searches.finish(seat, Outcome([0], best=0, nearest=None, chosen=digest), [kept])

    def story(self, finding: Finding) -> list[str]:
        return [step.what for step in self.store.findings.steps(finding.id)]

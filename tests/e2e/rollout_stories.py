"""Three rollouts of a planted fleet, lived through with the real engine: one passes, one stops at its
canaries and says why, one goes back.

The devices of `fleet_story` check every order with the agent's own code; what is planted is only how long
they take and what they measure. The clock of the story runs as fast as it is asked to and ends about now, so
that the pages show it as something that has just happened.

    story = RolloutStories(folder, ago_minutes=60)       a store with the fleet, which runs its first model
    story.passes() / story.stops() / story.goes_back()   -> id of the rollout
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleet_story import Fleet, StoryDevice
from server_story import Clock

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import Reading, Sample, State, TelemetryBatch
from edgepress_server.store import Store, open_store, unix_ms
from edgepress_server.store.models import ModelFacts
from edgepress_server.store.releases import Release
from edgepress_server.store.telemetry import Received

STEP_MS: Final = 10_000
MINUTE_MS: Final = 60_000
PROFILES: Final = ("raspberry-pi-4", "jetson-orin-nano")
SIZE: Final = {"raspberry-pi-4": 34, "jetson-orin-nano": 14}
CHUNKS: Final = 19
OLD_US: Final = {"raspberry-pi-4": 21_000.0, "jetson-orin-nano": 6_200.0}


@dataclass
class Board:
    """How one device of the story behaves."""

    device: StoryDevice
    online: bool = True
    patience: int = 0  # steps until it goes on with what it was told
    stage: str = "runs"  # runs, fetching, trial
    number: int = 0  # of its telemetry batch


class RolloutStories:
    """``ago_minutes``: when it begins; it must have ended by now, which `until_now` makes sure of."""

    def __init__(self, folder: Path, *, ago_minutes: int, seed: int = 7) -> None:
        self.clock = Clock()
        self.clock.ms = unix_ms() - ago_minutes * MINUTE_MS
        self.store: Store = open_store(folder, self.clock)
        self.fleet = Fleet(self.store, self.clock)
        self._drawn = random.Random(seed)
        self._failing = True  # whether what `fails` says happens now
        self.boards: dict[str, Board] = {}
        self.pace: dict[str, float] = {}  # digest -> median latency in microseconds
        self.fails: dict[str, float] = {}  # digest -> share of the devices whose trial it does not pass
        for profile in PROFILES:
            place = "gate" if profile == "jetson-orin-nano" else "press"
            names = [f"{place}-{n:02d}" for n in range(1, SIZE[profile] + 1)]
            for device in self.fleet.enrol(*names, profile=profile):
                self.boards[device.name] = Board(device)
        self._model("keyword-spotter")
        self._first()

    # --- the three stories ---------------------------------------------------------------------------------

    def passes(self) -> str:
        """Two boards sleep all the while: they are not reached, which is no failure."""
        for name in ("press-31", "gate-14"):
            self._switch(name, online=False)
        release = self._release("smaller", {"raspberry-pi-4": 14_500.0, "jetson-orin-nano": 4_400.0})
        rollout = self._roll_out(
            release,
            waves=[{"percent": 30, "soak_s": 180}, {"percent": 100}],
            deadline_ms=self.clock.ms + 14 * MINUTE_MS,
            soak_s=240,
        )
        self._live(rollout, ("done",), minutes=45)
        for name in ("press-31", "gate-14"):
            self._switch(name, online=True)
        return rollout

    def stops(self) -> str:
        """On one profile the new model is slower than what ran before: its gate stops the rollout there."""
        release = self._release("pruned-wrong", {"raspberry-pi-4": 33_000.0, "jetson-orin-nano": 4_300.0})
        rollout = self._roll_out(release, waves=[{"percent": 30}, {"percent": 100}])
        self._live(rollout, ("paused",), minutes=30)
        return rollout

    def goes_back(self) -> str:
        """The canaries were lucky; of the first wave too many boards cannot run it, so all go back."""
        release = self._release(
            "large-activations", {"raspberry-pi-4": 15_000.0, "jetson-orin-nano": 4_500.0}
        )
        self.fails[release.artifacts["raspberry-pi-4"]] = 0.45
        rollout = self._roll_out(
            release, waves=[{"percent": 50}, {"percent": 100}], on_gate="rollback", rate_per_minute=8
        )
        self._live(rollout, ("aborted",), minutes=45, lucky=2)
        return rollout

    def until_now(self) -> None:
        """The story's clock catches up with the present, in which its pages are looked at."""
        assert self.clock.ms <= unix_ms(), "the story lasts longer than ago_minutes"
        self.clock.ms = unix_ms()

    # --- how it goes on ------------------------------------------------------------------------------------

    def _model(self, name: str) -> None:
        blob = self.store.blobs.put(b"another model")
        facts = ModelFacts(bytes=13, weight_bytes=13, parameters=3, macs=None, inputs=[], outputs=[])
        self.store.models.add(name, blob, facts, None, actor=None)

    def _first(self) -> None:
        """Everybody runs a first version, and has done so for a while."""
        release = self._release("first", OLD_US)
        self.fleet.roll_out(release, policy={"canary_per_profile": 0}, actor="ada")
        for _ in range(12):
            self._minute_passes()

    def _release(self, text: str, pace_us: dict[str, float]) -> Release:
        digests = []
        for profile in PROFILES:
            digest = self.fleet.artifact(f"{text} for {profile}", profile)
            self.pace[digest] = pace_us[profile]
            digests.append(digest)
        return self.fleet.release(*digests)

    def _roll_out(self, release: Release, **policy: object) -> str:
        gates = {"max_failure_ratio": 0.1, "p95_ratio": 1.1, "min_inferences": 300, "min_devices": 2}
        rules = {"canary_per_profile": 3, "gates": gates, **policy}
        return self.fleet.roll_out(release, policy=rules, actor="ada", profiles=list(PROFILES))

    def _live(self, rollout: str, ends: tuple[str, ...], *, minutes: int, lucky: int = 0) -> None:
        """Until the rollout has come to one of these states. ``lucky``: minutes in which nobody fails."""
        for minute in range(minutes):
            self._failing = minute >= lucky
            self._minute_passes()
            self.fleet.settle()
            if self.store.rollouts.state(rollout) in ends:
                return
        state = self.store.rollouts.summary(rollout)
        raise AssertionError(f"{rollout} is {state.state} ({state.reason or state.waiting}), not {ends}")

    def _minute_passes(self) -> None:
        for _ in range(MINUTE_MS // STEP_MS):
            self._step()
        self._minute()

    def _step(self) -> None:
        """Ten seconds: the engine decides, and every device that is there goes on a little."""
        self.fleet.settle()
        for board in self.boards.values():
            if board.online:
                self._go_on(board)
        self.clock.forward(STEP_MS)

    def _go_on(self, board: Board) -> None:
        device = board.device
        want = self.store.wants.find(device.name)
        if want is None:
            return
        if board.stage == "runs":
            if want.digest == device.running or want.counter <= device.floors.want:
                if want.counter > device.floors.want:
                    device.commit()
                return
            device.read_want()
            board.stage, board.patience = "fetching", self._drawn.randint(1, 3)
            self._tell(board, want.digest, chunks=self._drawn.randint(2, CHUNKS - 2))
            return
        board.patience -= 1
        if board.patience > 0:
            self._tell(board, want.digest, chunks=CHUNKS - board.patience)
            return
        if board.stage == "fetching":
            board.stage, board.patience = "trial", self._drawn.randint(1, 2)
            device.report("trial")
            return
        board.stage = "runs"
        if self._failing and self._drawn.random() < self.fails.get(want.digest or "", 0.0):
            device.report("rejected", "the trial needs 412 MB beside what runs, and 355 MB are free")
            return
        release = self.store.releases.get(want.release or "").counter
        device.running, device.running_release = want.digest, release
        device.report("committed")

    def _tell(self, board: Board, digest: str | None, *, chunks: int) -> None:
        device = board.device
        device.seq += 1
        state = State(
            online=True,
            at_ms=self.clock.ms,
            seq=device.seq,
            running=device.running,
            running_release=device.running_release,
            staged=digest,
            want=device.floors.want,
            step="fetching",
            chunks_have=chunks,
            chunks_total=CHUNKS,
            via="mqtt",
        )
        assert self.store.device_states.record(device.name, state)

    def _switch(self, name: str, *, online: bool) -> None:
        board = self.boards[name]
        board.online = online
        board.device.report("idle" if board.device.running is None else "committed", online=online)

    def _minute(self) -> None:
        """Telemetry of the minute that has passed, of every device that is there."""
        received = []
        for board in self.boards.values():
            device = board.device
            if not board.online or device.running is None:
                continue
            recorder = LatencyRecorder()
            for _ in range(12):
                median = self.pace[device.running]
                recorder.record(median * self._drawn.lognormvariate(0.0, 0.06), 5)
            board.number += 1
            sample = Sample(
                at_ms=self.clock.ms,
                interval_ms=MINUTE_MS,
                artifact=device.running,
                inferences=60,
                latency_us=recorder.take(),
                rss_bytes=int(61e6 * self._drawn.uniform(0.98, 1.02)),
                temp_c=round(self._drawn.uniform(48, 56), 1),
                power_mw=Reading(self._drawn.uniform(3000, 3400), "estimate:tdp*cpu", "board"),
            )
            batch = TelemetryBatch(1, "story", board.number, [sample])
            received.append(Received(device.name, self.clock.ms, batch))
        self.store.telemetry.store(received)

"""An agent without its threads: the real job, journal, slots, fetch folder, window, trust and seal.

What is not real: the model engine (an artifact here is random bytes, and a trial is passed at once),
telemetry, the local HTTP server, and paho with its thread (`mqtt_session` is the link).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from delivery_cases.mqtt_session import Session
from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import Identity
from edgepress_agent.installer import Installer
from edgepress_agent.journal import Journal
from edgepress_agent.profiling import Profiler
from edgepress_agent.slots import SlotInfo
from edgepress_agent.work import Connected, Event, ServerRoots, Wanted, Work, route
from edgepress_devices import protocol
from edgepress_devices.delivery_messages import Limits, Shadow, TrialReport
from edgepress_devices.protocol import Hardware, ProfilingReport, ServerState, State, from_json, to_json


class PassingEngine:
    """A model engine to which every model is good."""

    def load(self, artifact: Path, info: SlotInfo) -> str:
        return info.digest

    def try_model(
        self, artifact: Path, info: SlotInfo, limits: Limits, keep_on: Callable[[], None]
    ) -> tuple[str, TrialReport]:
        return info.digest, TrialReport()

    def start_shadow(self, artifact: Path, model: str, shadow: Shadow) -> None:
        return None

    def apply_delta(self, *_: Any) -> None:
        raise AssertionError("no deltas here")

    def activate(self, model: str) -> None:
        pass

    def deactivate(self) -> None:
        pass

    def served(self) -> tuple[int, int]:
        return 0, 0


class NoReports:
    def has(self, job_id: str) -> bool:
        return True

    def put(self, report: ProfilingReport) -> None:
        raise AssertionError("nothing is profiled here")


class SimulatedAgent:
    """The agent of one state folder, and the link that its `Work` sees; one thread drives it."""

    def __init__(
        self, folder: Path, host: str, port: int, *, drops: Callable[[], bool] | None = None
    ) -> None:
        self.identity = Identity(folder)
        self.name = self.identity.enrolment.device
        self.host, self.port = host, port
        self.chunk_bytes = 0  # payloads of chunks that came
        self.chunks: dict[tuple[str, int], int] = {}  # how often each came
        self.due_s = 0.0
        self.wanted_s = self.committed_s = 0.0  # when the newest want came, and when it was committed
        self.session = self._make_session()
        self._drops = drops
        self._arrived: list[Event] = []
        self._states: deque[bytes] = deque(maxlen=1)  # the newest; filled by a timer's thread, too
        disk = Disk()
        self.installer: Installer[str] = Installer(
            folder,
            disk=disk,
            journal=Journal(folder / "journal", disk),
            engine=PassingEngine(),
            check_room=lambda *_: None,
            changed=lambda: self.work.changed(),  # noqa: PLW0108 - which is made after it,
        )
        profiler = Profiler(
            folder,
            disk=disk,
            identity=self.identity.fingerprint,
            threads=1,
            forms=("fp32",),
            reports=NoReports(),
            running=lambda: None,
        )
        self.work = Work(
            folder,
            disk=disk,
            identity=self.identity,
            hardware=Hardware(machine="x86_64", system="simulated", cores=1),
            installer=self.installer,
            profiler=profiler,
            started=lambda: None,
            interval=lambda _: None,
            stop=threading.Event(),
        )
        self.work.link = self
        self.work.begin()

    # --- what Work sees -----------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        return self.session.connected

    def subscribe(self, topics: Sequence[str]) -> None:
        self.session.subscribe(topics)

    def unsubscribe(self, topics: Sequence[str]) -> None:
        self.session.unsubscribe(topics)

    def publish(self, topic: str, payload: bytes) -> bool:
        return self.session.publish(topic, payload)

    def publish_state(self, payload: bytes) -> None:
        self._states.append(payload)

    # --- the loop -----------------------------------------------------------------------------------------

    def open(self) -> None:
        self.session.open(self.host, self.port)

    def turn(self, now_s: float) -> None:
        events, self._arrived = self._arrived, []
        before = self.installer.running
        self.work.turn(events)
        if self.installer.running is not before:
            self.committed_s = time.monotonic()
        self.due_s = now_s + self.work.patience_s()
        self.send_state()

    def send_state(self) -> None:
        if self._states and self.session.connected:
            topic = protocol.up_topic(self.name, "state")
            self.session.publish(topic, self._states.popleft(), retain=True)

    def hear(self, topic: str, payload: bytes) -> None:
        event = route(self.name, topic, payload)
        if topic == protocol.SERVER_STATE_TOPIC:
            event = ServerRoots(from_json(ServerState, payload).roots)
        if topic.startswith(f"{protocol.PREFIX}/c/") and payload:
            self.chunk_bytes += len(payload)
            chunk = protocol.parse_chunk_topic(topic)
            self.chunks[chunk] = self.chunks.get(chunk, 0) + 1
            if self._drops is not None and self._drops():
                return  # lost on the last metre: it was sent and counts as received
        if isinstance(event, Wanted):
            self.wanted_s = time.monotonic()
        if event is not None:
            self._arrived.append(event)

    def _make_session(self) -> Session:
        mqtt = self.identity.enrolment.mqtt
        return Session(
            f"edgepress-{self.name}",
            username=mqtt.username or "",
            password=mqtt.password or "",
            will=(protocol.up_topic(self.name, "state"), to_json(State(online=False))),
            received=self.hear,
            up=self._up,
        )

    def _up(self, refused: bool) -> None:
        if refused:
            return
        self.session.subscribe(
            [
                protocol.down_topic(self.name, "want"),
                protocol.down_topic(self.name, "ack"),
                protocol.SERVER_STATE_TOPIC,
            ]
        )
        if not self._states:
            self._states.append(to_json(self.work.state()))
        self._arrived.append(Connected())

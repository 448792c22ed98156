"""A vendor with real keys, a board of the real agent's parts, and an attacker who owns the broker between.

Real: the server's keys, statements, wants, seals and chunks; the agent's job loop, journal, slots, fetch
folder, trust and seal on a real folder. Not real: onnxruntime (an artifact here is random bytes, every
trial is passed), the threads and the network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import Enrolment, Identity, Mqtt, write_enrolment
from edgepress_agent.installer import Installer
from edgepress_agent.journal import Journal
from edgepress_agent.profiling import Profiler
from edgepress_agent.routes import route
from edgepress_agent.seal import new_device_key
from edgepress_agent.slots import SlotInfo
from edgepress_agent.work import Connected, Event, ServerRoots, Work
from edgepress_devices import protocol
from edgepress_devices.delivery_messages import DeltaOffer, Limits, Shadow, TrialReport
from edgepress_devices.protocol import Hardware, ProfilingReport, State
from edgepress_server.trust.keys import Keys, create_keys_if_missing, load_keys
from edgepress_server.trust.seal import encrypt_chunk, seal_content_key
from edgepress_server.trust.statement import sign_delta_statement, sign_statement
from edgepress_server.trust.want import make_want

PROFILE = "x86-pc"


@dataclass(frozen=True)
class Artifact:
    data: bytes
    counter: int = 1  # of the release
    profile: str = PROFILE
    key: bytes = b"k" * 32

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def chunks(self) -> int:
        return protocol.chunk_count(len(self.data))


class Vendor:
    """The server's keys, and what they sign."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = create_keys_if_missing(folder)

    def reload(self) -> None:
        self.keys = load_keys(self.folder)

    def statement(self, artifact: Artifact, keys: Keys | None = None, **more: Any) -> str:
        said: dict[str, Any] = {
            "digest": artifact.digest,
            "size": len(artifact.data),
            "chunks": artifact.chunks,
            "profile": artifact.profile,
            "model": "digits",
            "release_counter": artifact.counter,
        }
        return sign_statement(keys or self.keys, **(said | more))

    def delta(self, board: Board, whole: Artifact, **more: Any) -> DeltaOffer:
        """An offer of a delta of 100 bytes whose file is never fetched here."""
        said: dict[str, Any] = {
            "digest": "de" * 32,
            "size": 100,
            "chunks": 1,
            "profile": whole.profile,
            "model": "digits",
            "base": "ba" * 32,
            "full": whole.digest,
            "onnx_sha256": "0f" * 32,
            "onnx_bytes": 1000,
            "release_counter": whole.counter,
        }
        said |= more
        statement = sign_delta_statement(self.keys, **said)
        sealed = seal_content_key(
            whole.key, public_key=board.public_key, device=board.name, digest=said["digest"]
        )
        return DeltaOffer(json.loads(statement), sealed)

    def want(
        self,
        board: Board,
        artifact: Artifact | None,
        counter: int,
        keys: Keys | None = None,
        *,
        issued: timedelta = timedelta(),
        **more: Any,
    ) -> bytes:
        """A want for the board; ``issued``: so much from now."""
        said: dict[str, Any] = {"device": board.name, "counter": counter, "now": datetime.now(UTC) + issued}
        if artifact is not None:
            said |= {
                "digest": artifact.digest,
                "size": len(artifact.data),
                "statement": self.statement(artifact) if "statement" not in more else None,
                "content_key": artifact.key,
                "public_key": board.public_key,
            }
        return make_want(keys or self.keys, **(said | more)).payload


class PassingEngine:
    """A model engine to which every model is good."""

    running: str | None = None

    def load(self, artifact: Path, info: SlotInfo) -> str:
        return info.digest

    def try_model(
        self, artifact: Path, info: SlotInfo, limits: Limits, keep_on: Callable[[], None]
    ) -> tuple[str, TrialReport]:
        return info.digest, TrialReport()

    def start_shadow(self, artifact: Path, model: str, shadow: Shadow) -> None:
        return None

    def apply_delta(self, *_: Any) -> None:
        raise AssertionError("no delta is applied here")

    def activate(self, model: str) -> None:
        self.running = model

    def deactivate(self) -> None:
        self.running = None

    def served(self) -> tuple[int, int]:
        return 0, 0


class NoReports:
    def has(self, job_id: str) -> bool:
        return True

    def put(self, report: ProfilingReport) -> None:
        raise AssertionError("nothing is profiled here")


@dataclass
class Board:
    """One device, and the broker as it sees it: whatever the attacker lets it see."""

    folder: Path
    vendor: Vendor
    name: str = "pi-4"
    retained: dict[str, bytes] = field(default_factory=dict)
    subscribed: list[str] = field(default_factory=list)
    connected: bool = True

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        key = new_device_key()
        self.public_key = base64.b64encode(key.public_key().public_bytes_raw()).decode()
        enrolment = Enrolment(
            self.name, PROFILE, "http://127.0.0.1", Mqtt("127.0.0.1", 1883), int(time.time())
        )
        root = self.vendor.keys.root_json
        write_enrolment(self.folder, Disk(), enrolment=enrolment, key=key, root=root)
        self.boot()

    def boot(self) -> None:
        """As after a power cut: only the folder is what it was."""
        disk = Disk()
        self.engine = PassingEngine()
        self.identity = Identity(self.folder)
        self.journal = Journal(self.folder / "journal", disk)
        self.arrived: list[Event] = []
        self.installer: Installer[str] = Installer(
            self.folder,
            disk=disk,
            journal=self.journal,
            engine=self.engine,
            check_room=lambda *_: None,
            changed=lambda: self.work.changed(),  # noqa: PLW0108 - which is made after it
        )
        profiler = Profiler(
            self.folder,
            disk=disk,
            identity=self.identity.fingerprint,
            threads=1,
            forms=("fp32",),
            reports=NoReports(),
            running=lambda: None,
        )
        self.work = Work(
            self.folder,
            disk=disk,
            identity=self.identity,
            hardware=Hardware(machine="x86_64"),
            installer=self.installer,
            profiler=profiler,
            started=lambda: None,
            interval=lambda _: None,
            stop=threading.Event(),
        )
        self.work.link = self
        self.work.begin()
        self.arrived.append(Connected())

    # --- the broker, as Work sees it ----------------------------------------------------------------------

    def subscribe(self, topics: Sequence[str]) -> None:
        for topic in topics:
            self.subscribed.append(topic)
            if topic in self.retained:
                self.hear(topic, self.retained[topic])

    def unsubscribe(self, topics: Sequence[str]) -> None:
        self.subscribed = [topic for topic in self.subscribed if topic not in topics]

    def publish(self, topic: str, payload: bytes) -> bool:
        return True

    def publish_state(self, payload: bytes) -> None:
        pass

    # --- what happens to it -------------------------------------------------------------------------------

    def hear(self, topic: str, payload: bytes) -> None:
        event = route(self.name, topic, payload)
        if event is not None:
            self.arrived.append(event)

    def serve(self, artifact: Artifact) -> None:
        """The artifact's chunks lie on the broker."""
        for n in range(artifact.chunks):
            piece = artifact.data[n * protocol.CHUNK_PLAIN_BYTES : (n + 1) * protocol.CHUNK_PLAIN_BYTES]
            self.retained[protocol.chunk_topic(artifact.digest, n)] = encrypt_chunk(
                artifact.key, digest=artifact.digest, n=n, chunks=artifact.chunks, plaintext=piece
            )

    def take(self, want: bytes) -> State:
        """A want comes; everything that follows from it is done."""
        self.hear(protocol.down_topic(self.name, "want"), want)
        return self.settle()

    def follow_roots(self) -> State:
        """The server says which roots there are, and they lie on the broker."""
        roots = self.vendor.keys.roots
        for number, root in enumerate(roots, 1):
            self.retained[protocol.root_topic(number)] = root
        return self.hear_of_roots(len(roots))

    def hear_of_roots(self, version: int) -> State:
        self.arrived.append(ServerRoots(version))
        return self.settle()

    def settle(self) -> State:
        for _ in range(500):
            events, self.arrived = self.arrived, []
            seq = self.journal.record.seq
            self.work.turn(events)
            if not self.arrived and self.journal.record.seq == seq:
                break
        return self.work.state()

    @property
    def running(self) -> str | None:
        return self.engine.running

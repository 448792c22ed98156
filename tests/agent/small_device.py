"""A device for thousands of installations: the real installer, journal, slots, files; models that are bytes.

A delta is the words "delta of", the base's digest and half of the new model, whose other half is the same.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from power_cut import PowerCut

from edgepress_agent.durable import Disk
from edgepress_agent.errors import ModelRefusedError
from edgepress_agent.installer import Installer
from edgepress_agent.job import SHADOW_LOOK_S, Fetch, Wait
from edgepress_agent.journal import Journal
from edgepress_agent.shadow import Tally
from edgepress_agent.slots import SlotInfo, decoded_path
from edgepress_agent.trust import Accepted, AcceptedDelta
from edgepress_devices.protocol import (
    CHUNK_PLAIN_BYTES,
    Delivery,
    Limits,
    Shadow,
    Statement,
    TrialReport,
    Want,
    chunk_count,
)

OLD = b"old model " * 10
NEW = b"new model " * 30_000  # five chunks
OTHER = b"other model" * 100
TWO = b"two chunks" * 6_500  # its delta is one
LATER = b"later model" * 20_000


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def delta_of(base: bytes, new: bytes) -> bytes:
    return b"delta of " + digest(base).encode() + b"\n" + new[: len(new) // 2]


WORLD: dict[str, bytes] = {}
"""What can be fetched, by digest."""
for _data in (OLD, NEW, OTHER, LATER, TWO, delta_of(OLD, TWO), delta_of(OLD, NEW), delta_of(NEW, LATER)):
    WORLD[digest(_data)] = _data


def wanting(
    data: bytes | None,
    counter: int,
    *,
    release: int | None = None,
    base: bytes | None = None,
    full: bool = True,
    shadow: Shadow | None = None,
    limits: Limits | None = None,
) -> Accepted:
    """``base``: as a delta, too; ``full``: the whole artifact may be fetched instead."""
    if data is None:
        return Accepted(counter, Want("pi-4", 1000 + counter), expires_s=10**10)
    chunks = chunk_count(len(data))
    want = Want("pi-4", 1000 + counter, digest(data), len(data), chunks)
    want.shadow, want.delivery = shadow, Delivery(full=full)
    want.limits = limits or Limits()
    statement = Statement("x86-pc", "digits", chunks, Limits())
    delta = None
    if base is not None:
        file = delta_of(base, data)
        delta = AcceptedDelta(
            digest(file), len(file), chunk_count(len(file)), digest(base), digest(data), len(data), ""
        )
    number = counter if release is None else release
    return Accepted(counter, want, 10**10, statement, number, delta)


@dataclass
class FakeShadow:
    tallies: list[Tally]
    stopped: bool = False

    def tally(self) -> Tally:
        return self.tallies.pop(0) if len(self.tallies) > 1 else self.tallies[0]

    def stop(self) -> None:
        self.stopped = True


@dataclass
class FakeEngine:
    """Models are their bytes. ``refused`` does not pass a trial, ``deadly`` kills the process in it."""

    answers: bytes | None = None
    refused: set[bytes] = field(default_factory=set)
    deadly: set[bytes] = field(default_factory=set)
    in_trial: Callable[[], None] = lambda: None
    in_delta: Callable[[], None] = lambda: None
    trials: int = 0
    limits: list[Limits] = field(default_factory=list)
    requests: tuple[int, int] = (0, 0)  # answered and failed by the model that runs
    shadow: FakeShadow | None = None  # the next run
    unusable_deltas: bool = False

    def load(self, artifact: Path, info: SlotInfo) -> bytes:
        data = artifact.read_bytes()
        assert digest(data) == info.file_digest
        if info.onnx_sha256 is not None:
            data = decoded_path(artifact).read_bytes()
            assert digest(data) == info.onnx_sha256
        if data in self.deadly:
            raise PowerCut
        if data in self.refused:
            raise ModelRefusedError("onnxruntime cannot load the model")
        return data

    def try_model(
        self, artifact: Path, info: SlotInfo, limits: Limits, keep_on: Callable[[], None]
    ) -> tuple[bytes, TrialReport]:
        self.trials += 1
        self.limits.append(limits)
        self.in_trial()
        return self.load(artifact, info), TrialReport(p95_us=100 * self.trials)

    def start_shadow(self, artifact: Path, model: bytes, shadow: Shadow) -> FakeShadow | None:
        return self.shadow if self.answers is not None else None

    def apply_delta(
        self, delta: Path, target: BinaryIO, info: SlotInfo, base: Path, base_info: SlotInfo
    ) -> None:
        self.in_delta()
        words, _, half = delta.read_bytes().partition(b"\n")
        path = base if base_info.onnx_sha256 is None else decoded_path(base)
        if self.unusable_deltas or words != b"delta of " + digest(path.read_bytes()).encode():
            raise ModelRefusedError("it is against another model")
        assert digest(half + half) == info.onnx_sha256
        target.write(half)
        target.write(half)

    def served(self) -> tuple[int, int]:
        return self.requests

    def activate(self, model: bytes) -> None:
        self.answers = model
        self.requests = (0, 0)

    def deactivate(self) -> None:
        self.answers = None


class Device:
    """A board: its disk survives, everything else is new at each ``boot``."""

    def __init__(self, folder: Path, identity: str = "me") -> None:
        self.folder = folder
        self.engine = FakeEngine()
        self.fetched: list[tuple[str, int]] = []  # chunks that were stored, in order
        self.now_s = 0.0
        self.room: Callable[[], None] = lambda: None
        self.stored: Callable[[str, int], None] = lambda _digest, _n: None
        self.boot(identity=identity)

    def boot(self, disk: Disk | None = None, identity: str = "me") -> None:
        self.engine.answers = None
        disk = disk or Disk()
        self.installer = Installer(
            self.folder,
            disk=disk,
            journal=Journal(self.folder / "journal", disk),
            engine=self.engine,
            check_room=lambda *_: self.room(),
        )
        self.installer.start(identity)

    def follow(self, accepted: Accepted) -> None:
        """Accept and work until there is nothing more to do."""
        if accepted.counter >= self.installer.journal.record.want:
            self.installer.accept(accepted)
        self.work()

    def work(self) -> None:
        for _ in range(90):
            step = self.installer.advance(self.now_s, 2000)
            if isinstance(step, Wait):
                if step.until_s is None or step.until_s > self.now_s + SHADOW_LOOK_S:
                    return  # it rests, or tries again much later
                self.now_s = step.until_s
            if isinstance(step, Fetch):
                assert self.installer.fetch is not None and self.installer.source is not None
                source = self.installer.source.digest
                n = self.installer.fetch.missing()[0]
                piece = WORLD[source][n * CHUNK_PLAIN_BYTES : (n + 1) * CHUNK_PLAIN_BYTES]
                if self.installer.store_chunks([(n, piece)], self.now_s):
                    self.fetched.append((source, n))
                    self.stored(source, n)
        raise AssertionError("the installation does not come to an end")

    @property
    def step(self) -> str:
        return self.installer.journal.record.step

    @property
    def reason(self) -> str:
        return self.installer.journal.record.reason or ""

    @property
    def fetched_bytes(self) -> int:
        return sum(len(WORLD[name][n * CHUNK_PLAIN_BYTES :][:CHUNK_PLAIN_BYTES]) for name, n in self.fetched)

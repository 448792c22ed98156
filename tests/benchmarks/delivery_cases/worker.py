"""A process with some hundreds of simulated agents on one event loop, ordered about over a pipe.

Orders are tuples, the first item the order's name; each is answered by one object.
"""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import os
import random
import secrets
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from delivery_cases.mqtt_session import Session, Sessions
from delivery_cases.simulated_agent import SimulatedAgent
from edgepress_agent.seal import open_chunk
from edgepress_devices.protocol import (
    CHUNK_PLAIN_BYTES,
    FETCH_WINDOW,
    chunk_aad,
    chunk_count,
    chunk_nonce,
    chunk_topic,
    parse_chunk_topic,
)

TICK_S: Final = 0.1
RETRY_S: Final = 0.5  # the broker has not read the new users yet


class Subscriber:
    """The peer: fetches chunks by the agent's window and does nothing with them."""

    def __init__(self, session: Session, digest: str, chunks: int) -> None:
        self.done_s: float | None = None
        self._session = session
        self._digest = digest
        self._waiting = list(range(chunks))[::-1]
        self._open: set[int] = set()
        self._before = session.received
        session.received = self._received
        self._fill()

    def _fill(self) -> None:
        opened = []
        while self._waiting and len(self._open) < FETCH_WINDOW:
            n = self._waiting.pop()
            self._open.add(n)
            opened.append(chunk_topic(self._digest, n))
        self._session.subscribe(opened)

    def _received(self, topic: str, payload: bytes) -> None:
        if "/c/" not in topic:
            return
        digest, n = parse_chunk_topic(topic)
        if digest != self._digest or n not in self._open:
            return
        self._open.discard(n)
        self._session.unsubscribe([topic])
        self._fill()
        if not self._open:
            self.done_s = time.monotonic()
            self._session.received = self._before


class Worker:
    def __init__(self, pipe: Connection, seed: int) -> None:
        self._pipe = pipe
        self._random = random.Random(seed)
        self._agents: list[SimulatedAgent] = []
        self._by_session: dict[Session, SimulatedAgent] = {}
        self._sessions = Sessions()
        self._subscribers: list[Subscriber] = []
        self._refused: list[SimulatedAgent] = []
        self._tick_s = 0.0
        self._running = True

    def run(self) -> None:
        while self._running:
            self._loop_once()
            if self._pipe.poll(0):
                self._pipe.send(self._order(*self._pipe.recv()))

    def _loop_once(self) -> None:
        read = self._sessions.turn(0.0 if self._pipe.poll(0) else max(0.0, self._tick_s - time.monotonic()))
        now_s = time.monotonic()
        if not self._subscribers:
            for session in read:
                self._by_session[session].turn(now_s)
        self._sessions.flush(read)
        if now_s >= self._tick_s:
            self._tick_s = now_s + TICK_S
            late = [agent for agent in self._agents if agent.due_s <= now_s and agent.connected]
            for agent in late:
                # A board reads while others are busy: what has come must not look as if it had not.
                self._sessions.read(agent.session)
                agent.turn(now_s)
            self._sessions.flush(agent.session for agent in self._agents if agent.session.wants_write)

    def _order(self, name: str, *arguments: Any) -> Any:
        return getattr(self, f"_do_{name}")(*arguments)

    def _do_start(self, folders: Sequence[Path], host: str, port: int, loss: float) -> int:
        """Make agents and connect them, as many as the broker lets in."""
        drops = (lambda: self._random.random() < loss) if loss else None
        for folder in folders:
            agent = SimulatedAgent(folder, host, port, drops=drops)
            self._agents.append(agent)
            self._by_session[agent.session] = agent
        gc.collect()
        gc.freeze()  # a thousand agents' objects are not to be looked at again and again
        waiting = list(self._agents)
        while waiting:
            for agent in waiting:
                agent.open()
                self._sessions.add(agent.session)
            until_s = time.monotonic() + RETRY_S
            while time.monotonic() < until_s and not all(agent.connected for agent in waiting):
                self._loop_once()
            waiting = [agent for agent in waiting if not agent.connected]
        return len(self._agents)

    def _do_subscribe(self, digest: str, chunks: int) -> float:
        """The peer's run; when it was over, by this machine's monotonic clock."""
        self._subscribers = [Subscriber(agent.session, digest, chunks) for agent in self._agents]
        self._sessions.flush(agent.session for agent in self._agents)
        while not all(subscriber.done_s for subscriber in self._subscribers):
            self._loop_once()
        over_s = max(subscriber.done_s or 0.0 for subscriber in self._subscribers)
        self._subscribers = []
        return over_s

    def _do_least(self, folder: Path, artifact_bytes: int) -> float:
        """Seconds for what no device can leave out: open each chunk, write it, hash the file. Once for each
        agent, with nothing around it."""
        digest, key = "0" * 64, bytes(32)
        plain, count = secrets.token_bytes(artifact_bytes), chunk_count(artifact_bytes)
        parts = [plain[n * CHUNK_PLAIN_BYTES : (n + 1) * CHUNK_PLAIN_BYTES] for n in range(count)]
        payloads = [
            AESGCM(key).encrypt(chunk_nonce(n), part, chunk_aad(digest, n, count))
            for n, part in enumerate(parts)
        ]
        files = [folder / f"least-{os.getpid()}-{number}" for number in range(len(self._agents))]
        began_s = time.monotonic()
        for path in files:
            with path.open("w+b", buffering=0) as file:
                for n, payload in enumerate(payloads):
                    file.write(
                        open_chunk(
                            payload, key=key, digest=digest, n=n, chunks=count, artifact_bytes=artifact_bytes
                        )
                    )
                file.seek(0)
                hashlib.file_digest(file, "sha256")
        over_s = time.monotonic() - began_s
        for path in files:
            path.unlink()
        return over_s

    def _do_figures(self) -> dict[str, Any]:
        return {
            "committed": [a.installer.running.digest if a.installer.running else None for a in self._agents],
            "steps": [a.installer.journal.record.step for a in self._agents],
            "reasons": [a.work.refused or a.installer.journal.record.reason for a in self._agents],
            "wire_bytes": [a.session.received_bytes for a in self._agents],
            "chunk_bytes": [a.chunk_bytes for a in self._agents],
            "most_often": [max(a.chunks.values(), default=0) for a in self._agents],
            "wanted_s": [a.wanted_s for a in self._agents],
            "committed_s": [a.committed_s for a in self._agents],
            "sent_bytes": sum(a.session.sent_bytes for a in self._agents),
            "lost": sum(not a.connected for a in self._agents),
            "cpu_s": time.process_time(),
            "pid": os.getpid(),
        }

    def _do_forget(self) -> None:
        """Counters begin anew."""
        for agent in self._agents:
            agent.session.received_bytes = agent.session.sent_bytes = agent.chunk_bytes = 0
            agent.chunks.clear()

    def _do_stop(self) -> None:
        self._running = False
        for agent in self._agents:
            agent.session.close()


def _main(pipe: Connection, seed: int) -> None:
    Worker(pipe, seed).run()


class Workers:
    """The processes; ``ask_all`` gives an order to each and waits for the answers."""

    def __init__(self, count: int) -> None:
        context = multiprocessing.get_context("spawn")
        # Memory that was touched once stays: on a virtual machine the first touch of a page costs 30 us.
        os.environ |= {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_TOP_PAD_": str(64 << 20)}
        self._pipes: list[Connection] = []
        self._processes = []
        for seed in range(count):
            mine, its = context.Pipe()
            process = context.Process(target=_main, args=(its, seed), daemon=True)
            process.start()
            self._pipes.append(mine)
            self._processes.append(process)

    def start(self, folders: Sequence[Path], host: str, port: int, *, loss: float = 0.0) -> None:
        for index, pipe in enumerate(self._pipes):
            pipe.send(("start", list(folders[index :: len(self._pipes)]), host, port, loss))
        self._answers()

    def ask_all(self, *order: Any) -> list[Any]:
        for pipe in self._pipes:
            pipe.send(order)
        return self._answers()

    def figures(self) -> dict[str, Any]:
        """All workers' figures: lists joined, numbers added."""
        together: dict[str, Any] = {}
        for part in self.ask_all("figures"):
            for key, value in part.items():
                together[key] = value if key not in together else together[key] + value
        return together

    def close(self) -> None:
        self.ask_all("stop")
        for process in self._processes:
            process.join(10.0)

    @property
    def pids(self) -> list[int]:
        return [process.pid or 0 for process in self._processes]

    def _answers(self) -> list[Any]:
        return [pipe.recv() for pipe in self._pipes]

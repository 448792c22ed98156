"""Agents as far as telemetry goes: the real telemetry loop, outbox, post and clock of the agent, hundreds
in a process on one event loop, each with its own state folder and its own connection.

What is not real: sensors and model (their figures are drawn from a pool), threads, and paho (`mqtt_session`).
"""

from __future__ import annotations

import multiprocessing
import random
import threading
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

from delivery_cases.mqtt_session import Session, Sessions

from edgepress_agent.durable import Disk
from edgepress_agent.link import back_off_s
from edgepress_agent.meter import Counted
from edgepress_agent.outbox import Outbox
from edgepress_agent.telemetry import LinkDown, LinkUp, ServerOnline, Telemetry
from edgepress_devices.energy import EnergyMeter
from edgepress_devices.protocol import (
    SERVER_STATE_TOPIC,
    Ack,
    Sample,
    ServerState,
    State,
    down_topic,
    from_json,
    to_json,
    up_topic,
)
from edgepress_devices.sensors import Readings
from telemetry_cases.board import ARTIFACT, samples
from telemetry_cases.packets import device, steps

INTERVAL_S: Final = 1.0
POOL: Final = 300
WAITING_STEADY: Final = 3  # batches under way when nothing is left to catch up on


class _Board:
    """What one agent reads: the pool's figures, one after the other."""

    def __init__(self, pool: list[tuple[Counted, Readings]], at: int) -> None:
        self._pool, self._at = pool, at

    def read(self) -> Readings:
        return self._pool[self._at % len(self._pool)][1]

    def take(self) -> list[Counted]:
        self._at += 1
        return [self._pool[self._at % len(self._pool)][0]]


def _pool() -> list[tuple[Counted, Readings]]:
    names = set(Readings.__struct_fields__)
    made = []
    for sample in samples(7, POOL, 1_800_000_000_000):
        counted = Counted(ARTIFACT, sample.inferences, sample.error_kinds, sample.latency_us)
        readings = Readings(**{name: getattr(sample, name) for name in names if hasattr(sample, name)})
        made.append((counted, readings))
    return made


class Agent:
    def __init__(self, name: str, folder: Path, board: _Board, host: str, port: int) -> None:
        self.name = name
        self._host, self._port = host, port
        self.session = Session(
            f"edgepress-{name}",
            username=name,
            password="",
            will=(up_topic(name, "state"), to_json(State(online=False))),
            received=self._hear,
            up=self._up,
        )
        self.outbox = Outbox(folder, Disk())
        self.telemetry = Telemetry(
            outbox=self.outbox,
            runtime=board,  # type: ignore[arg-type]
            sensors=board,
            energy=EnergyMeter(),
            send=lambda payload: self.session.publish(up_topic(name, "telemetry"), payload),
            stop=threading.Event(),
        )
        self.made: Counter[str] = Counter()
        self.attempt = 0
        self.due_s = self.again_s = 0.0
        self._was_up = False

    def open(self, sessions: Sessions, now_s: float) -> None:
        """Try to connect; after that by the agent's own back-off."""
        try:
            self.session.open(self._host, self._port)
        except OSError:
            self._later(now_s)
            return
        sessions.add(self.session)

    def check(self, sessions: Sessions, now_s: float) -> None:
        if self.session.closed or self.session.socket is None:
            if self._was_up:
                self._was_up = False
                self.telemetry.handle(LinkDown(), now_s)
                self._later(now_s)
            elif self.again_s == 0.0:
                self._later(now_s)
            if now_s >= self.again_s:
                self.again_s = 0.0
                self.open(sessions, now_s)

    def _later(self, now_s: float) -> None:
        self.again_s = now_s + back_off_s(self.attempt, random.Random())
        self.attempt += 1

    def tick(self, now_s: float) -> None:
        self.telemetry.tick(INTERVAL_S, now_s)
        newest = self.telemetry.newest
        assert isinstance(newest, Sample)
        self.made.update(steps(newest))
        self.made["samples"] += 1
        if newest.latency_us is not None:
            self.made["latencies"] += sum(newest.latency_us.counts)

    @property
    def caught_up(self) -> bool:
        return not self.outbox.has_open() and len(self.outbox.batches()) <= WAITING_STEADY

    def _up(self, refused: bool) -> None:
        if refused:
            return
        self.attempt, self._was_up = 0, True
        self.session.subscribe([down_topic(self.name, "ack"), SERVER_STATE_TOPIC])
        self.session.publish(up_topic(self.name, "state"), to_json(State(online=True)), retain=True)
        self.telemetry.handle(LinkUp(), time.monotonic())

    def _hear(self, topic: str, payload: bytes) -> None:
        now_s = time.monotonic()
        if topic == SERVER_STATE_TOPIC:
            self.telemetry.handle(ServerOnline(from_json(ServerState, payload).online), now_s)
        elif topic.endswith("/ack"):
            self.telemetry.handle(from_json(Ack, payload), now_s)


class _Crowd:
    def __init__(self, pipe: Connection, folder: Path, count: int, host: str, port: int) -> None:
        self._pipe = pipe
        self._sessions = Sessions()
        pool = _pool()
        self._agents = [
            Agent(device(n), folder / device(n), _Board(pool, 7 * n), host, port) for n in range(count)
        ]
        self._running, self._ticking = True, True

    def run(self) -> None:
        began = time.monotonic()
        for i, agent in enumerate(self._agents):
            agent.open(self._sessions, began)
            agent.due_s = began + INTERVAL_S * (1 + i / len(self._agents))
        next_look = began
        while self._running:
            read = self._sessions.turn(0.005)
            self._sessions.flush(read)
            now_s = time.monotonic()
            if now_s >= next_look:
                next_look = now_s + 0.05
                self._look(now_s)
            if self._pipe.poll(0):
                self._pipe.send(self._order(self._pipe.recv()))

    def _look(self, now_s: float) -> None:
        for agent in self._agents:
            agent.check(self._sessions, now_s)
            if self._ticking and now_s >= agent.due_s:
                agent.due_s = max(agent.due_s + INTERVAL_S, now_s)
                agent.tick(now_s)
            if agent.session.wants_write:
                self._sessions.flush([agent.session])

    def _order(self, order: str) -> Any:
        if order == "stop":
            self._running = False
        elif order == "rest":
            self._ticking = False
        behind = [agent for agent in self._agents if not agent.caught_up]
        return {
            "connected": sum(agent.session.connected for agent in self._agents),
            "behind": len(behind),
            "waiting": sum(len(agent.outbox.batches()) for agent in self._agents),
            "open": sum(agent.outbox.has_open() for agent in self._agents),
            "made": self._made() if order != "look" else None,
            "cpu_s": time.process_time(),
        }

    def _made(self) -> Counter[str]:
        made: Counter[str] = Counter()
        for agent in self._agents:
            made.update(agent.made)  # adding two of them would leave out what is below 0
        return made


def _main(pipe: Connection, folder: str, count: int, host: str, port: int) -> None:
    _Crowd(pipe, Path(folder), count, host, port).run()


class Crowd:
    """The process. Ask it "look", "rest" (no more samples) or "stop"."""

    def __init__(self, folder: Path, count: int, port: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, its = context.Pipe()
        self._process = context.Process(
            target=_main, args=(its, str(folder), count, "127.0.0.1", port), daemon=True
        )
        self._process.start()

    def ask(self, order: str) -> dict[str, Any]:
        self._pipe.send(order)
        answer: dict[str, Any] = self._pipe.recv()
        return answer

    def close(self) -> None:
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(10.0)

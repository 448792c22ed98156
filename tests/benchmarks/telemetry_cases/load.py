"""The load: a process that is a fleet at the broker, as fast as the server acknowledges what it stored.

Like agents it keeps a batch until the server says that it is stored, and sends it again otherwise; at most
``window`` batches of the fleet are unacknowledged at a time. Connections carry many devices each: sockets are
not what is measured. The devices' clocks are right: a batch's ten samples end evenly between the batch before
and now, so a faster server is given more samples of the same time.
"""

from __future__ import annotations

import multiprocessing
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final

import numpy as np
from delivery_cases.mqtt_session import _connect_packet, _length

from edgepress_devices.protocol import PREFIX, State, to_json, up_topic
from telemetry_cases.packets import ROWS, SAMPLES, Template, device, digits

CONNECTIONS: Final = 8
ARTIFACTS: Final = ("ab" * 32, "cd" * 32)
PER_ARTIFACT: Final = 24  # different batches
PATIENCE_S: Final = 15.0
REMEMBERED: Final = 256  # newest batches of a device whose times are known, to be sent again
SEND_BUFFER_BYTES: Final = 1 << 20
_ACK = re.compile(rb'/d/load-(\d{6})/down/ack\{"epoch":"[^"]*","number":(\d+),')


@dataclass(frozen=True)
class Order:
    host: str
    port: int
    credentials: tuple[str, str] | None
    devices: int
    seconds: float
    window: int  # batches
    drain_s: float = 120.0
    per_s: float | None = None  # batches; None: as fast as they are taken


@dataclass
class Sent:
    """What the fleet did. A batch counts once, however often it travelled."""

    batches: int = 0
    acknowledged: int = 0
    sending_s: float = 0.0  # until the last new batch was sent
    stored_s: float = 0.0  # until the last acknowledgement
    again: int = 0  # batches that travelled again
    bytes: int = 0
    cpu_s: float = 0.0
    templates: Counter[int] = field(default_factory=Counter)  # template -> batches
    start_ms: int = 0  # all samples end after this,
    end_ms: int = 0  # and none later than this


def templates() -> list[Template]:
    return [Template(seed, artifact) for artifact in ARTIFACTS for seed in range(PER_ARTIFACT)]


def template_of(chunk: int, turn: int) -> int:
    """A device runs one artifact; what it measures changes from batch to batch."""
    which = chunk % len(ARTIFACTS)
    return which * PER_ARTIFACT + (chunk // len(ARTIFACTS) + turn) % PER_ARTIFACT


class Fleet:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._templates = templates()
        self._names = digits(order.devices)
        self._acked = np.zeros(order.devices, np.int64)
        self._sent = np.zeros(order.devices, np.int64)
        self._moved = np.zeros(order.devices)  # when a device last got on, by the monotonic clock
        chunks = -(-order.devices // ROWS)
        self._until_ms = np.zeros((REMEMBERED, chunks), np.int64)  # batch number, chunk -> its last sample
        self._ids = [0] * CONNECTIONS
        self._poll = select.epoll()
        self._sockets = [self._connect(f"load-{n}") for n in range(CONNECTIONS)]
        self._out: list[memoryview] = [memoryview(b"")] * CONNECTIONS
        self._listener = self._connect("load-acks")
        self._rest = b""
        self._by_fd = {s.fileno(): n for n, s in enumerate(self._sockets)}
        self.result = Sent()
        topic = f"{PREFIX}/d/+/down/ack".encode()
        body = b"\0\1" + len(topic).to_bytes(2, "big") + topic + b"\0"
        self._listener.sendall(b"\x82" + bytes([len(body)]) + body)
        self._poll.register(self._listener.fileno(), select.EPOLLIN)
        for each in self._sockets:
            self._poll.register(each.fileno(), select.EPOLLIN)

    def _connect(self, name: str) -> socket.socket:
        made = socket.create_connection((self._order.host, self._order.port))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        user, password = self._order.credentials or ("load", "load")
        made.sendall(_connect_packet(name, user, password, (f"{PREFIX}/d/{name}/up/state", b"")))
        answer = made.recv(4)
        if answer[:1] != b"\x20" or answer[3:4] != b"\0":
            raise ConnectionError(f"the broker refuses the load: {answer.hex()}")
        made.setblocking(False)
        return made

    def run(self) -> Sent:
        order, began = self._order, time.monotonic()
        self.result.start_ms = _now_ms() - SAMPLES * 1000
        self._until_ms[0] = self.result.start_ms
        chunks = -(-order.devices // ROWS)
        turn = chunk = 0
        next_look = began + 1.0
        while (now := time.monotonic()) < began + order.seconds:
            blocked = self._is_full(now - began) or len(self._out[chunk % CONNECTIONS]) > 0
            if not blocked:
                self._send_chunk(chunk, turn, now)
                chunk += 1
                if chunk == chunks:
                    chunk, turn = 0, turn + 1
            self._turn(0.002 if blocked else 0.0)
            if now >= next_look:
                next_look = now + 1.0
                self._send_again(now)
        self.result.sending_s = time.monotonic() - began
        until = time.monotonic() + order.drain_s
        while self.result.acknowledged < self.result.batches and time.monotonic() < until:
            self._turn(0.02)
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + 1.0
                self._send_again(time.monotonic())
        self.result.stored_s = float(self._moved.max()) - began
        self.result.end_ms = int(self._until_ms.max())
        self.result.cpu_s = time.process_time()
        return self.result

    def _is_full(self, elapsed_s: float) -> bool:
        order, done = self._order, self.result
        if done.batches - done.acknowledged + ROWS > order.window:
            return True
        return order.per_s is not None and done.batches >= order.per_s * elapsed_s

    def _send_chunk(self, chunk: int, turn: int, now: float) -> None:
        """The next batch of ROWS devices."""
        first = chunk * ROWS
        last = min(first + ROWS, self._order.devices)
        number = turn + 1
        which = template_of(chunk, turn)
        now_ms = _now_ms()
        self._until_ms[number % REMEMBERED, chunk] = now_ms
        oldest = self._acked[first:last] + 1
        connection = chunk % CONNECTIONS
        ids = self._next_ids(connection, last - first)
        span_ms = self._span_ms(chunk, number)
        data = self._templates[which].fill(self._names[first:last], ids, number, oldest, span_ms, now_ms)
        idle = self._acked[first:last] == self._sent[first:last]
        self._moved[first:last][idle] = now
        self._sent[first:last] = number
        self.result.batches += last - first
        self.result.templates[which] += last - first
        self._write(connection, data)

    def _send_again(self, now: float) -> None:
        """The oldest batch of each device that waits for too long."""
        late = np.flatnonzero((self._acked < self._sent) & (self._moved < now - PATIENCE_S))
        for n in late[:2000].tolist():
            chunk, number = n // ROWS, int(self._acked[n]) + 1
            connection = chunk % CONNECTIONS
            data = self._templates[template_of(chunk, number - 1)].fill(
                self._names[n : n + 1],
                self._next_ids(connection, 1),
                number,
                number,
                self._span_ms(chunk, number),
                _now_ms(),
            )
            self._moved[n] = now
            self.result.again += 1
            self._out[connection] = memoryview(bytes(self._out[connection]) + data)

    def _span_ms(self, chunk: int, number: int) -> tuple[int, int]:
        until = self._until_ms[:, chunk]
        return int(until[(number - 1) % REMEMBERED]), int(until[number % REMEMBERED])

    def _next_ids(self, connection: int, count: int) -> np.ndarray:
        """MQTT's packet ids: 1 to 65535, again and again."""
        ids = (self._ids[connection] + np.arange(count)) % 65_535 + 1
        self._ids[connection] = (self._ids[connection] + count) % 65_535
        return ids

    def _write(self, connection: int, data: bytes) -> None:
        self.result.bytes += len(data)
        self._out[connection] = memoryview(data)
        self._push(connection)

    def _push(self, connection: int) -> None:
        try:
            sent = self._sockets[connection].send(self._out[connection])
        except BlockingIOError:
            return
        self._out[connection] = self._out[connection][sent:]

    def _turn(self, seconds: float) -> None:
        for connection in range(CONNECTIONS):
            if len(self._out[connection]):
                self._push(connection)
        for fd, _ in self._poll.poll(seconds):
            if fd == self._listener.fileno():
                self._read_acks()
            elif not self._sockets[self._by_fd[fd]].recv(1 << 16):  # PUBACKs: the broker has it
                raise ConnectionError("the broker hung up on the load")

    def _read_acks(self) -> None:
        data = self._listener.recv(1 << 20)
        if not data:
            raise ConnectionError("the broker hung up on who listens for acknowledgements")
        data = self._rest + data
        end, which, numbers = 0, [], []
        for match in _ACK.finditer(data):
            end = match.end()
            which.append(int(match[1]))
            numbers.append(int(match[2]))
        self._rest = data[end:]
        if which:
            before = int(self._acked.sum())
            np.maximum.at(self._acked, which, numbers)
            self._moved[which] = time.monotonic()
            self.result.acknowledged += int(self._acked.sum()) - before


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _main(pipe: Connection) -> None:
    fleet = Fleet(pipe.recv())
    pipe.send("ready")
    pipe.recv()
    pipe.send(fleet.run())


class Load:
    """The process. ``start`` returns when it begins to send, ``result`` when all is stored."""

    def __init__(self, order: Order) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, its = context.Pipe()
        self._process = context.Process(target=_main, args=(its,), daemon=True)
        self._process.start()
        its.close()
        self._pipe.send(order)
        self._pipe.recv()

    def start(self) -> None:
        self._pipe.send("go")

    def is_over(self, seconds: float) -> bool:
        return self._pipe.poll(seconds)

    def result(self) -> Sent:
        """Raises EOFError when it broke off; why stands on standard error."""
        sent: Sent = self._pipe.recv()
        self._process.join(10.0)
        return sent

    def close(self) -> None:
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(10.0)


def announce(port: int, credentials: tuple[str, str] | None, numbers: Sequence[int]) -> None:
    """Retained states of these devices: they are there, and run what their telemetry says."""
    user, password = credentials or ("load", "load")
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(_connect_packet("load-states", user, password, (f"{PREFIX}/d/load/up/state", b"")))
        connection.recv(4)
        for n in numbers:
            digest = ARTIFACTS[n // ROWS % len(ARTIFACTS)]
            state = State(online=True, at_ms=_now_ms(), agent="0.7.0", running=digest, step="committed")
            topic, payload = up_topic(device(n), "state").encode(), to_json(state)
            body = len(topic).to_bytes(2, "big") + topic + payload
            connection.sendall(b"\x31" + _length(len(body)) + body)  # QoS 0, retained
        connection.sendall(b"\xc0\x00")  # what was sent before the answer to this ping has been read
        while not connection.recv(64).endswith(b"\xd0\x00"):
            pass


def names(devices: int) -> list[str]:
    return [device(n) for n in range(devices)]

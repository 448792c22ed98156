"""A small MQTT 3.1.1 client for thousands of connections in one thread.

The agent's own client is paho with a thread for each connection; a thousand of those in one process measure
Python's threads. The subscribers that do nothing (the peer) use this same client, so it weighs on both alike.
It knows what the protocol needs: QoS 1, retained messages, a will, subscriptions; no sessions, no TLS.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Final

RECEIVE_BYTES: Final = 1 << 20
KEEPALIVE_S: Final = 600
_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBSCRIBE, _UNSUBSCRIBE = 0x10, 0x20, 0x30, 0x40, 0x82, 0xA2


class Session:
    """One connection. ``received(topic, payload)`` and ``up(refused)`` are called while it is read."""

    def __init__(
        self,
        client_id: str,
        *,
        username: str,
        password: str,
        will: tuple[str, bytes],
        received: Callable[[str, bytes], None],
        up: Callable[[bool], None],
    ) -> None:
        self.connected = False
        self.closed = False
        self.received_bytes = 0  # of TCP payload, both of these
        self.sent_bytes = 0
        self.received = received
        self._up = up
        self._rest = bytearray()
        self._out = bytearray()
        self._mid = 0
        self._hello = _connect_packet(client_id, username, password, will)
        self.socket: socket.socket | None = None

    def open(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self._rest.clear()
        self._out = bytearray(self._hello)
        self.closed = False
        self.flush()

    def close(self) -> None:
        self.connected, self.closed = False, True
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    # --- as the agent's link ------------------------------------------------------------------------------

    def subscribe(self, topics: Sequence[str]) -> None:
        if topics:
            self._send(_SUBSCRIBE, self._next_mid() + b"".join(_text(topic) + b"\x01" for topic in topics))

    def unsubscribe(self, topics: Sequence[str]) -> None:
        if topics:
            self._send(_UNSUBSCRIBE, self._next_mid() + b"".join(map(_text, topics)))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """QoS 1; what is lost with a connection is lost."""
        if not self.connected:
            return False
        self._send(_PUBLISH | 0x02 | int(retain), _text(topic) + self._next_mid() + payload)
        return True

    # --- the socket ---------------------------------------------------------------------------------------

    @property
    def wants_write(self) -> bool:
        return bool(self._out)

    def flush(self) -> None:
        if self.socket is None or not self._out:
            return
        try:
            sent = self.socket.send(self._out)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self.sent_bytes += sent
        del self._out[:sent]

    def read(self, buffer: memoryview) -> None:
        """Take what has come; handle every whole packet."""
        if self.socket is None:
            return
        try:
            count = self.socket.recv_into(buffer)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count == 0:
            self.close()
            return
        self.received_bytes += count
        if self._rest:
            self._rest += buffer[:count]
            whole = bytes(self._rest) if len(self._rest) >= _packet_bytes(self._rest) else b""
            if whole:
                used = self._packets(memoryview(whole))
                del self._rest[:used]
        else:
            used = self._packets(buffer[:count])
            self._rest += buffer[used:count]

    def _packets(self, data: memoryview) -> int:
        """Handle the whole packets at the start of ``data``; how many bytes they were."""
        at, end = 0, len(data)
        while at + 2 <= end:
            length, digits = 0, 1
            while True:
                if at + digits >= end:
                    return at
                byte = data[at + digits]
                length |= (byte & 0x7F) << 7 * (digits - 1)
                digits += 1
                if byte < 0x80:
                    break
            start = at + digits
            if start + length > end:
                return at
            self._packet(data[at], data[start : start + length])
            at = start + length
        return at

    def _packet(self, head: int, body: memoryview) -> None:
        kind = head & 0xF0
        if kind == _PUBLISH:
            length = body[0] << 8 | body[1]
            topic, at = str(body[2 : 2 + length], "utf-8"), 2 + length
            if head & 0x06:
                self._out += b"\x40\x02" + body[at : at + 2]
                at += 2
            self.received(topic, bytes(body[at:]))
        elif kind == _CONNACK:
            self.connected = body[1] == 0
            self._up(body[1] != 0)

    def _send(self, head: int, body: bytes) -> None:
        self._out += bytes([head]) + _length(len(body)) + body

    def _next_mid(self) -> bytes:
        self._mid = self._mid % 65_535 + 1
        return struct.pack("!H", self._mid)


class Sessions:
    """Many sessions on one epoll: ``turn`` reads and writes what can be, and names who was read."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._by_fd: dict[int, Session] = {}
        self._writing: set[int] = set()
        self._buffer = memoryview(bytearray(RECEIVE_BYTES))

    def add(self, session: Session) -> None:
        if session.socket is not None:
            self._by_fd[session.socket.fileno()] = session
            self._epoll.register(session.socket.fileno(), select.EPOLLIN)

    def turn(self, seconds: float) -> list[Session]:
        read: list[Session] = []
        for fd, event in self._epoll.poll(max(0.0, seconds)):
            session = self._by_fd[fd]
            if session.closed:
                del self._by_fd[fd]
                continue
            if event & ~select.EPOLLOUT:
                session.read(self._buffer)
                if session.closed:
                    del self._by_fd[fd]
                read.append(session)
            else:
                self._flush(session)
        return read

    def read(self, session: Session) -> None:
        """What has come until now, without waiting for its turn."""
        session.read(self._buffer)

    def flush(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            self._flush(session)

    def _flush(self, session: Session) -> None:
        session.flush()
        if session.socket is None:
            return
        fd = session.socket.fileno()
        if session.wants_write != (fd in self._writing):
            self._writing ^= {fd}
            self._epoll.modify(fd, select.EPOLLIN | (select.EPOLLOUT if session.wants_write else 0))


def _packet_bytes(data: bytearray) -> int:
    """Of the packet that ``data`` begins with; more than there is where even its length is not whole."""
    length = 0
    for digits in range(1, 5):
        if digits >= len(data):
            return len(data) + 1
        length |= (data[digits] & 0x7F) << 7 * (digits - 1)
        if data[digits] < 0x80:
            return 1 + digits + length
    raise ValueError("a packet longer than MQTT allows")


def _connect_packet(client_id: str, username: str, password: str, will: tuple[str, bytes]) -> bytes:
    flags = 0x80 | 0x40 | 0x20 | 0x08 | 0x04 | 0x02  # user, password, will: retained, QoS 1; clean session
    body = b"\x00\x04MQTT\x04" + bytes([flags]) + struct.pack("!H", KEEPALIVE_S) + _text(client_id)
    body += _text(will[0]) + struct.pack("!H", len(will[1])) + will[1] + _text(username) + _text(password)
    return bytes([_CONNECT]) + _length(len(body)) + body


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!H", len(data)) + data


def _length(count: int) -> bytes:
    digits = bytearray()
    while True:
        digits.append(count & 0x7F | (0x80 if count > 0x7F else 0))
        count >>= 7
        if not count:
            return bytes(digits)

"""paho's client, reading many packets with one call of the system.

paho reads a packet in four calls, each of which lets go of the interpreter's lock and waits for it again:
beside a thread that computes it came to about a thousand packets a second. Here the socket is read in large
pieces, and packets are handled until nothing is left of the piece.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion

READ_BYTES: Final = 262_144
WRITE_BYTES: Final = 32_768
PUBLISH: Final = b"\x30"  # QoS 0, not retained
NO_COMMAND: Final = 0  # so that paho takes the piece for no message of its own
PACKETS_AT_A_TIME: Final = 500  # then whatever is to be sent has its turn


class BufferedSocket:
    """A socket whose ``recv`` takes from a large piece that was read; everything else is the socket's own."""

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._piece = b""
        self._at = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv(self, size: int) -> bytes:
        if self._at >= len(self._piece):
            self._piece, self._at = self._sock.recv(READ_BYTES), 0
        taken = self._piece[self._at : self._at + size]
        self._at += len(taken)
        return taken

    def pending(self) -> int:
        """Bytes that can be had without waiting, which ``select`` does not know of."""
        own = len(self._piece) - self._at
        below = getattr(self._sock, "pending", None)
        return own if own or below is None else int(below())


class QuickClient(paho.Client):
    def _create_socket(self) -> Any:
        return BufferedSocket(super()._create_socket())

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:
        found = super().loop_read(max_packets)
        for _ in range(PACKETS_AT_A_TIME):
            sock: Any = self.socket()
            if found != MQTTErrorCode.MQTT_ERR_SUCCESS or sock is None or not sock.pending():
                break
            found = super().loop_read(max_packets)
        return found

    def publish_all(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """QoS 0, many in one piece: a call of the system and a callback for each cost more than they do.

        Like any QoS 0 message these may be lost with the connection.
        """
        properties = b"\0" if self.protocol == MQTTProtocolVersion.MQTTv5 else b""
        piece = bytearray()
        for topic, payload in messages:
            name = topic.encode()
            body = len(name).to_bytes(2, "big") + name + properties + payload
            piece += PUBLISH + _length(len(body)) + body
            if len(piece) >= WRITE_BYTES:
                self._packet_queue(NO_COMMAND, bytes(piece), 0, 0)
                piece.clear()
        if piece:
            self._packet_queue(NO_COMMAND, bytes(piece), 0, 0)


def _length(size: int) -> bytes:
    """MQTT's variable byte integer (MQTT 5.0, 1.5.5)."""
    found = bytearray()
    while True:
        size, low = divmod(size, 128)
        found.append(low | (128 if size else 0))
        if not size:
            return bytes(found)

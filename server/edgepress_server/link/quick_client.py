"""paho's client, reading many packets with one call of the system.

paho reads a packet in four calls, each of which lets go of the interpreter's lock and waits for it again:
beside a thread that computes it came to about a thousand packets a second. Here the socket is read in large
pieces, and packets are handled until nothing is left of the piece.
"""

from __future__ import annotations

from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode

READ_BYTES: Final = 262_144
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

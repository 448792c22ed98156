"""Does the broker take chunks at all? Brokers cap packets, some by hanging up without a word.

A broker that says its limit in CONNACK (MQTT 5) is believed. One that hangs up LOST_IN_A_ROW times while a
chunk was on its way gets none for RETRY_S: wants go on, and devices fetch over HTTPS.
"""

from __future__ import annotations

from typing import Final

from edgepress_devices.protocol import CHUNK_MAX_BYTES

PACKET_BYTES: Final = CHUNK_MAX_BYTES + 200  # topic, header, MQTT 5 properties
LOST_IN_A_ROW: Final = 3
RETRY_S: Final = 300.0


class ChunkLimits:
    def __init__(self) -> None:
        self.problem: str | None = None
        self._lost = 0
        self._until: float | None = None

    def connected(self, packet_max_bytes: int | None, now: float) -> None:
        """``packet_max_bytes``: as the broker said; None: it said nothing."""
        if packet_max_bytes is not None and packet_max_bytes < PACKET_BYTES:
            self._stop(now, f"it takes packets of {packet_max_bytes} bytes at most")
        elif self._until is not None and now >= self._until:
            self._until, self._lost, self.problem = None, 0, None

    def lost(self, *, chunk_under_way: bool, reason: str | None, now: float) -> None:
        """The connection broke. ``reason``: the broker's, where it gave one."""
        if not chunk_under_way:
            return
        self._lost += 1
        if reason is not None and "too large" in reason.lower():
            self._stop(now, "it calls them too large")
        elif self._lost >= LOST_IN_A_ROW:
            self._stop(now, f"it hung up {self._lost} times in a row while one was sent")

    def refused(self, reason: str, now: float) -> None:
        """The broker acknowledged a chunk with a reason for not taking it."""
        self._stop(now, f"it refuses them: {reason}")

    def acknowledged(self) -> None:
        """A chunk was taken."""
        if self._until is None:
            self._lost, self.problem = 0, None

    def allowed(self, now: float) -> bool:
        return self._until is None or now >= self._until

    def _stop(self, now: float, why: str) -> None:
        self._until = now + RETRY_S
        self.problem = (
            f"The broker takes no chunks of {CHUNK_MAX_BYTES} bytes: {why}. Raise its largest message to "
            f"{PACKET_BYTES} bytes or more (mosquitto: max_packet_size, NATS: max_payload, EMQX: "
            "mqtt.max_packet_size). Meanwhile devices fetch over HTTPS."
        )

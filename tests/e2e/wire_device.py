"""A device that is nothing but the wire protocol: it enrols, takes wants, fetches chunks, sends telemetry.

The agent is tested elsewhere; here a test sees each message and can leave out, repeat or forge one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import urllib.request
from collections.abc import Callable
from typing import Any, Final

import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from installation import wait_for
from paho.mqtt.enums import CallbackAPIVersion

from edgepress_agent.seal import open_chunk, open_content_key
from edgepress_agent.trust import Accepted, Floors, load_root, verify_want
from edgepress_devices.protocol import (
    Ack,
    Need,
    Sample,
    State,
    TelemetryBatch,
    chunk_topic,
    down_topic,
    encode_batch,
    from_json,
    to_json,
    up_topic,
)

WAIT_S: Final = 60.0  # two cores may be shared with other work


def enrol(url: str, code: str, key: X25519PrivateKey) -> dict[str, Any]:
    public_key = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    body = {
        "code": code,
        "public_key": public_key,
        "hardware": {"machine": "x86_64"},
        "agent_version": "0.1.0",
    }
    request = urllib.request.Request(
        f"{url}/api/v1/enroll", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


class Wire:
    """One MQTT connection that remembers what came; ``wait`` for it."""

    def __init__(self, port: int, username: str | None = None, password: str | None = None) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.granted: list[int] = []
        self.refused: str | None = None  # why the broker did not let us in, or hung up
        self.connected = False
        self._changed = threading.Condition()
        self.client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"edgepress-{username}",  # a broker that knows us takes no other
            protocol=mqtt.MQTTv5,
            reconnect_on_failure=False,
        )
        if username is None:  # the embedded broker speaks 3.1.1
            self.client = mqtt.Client(CallbackAPIVersion.VERSION2, reconnect_on_failure=False)
        else:
            self.client.username_pw_set(username, password)
        self.client.on_connect = self._on_connect
        self.client.on_disconnect = self._on_disconnect
        self.client.on_message = self._on_message
        self._port = port

    def connect(self, will_topic: str | None = None) -> Wire:
        if will_topic is not None:
            self.client.will_set(will_topic, to_json(State(online=False)), qos=1, retain=True)
        self.client.connect("127.0.0.1", self._port)
        self.client.loop_start()
        self.wait("an answer to CONNECT", lambda: self.connected or self.refused)
        return self

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def subscribe(self, *topics: str) -> None:
        self.client.subscribe([(topic, 1) for topic in topics])

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(WAIT_S)

    def last(self, topic: str) -> bytes | None:
        return next((payload for found, payload in reversed(self.messages) if found == topic), None)

    def wait(self, what: str, done: Callable[[], object], seconds: float = WAIT_S) -> None:
        with self._changed:
            assert self._changed.wait_for(done, seconds), f"{what} did not come in {seconds:.0f} s"

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            self.connected, self.refused = not reason.is_failure, str(reason) if reason.is_failure else None
            self._changed.notify_all()

    def _on_disconnect(self, *_: Any) -> None:
        with self._changed:
            self.connected, self.refused = False, self.refused or "hung up"
            self._changed.notify_all()

    def _on_message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        with self._changed:
            self.messages.append((message.topic, bytes(message.payload)))
            self._changed.notify_all()


class WireDevice:
    def __init__(self, name: str, url: str, code: str) -> None:
        self.name = name
        self.key = X25519PrivateKey.generate()
        answer = enrol(url, code, self.key)
        self.profile: str = answer["profile"]
        self.mqtt: dict[str, Any] = answer["mqtt"]
        self._root = load_root(json.dumps(answer["root"]).encode())
        self._seq = 0
        self.wire = self.new_wire()

    def new_wire(self) -> Wire:
        """Embedded brokers take anyone; a real one is told who this is."""
        return Wire(self.mqtt["port"], self.mqtt["username"], self.mqtt["password"])

    def connect(self) -> None:
        """Again and again while the broker does not know its new user yet; that takes a moment."""

        def connected() -> bool:
            self.wire = self.new_wire()
            try:
                self.wire.connect(up_topic(self.name, "state"))
            except OSError:  # the broker is on its way back
                return False
            if not self.wire.connected:
                self.wire.close()
            return self.wire.connected

        wait_for("the broker to let the device in", connected, WAIT_S)
        self.wire.subscribe(down_topic(self.name, "want"), down_topic(self.name, "ack"))
        self.report(State(online=True, step="idle"))

    def report(self, state: State) -> None:
        self._seq += 1
        state.seq, state.at_ms = self._seq, 1_800_000_000_000
        self.wire.publish(up_topic(self.name, "state"), to_json(state), retain=True)

    def want(self, digest: str | None) -> Accepted:
        """The want for this digest, verified; waits for it."""

        def arrived() -> Accepted | None:
            payload = self.wire.last(down_topic(self.name, "want"))
            if not payload:
                return None
            accepted = verify_want(
                payload,
                root=self._root,
                device=self.name,
                profile=self.profile,
                floors=Floors(),
                clock_s=0,
            )
            return accepted if accepted.want.digest == digest else None

        self.wire.wait(f"the want for {digest}", arrived)
        accepted = arrived()
        assert accepted is not None
        return accepted

    def fetch(self, accepted: Accepted, *, ask_for: set[int] | None = None) -> bytes:
        """The artifact from its chunks; ``ask_for`` these with a need, after subscribing to all."""
        want = accepted.want
        digest = want.digest or ""
        key = open_content_key(want.sealed_key, self.key, device=self.name, digest=digest)
        topics = [chunk_topic(digest, n) for n in range(want.chunks)]
        for start in range(0, want.chunks, 16):
            self.wire.subscribe(*topics[start : start + 16])
        if ask_for:
            self.need(digest, want.chunks, ask_for)
        self.wire.wait("all chunks", lambda: all(self.wire.last(topic) for topic in topics))
        data = b"".join(
            open_chunk(
                self.wire.last(topic) or b"",
                key=key,
                digest=digest,
                n=n,
                chunks=want.chunks,
                artifact_bytes=want.size,
            )
            for n, topic in enumerate(topics)
        )
        assert hashlib.sha256(data).hexdigest() == digest
        return data

    def need(self, digest: str, chunks: int, missing: set[int]) -> None:
        bitmap = bytearray(-(-chunks // 8))
        for n in missing:
            bitmap[n >> 3] |= 128 >> (n & 7)
        need = Need(digest, chunks, base64.b64encode(bitmap).decode())
        self.wire.publish(up_topic(self.name, "need"), to_json(need))

    def commit(self, accepted: Accepted) -> None:
        self.report(
            State(
                online=True,
                running=accepted.want.digest,
                running_release=accepted.release,
                want=accepted.counter,
                step="committed",
            )
        )

    def send_batch(self, number: int, *samples: Sample, epoch: str = "epoch") -> None:
        self.wire.publish(
            up_topic(self.name, "telemetry"), encode_batch(TelemetryBatch(1, epoch, number, list(samples)))
        )

    def acknowledged(self) -> int:
        payload = self.wire.last(down_topic(self.name, "ack"))
        return from_json(Ack, payload).number if payload else 0

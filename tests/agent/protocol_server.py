"""A small server that speaks the protocol's server side to real agents: enrolment over HTTP, and MQTT.

It does what the design says and nothing more: chunks and wants retained, ``need`` answered, telemetry stored
once and acknowledged. Tests read what it saw.
"""

import base64
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeVar

import iotcore
import msgspec
import paho.mqtt.client as mqtt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from paho.mqtt.enums import CallbackAPIVersion
from release_side import Release, ReleaseSide

from edgepress_devices import protocol
from edgepress_devices.protocol import Ack, Need, ProfilingReport, Sample, ServerState, State, to_json

T = TypeVar("T")


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class LocalBroker:
    """iotcore on loopback; it can go away and come back at the same port, having forgotten everything."""

    def __init__(self) -> None:
        self.port = free_port()
        self._broker: iotcore.Broker | None = None
        self.start()

    def start(self) -> None:
        self._broker = iotcore.Broker(
            port=self.port, listen="127.0.0.1", max_payload_size=400_000, max_inflight_count=1000
        )
        self._broker.start()

    def stop(self) -> None:
        if self._broker is not None:
            self._broker.stop()
            self._broker = None


class ProtocolServer:
    """Everything the agent sees of a server. Use as a context."""

    def __init__(self) -> None:
        self.side = ReleaseSide()
        self.broker = LocalBroker()
        self.changed = threading.Condition()
        self.states: dict[str, list[State]] = {}
        self.telemetry: dict[tuple[str, str, int], list[Sample]] = {}  # (device, epoch, number)
        self.telemetry_twice = 0
        self.reports: dict[str, list[ProfilingReport]] = {}  # by device, each batch once
        self.needs: list[tuple[str, list[int]]] = []  # (device, chunks)
        self.codes: dict[str, tuple[str, str]] = {}  # code -> (device, profile)
        self.used_codes: set[str] = set()
        self.expired_codes: set[str] = set()
        self.keys: dict[str, X25519PublicKey] = {}
        self.counters: dict[str, int] = {}
        self.releases: dict[str, Release] = {}
        self.wants: dict[str, bytes] = {}
        self.withheld: set[int] = set()  # chunks that are not published, whoever asks
        self.damaged: set[int] = set()  # chunks that are published with a flipped bit, until asked for
        self.tickets: set[str] = set()  # that are good for chunks over HTTP
        self.over_https: list[tuple[int, int]] = []  # (first, count) of the chunks that were asked for
        self.silent = False  # stores nothing and acknowledges nothing
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        self._mqtt: mqtt.Client | None = None
        self.connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()
        self.broker.stop()
        self._http.shutdown()
        self._http.server_close()

    # --- for the tests ------------------------------------------------------------------------------------

    def wait_for(self, what: Callable[[], T | None], seconds: float = 30.0) -> T:
        """What ``what`` returns once it is something; it is asked again whenever a message came."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while not (found := what()):
                left = deadline - time.monotonic()
                if left <= 0:
                    states = {name: states[-1:] for name, states in self.states.items()}
                    raise AssertionError(f"it did not happen within {seconds} s; last states: {states}")
                self.changed.wait(min(left, 0.2))
            return found

    def state(self, device: str) -> State | None:
        """The newest full state of a device."""
        states = [s for s in self.states.get(device, []) if s.online]
        return states[-1] if states else None

    def wait_committed(self, device: str, release: Release, seconds: float = 30.0) -> State:
        def committed() -> State | None:
            state = self.state(device)
            done = state is not None and state.running == release.digest and state.step == "committed"
            return state if done else None

        return self.wait_for(committed, seconds)

    def wait_step(self, device: str, step: str, seconds: float = 30.0) -> State:
        return self.wait_for(
            lambda: next((s for s in self.states.get(device, []) if s.step == step), None), seconds
        )

    def push(self, device: str, release: Release, **changes: Any) -> int:
        """Publish the chunks and a want for ``release``; the want's counter."""
        self.publish_chunks(release)
        return self.want(device, release, **changes)

    def want(
        self, device: str, release: Release | None, *, counter: int | None = None, **changes: Any
    ) -> int:
        counter = self.counters.get(device, 0) + 1 if counter is None else counter
        self.counters[device] = max(counter, self.counters.get(device, 0))
        payload = self.side.want(device, self.keys[device], release, counter=counter, **changes)
        self.publish_want(device, payload)
        return counter

    def publish_want(self, device: str, payload: bytes) -> None:
        self.wants[device] = payload
        self._publish(protocol.down_topic(device, "want"), payload, retain=True)

    def publish_chunks(self, release: Release) -> None:
        self.releases[release.digest] = release
        for n in range(release.chunks):
            self._publish_chunk(release, n)

    def forget_chunks(self, release: Release) -> None:
        """Clear the retained chunks, as after a broker restart."""
        for n in range(release.chunks):
            self._publish(protocol.chunk_topic(release.digest, n), b"", retain=True)

    def samples(self, device: str) -> list[Sample]:
        with self.changed:
            rows = [s for (name, _, _), samples in self.telemetry.items() if name == device for s in samples]
        return sorted(rows, key=lambda s: s.at_ms)

    # --- MQTT ---------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect to the broker and publish everything that is retained, as after its restart."""
        ready = threading.Event()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="server", protocol=mqtt.MQTTv311)
        client.on_message = self._message
        client.on_subscribe = lambda *_: ready.set()
        client.on_connect = lambda c, *_: c.subscribe(protocol.ALL_UP_TOPICS, 1)
        client.will_set(protocol.SERVER_STATE_TOPIC, to_json(ServerState(online=False)), 1, retain=True)
        client.connect("127.0.0.1", self.broker.port)
        client.loop_start()
        assert ready.wait(10), "the broker does not answer"
        self._mqtt = client
        self._publish(protocol.SERVER_STATE_TOPIC, to_json(ServerState(online=True)), retain=True)
        for release in self.releases.values():
            self.publish_chunks(release)
        for device, payload in self.wants.items():
            self.publish_want(device, payload)

    def disconnect(self) -> None:
        if self._mqtt is not None:
            self._mqtt.disconnect()
            self._mqtt.loop_stop()
            self._mqtt = None

    def _publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        if self._mqtt is not None:
            self._mqtt.publish(topic, payload, qos=1, retain=retain)

    def _publish_chunk(self, release: Release, n: int) -> None:
        if n in self.withheld:
            return
        payload = release.chunk(n)
        if n in self.damaged:
            payload = payload[:100] + bytes([payload[100] ^ 1]) + payload[101:]
        self._publish(protocol.chunk_topic(release.digest, n), payload, retain=True)

    def _message(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        device, leaf = protocol.parse_up_topic(message.topic)
        with self.changed:
            if leaf == "state":
                state = protocol.from_json(State, message.payload)
                self.states.setdefault(device, []).append(state)
            elif leaf == "need":
                need = protocol.from_json(Need, message.payload)
                bits = base64.b64decode(need.missing)
                chunks = [n for n in range(need.chunks) if bits[n // 8] & (0x80 >> n % 8)]
                self.needs.append((device, chunks))
                for n in chunks:
                    self.damaged.discard(n)
                    self._publish_chunk(self.releases[need.digest], n)
            elif not self.silent:
                batch = protocol.decode_batch(message.payload)
                key = device, batch.epoch, batch.number
                self.telemetry_twice += key in self.telemetry
                if key not in self.telemetry:
                    self.reports.setdefault(device, []).extend(batch.reports)
                self.telemetry.setdefault(key, batch.samples)
                self._publish(protocol.down_topic(device, "ack"), to_json(Ack(batch.epoch, batch.number)))
            self.changed.notify_all()

    # --- enrolment ----------------------------------------------------------------------------------------

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = server._enroll(self.path, body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                """Ranges of all chunks of a release joined, as the protocol's head says."""
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
                release = server.releases.get(self.path.removeprefix("/api/v1/chunks/"))
                ticket = (self.headers["Authorization"] or "").removeprefix("Bearer ")
                if asked is None or release is None or ticket not in server.tickets:
                    self.send_error(403)
                    return
                first, end = int(asked[1]) // protocol.CHUNK_MAX_BYTES, int(asked[2]) + 1
                last = -(-end // protocol.CHUNK_MAX_BYTES)
                data = b"".join(release.chunk(n) for n in range(first, min(last, release.chunks)))
                server.over_https.append((first, last - first))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {asked[1]}-{asked[2]}/*")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def _enroll(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path != "/api/v1/enroll":
            return 404, {"error": {"code": "not_found", "message": "nothing is here"}}
        code = body["code"]
        if code in self.expired_codes:
            return 410, _error("code_expired", "this code has expired; make a new one on the server")
        if code in self.used_codes:
            return 409, _error("code_used", "this code was used already; make a new one on the server")
        if code not in self.codes:
            return 404, _error("code_unknown", "no such code; copy it again from the server")
        self.used_codes.add(code)
        device, profile = self.codes[code]
        self.keys[device] = X25519PublicKey.from_public_bytes(
            base64.b64decode(body["public_key"], validate=True)
        )
        return 200, {
            "device": device,
            "profile": profile,
            "mqtt": {
                "host": "127.0.0.1",
                "port": self.broker.port,
                "tls": False,
                "username": None,
                "password": None,
            },
            "root": self.side.root.to_dict(),
            "server_time_ms": time.time_ns() // 1_000_000,
        }


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": msgspec.to_builtins({"code": code, "message": message})}

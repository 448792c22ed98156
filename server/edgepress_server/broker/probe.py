"""One MQTT client of the broker check: connects, subscribes, publishes, waits; tells what the broker said."""

from __future__ import annotations

import secrets
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edgepress_server.errors import InvalidInputError

Version = Literal["3.1.1", "5"]

ANSWER_S: Final = 4.0
KEEPALIVE_S: Final = 30
REFUSED_FROM: Final = 128


@dataclass(frozen=True)
class Target:
    """A broker to look at, and as whom."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def read_target(
    url: str, *, ca: Path | None = None, username: str | None = None, password: str | None = None
) -> Target:
    """``mqtt://host[:port]`` or ``mqtts://host[:port]``. Raises InvalidInputError."""
    parts = urlsplit(url if "//" in url else f"mqtt://{url}")
    try:
        port = parts.port
    except ValueError as error:
        raise InvalidInputError("bad_url", f"{url!r} has no usable port: {error}.") from error
    if parts.scheme not in ("mqtt", "mqtts", "tcp", "ssl") or not parts.hostname:
        raise InvalidInputError(
            "bad_url", f"{url!r} is no broker's address; give one such as mqtts://broker.example.org:8883."
        )
    has_tls = parts.scheme in ("mqtts", "ssl") or ca is not None
    try:
        tls = ssl.create_default_context(cafile=None if ca is None else str(ca)) if has_tls else None
    except (OSError, ssl.SSLError) as error:
        raise InvalidInputError("bad_ca", f"{ca} is no usable CA certificate (PEM): {error}.") from error
    return Target(
        parts.hostname,
        port or (8883 if has_tls else 1883),
        tls,
        username if username is not None else parts.username,
        password if password is not None else parts.password,
    )


@dataclass(frozen=True)
class Received:
    topic: str
    payload: bytes
    retained: bool


class Probe:
    """A connection; leave the ``with`` block to close it. ``error`` says why there is none, or no more."""

    def __init__(
        self,
        target: Target,
        version: Version = "3.1.1",
        *,
        client_id: str | None = None,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        self.received: list[Received] = []
        self.error: str | None = None
        self.properties: dict[str, Any] = {}  # of CONNACK, MQTT 5
        self.tls_version: str | None = None
        self.certificate: dict[str, Any] = {}
        self._changed = threading.Condition()
        self._granted: dict[int, list[int]] = {}
        self._acknowledged: dict[int, str | None] = {}  # message id -> why it was refused
        self._connected = False
        self._target = target
        is_5 = version == "5"
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id or f"edgepress-check-{secrets.token_hex(6)}",
            protocol=MQTTProtocolVersion.MQTTv5 if is_5 else MQTTProtocolVersion.MQTTv311,
            clean_session=None if is_5 else True,
            reconnect_on_failure=False,
        )
        if target.username is not None:
            self._client.username_pw_set(target.username, target.password)
        if target.tls is not None:
            self._client.tls_set_context(target.tls)
        if will is not None:
            self._client.will_set(will[0], will[1], qos=1, retain=True)
        self._client.max_inflight_messages_set(1000)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message

    def connect(self) -> bool:
        """True when the broker let us in; ``error`` otherwise."""
        try:
            self._client.connect(self._target.host, self._target.port, keepalive=KEEPALIVE_S)
        except ssl.SSLError as error:
            self.error = f"TLS failed: {error.reason or error}"
            return False
        except OSError as error:
            self.error = error.strerror or str(error)
            return False
        sock = self._client.socket()
        if isinstance(sock, ssl.SSLSocket):
            self.tls_version, self.certificate = sock.version(), dict(sock.getpeercert() or {})
        self._client.loop_start()
        self.wait(lambda: self._connected or self.error is not None)
        if not self._connected and self.error is None:
            self.error = f"no answer to CONNECT in {ANSWER_S:.0f} s"
        return self._connected

    def subscribe(self, *topics: str) -> list[bool] | None:
        """Which of the filters were granted; None: no answer."""
        result, mid = self._client.subscribe([(topic, 1) for topic in topics])
        if result != paho.MQTT_ERR_SUCCESS or not self.wait(lambda: mid in self._granted):
            return None
        return [code < REFUSED_FROM for code in self._granted[mid or 0]]

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Its message id, for `taken`."""
        return self._client.publish(topic, payload, qos=1, retain=retain).mid

    def taken(self, *mids: int) -> bool:
        """All were acknowledged, and none with a reason for refusing it."""
        self.wait(lambda: all(mid in self._acknowledged for mid in mids) or self.error is not None)
        return all(self._acknowledged.get(mid, "not acknowledged") is None for mid in mids)

    def refusal(self, mid: int) -> str | None:
        return self._acknowledged.get(mid)

    def messages(self, topic: str) -> list[Received]:
        return [message for message in self.received if message.topic == topic]

    def wait(self, done: Callable[[], object], seconds: float = ANSWER_S) -> bool:
        with self._changed:
            return bool(self._changed.wait_for(done, seconds))

    def drop(self) -> None:
        """Hang up without a word, as a device that loses power."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):  # TLS, too
            sock.shutdown(socket.SHUT_RDWR)
        self._client.loop_stop()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __enter__(self) -> Probe:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- the network thread ---------------------------------------------------------------------------------

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            if reason.is_failure:
                self.error = str(reason)
            else:
                self._connected = True
                self.properties = {} if properties is None else properties.json()
            self._changed.notify_all()

    def _on_disconnect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._connected = False
            said = str(reason) if flags.is_disconnect_packet_from_server else "hung up"
            self.error = self.error or said
            self._changed.notify_all()

    def _on_subscribe(self, _client: Any, _data: Any, mid: int, reasons: Any, _properties: Any) -> None:
        with self._changed:
            self._granted[mid] = [reason.value for reason in reasons]
            self._changed.notify_all()

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        with self._changed:
            self._acknowledged[mid] = str(reason) if reason.is_failure else None
            self._changed.notify_all()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        with self._changed:
            self.received.append(Received(message.topic, bytes(message.payload), message.retain))
            self._changed.notify_all()


def seconds_until_hung_up(target: Target, keepalive_s: int, longest_s: float) -> float | None:
    """Connect with this keep-alive and then be silent; None: still connected after ``longest_s``.

    By hand: a client library would send its pings.
    """
    identity = f"edgepress-check-{secrets.token_hex(6)}".encode()
    flags = 0x02 | (0x80 if target.username is not None else 0) | (0x40 if target.password is not None else 0)
    body = struct.pack(">H4sBBH", 4, b"MQTT", 4, flags, keepalive_s)
    texts = [identity]
    texts += [text.encode() for text in (target.username, target.password) if text is not None]
    body += b"".join(struct.pack(">H", len(text)) + text for text in texts)
    length, head = len(body), bytearray([0x10])
    while True:
        length, low = divmod(length, 128)
        head.append(low | (0x80 if length else 0))
        if not length:
            break
    try:
        raw = socket.create_connection((target.host, target.port), timeout=ANSWER_S)
        with raw if target.tls is None else target.tls.wrap_socket(raw, server_hostname=target.host) as sock:
            sock.sendall(bytes(head) + body)
            sock.recv(64)
            started = time.monotonic()
            sock.settimeout(longest_s)
            while sock.recv(256):  # a DISCONNECT, perhaps
                continue
            return time.monotonic() - started
    except TimeoutError:
        return None
    except OSError:
        return time.monotonic() - started if "started" in locals() else None

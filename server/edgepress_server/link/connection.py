"""One MQTT connection after the other, kept up; what arrives goes into queues and nothing else happens here.

paho calls back on its network thread, where waiting for anything would stop the network. So the callbacks
only enqueue. Each connection is a new paho client: one that reconnects would first send again whatever was
under way when it broke, so an old want could arrive after its successor.
"""

from __future__ import annotations

import logging
import queue
import random
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgepress_devices.protocol import (
    NEED_MAX_BYTES,
    SERVER_STATE_TOPIC,
    UP_TOPICS,
    ProtocolError,
    ServerState,
    parse_up_topic,
    to_json,
)
from edgepress_server.broker.address import BrokerAddress
from edgepress_server.link.quick_client import QuickClient

log = logging.getLogger(__name__)

KEEPALIVE_S: Final = 30
BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MOST_S: Final = 15.0
INFLIGHT: Final = 100  # unacknowledged QoS 1 messages that paho has on the way at a time
EVENTS_MAX: Final = 100_000
WAITING_MAX_BYTES: Final = 64 * 1024 * 1024  # of messages that nobody has looked at yet


@dataclass(frozen=True)
class Connected:
    connection: int  # number of this connection, 1, 2, 3 ...
    packet_max_bytes: int | None = None  # as the broker says; None: it says nothing


@dataclass(frozen=True)
class Disconnected:
    connection: int
    reason: str | None = None  # the broker's, where it gave one (MQTT 5)


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes


@dataclass(frozen=True)
class Needed:
    """Something lies in `Connection.take_need` for this device."""

    device: str


@dataclass(frozen=True)
class Acknowledged:
    connection: int
    mid: int
    refusal: str | None = None  # why the broker did not take the message (MQTT 5)


Event = Connected | Disconnected | Message | Needed | Acknowledged


class Connection:
    """``events`` is drained by the link, which tells each message's size to `taken`. ``take_telemetry(topic,
    payload)`` is called on the network thread and returns at once. ``will``: what the broker says when this
    connection is lost. ``topics``: what is subscribed to at once; the rest is the link's to decide.
    """

    def __init__(
        self,
        broker: BrokerAddress,
        take_telemetry: Callable[[str, bytes], None],
        *,
        topics: Sequence[str] = UP_TOPICS,
        will: bytes = to_json(ServerState(online=False)),
    ) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self._broker = broker
        self._take_telemetry = take_telemetry
        self._topics = topics
        self._will = will
        self.farewell: bytes | None = None  # published at an orderly end, once this server is the broker's
        self._needs: dict[str, bytes] = {}  # device -> its newest question
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._mqtt5 = broker.mqtt5
        self._client: QuickClient | None = None
        self._number = 0
        self._greeted = False  # the broker has answered CONNECT, with whatever
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        self._dropped = 0

    @property
    def broker(self) -> BrokerAddress:
        return self._broker

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Say goodbye and end. The broker publishes no will then, so this says that the server is gone."""
        self._stop.set()
        client = self._client
        if client is not None and client.is_connected():
            if self.farewell is not None:
                client.publish(SERVER_STATE_TOPIC, self.farewell, qos=1, retain=True)
            client.disconnect()
        self._thread.join(3.0)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int | None:
        """The message id that `Acknowledged` will carry, or None when there is no connection."""
        client = self._client
        if client is None or not client.is_connected():
            return None
        info = client.publish(topic, payload, qos=qos, retain=retain)
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def publish_all(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """QoS 0, not retained; lost where there is no connection."""
        client = self._client
        if client is not None and client.is_connected():
            client.publish_all(messages)

    def subscribe(self, *topics: str) -> None:
        """Lost with the connection."""
        client = self._client
        if client is not None and topics:
            client.subscribe([(topic, _qos(topic)) for topic in topics])

    def unsubscribe(self, *topics: str) -> None:
        client = self._client
        if client is not None and topics:
            client.unsubscribe(list(topics))

    def taken(self, message: Message) -> None:
        """It is handled; its bytes count no longer."""
        with self._lock:
            self._waiting_bytes -= len(message.payload)

    def take_need(self, device: str) -> bytes | None:
        """The device's newest question, once."""
        with self._lock:
            return self._needs.pop(device, None)

    # --- the network thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while not self._stop.is_set():
            self._number += 1
            self._greeted = False
            self._ended_by: str | None = None
            client = self._make_client()
            try:
                if self._broker.socket is not None:
                    client.connect(str(self._broker.socket), keepalive=KEEPALIVE_S)
                else:
                    client.connect(self._broker.host, self._broker.port, keepalive=KEEPALIVE_S)
                self._client = client
                client.loop_forever()
            except OSError as error:  # ssl.SSLError too
                log.log(
                    logging.WARNING if backoff_s == BACKOFF_MOST_S else logging.INFO,
                    "no connection to the MQTT broker %s (%s); trying again",
                    self._broker,
                    error,
                )
            else:
                if not self._greeted and self._broker.mqtt5:
                    self._mqtt5 = (
                        not self._mqtt5
                    )  # it hung up on CONNECT: perhaps it knows only the other version
            self._client = None
            self.events.put(Disconnected(self._number, self._ended_by))
            if self._was_connected:
                backoff_s = BACKOFF_FIRST_S
            self._stop.wait(backoff_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, so that not all come at once
            backoff_s = min(backoff_s * 2, BACKOFF_MOST_S)

    def _make_client(self) -> QuickClient:
        version = MQTTProtocolVersion.MQTTv5 if self._mqtt5 else MQTTProtocolVersion.MQTTv311
        client = QuickClient(
            CallbackAPIVersion.VERSION2,
            client_id=f"edgepress-link-{secrets.token_hex(6)}",
            protocol=version,
            clean_session=None if self._mqtt5 else True,
            transport="tcp" if self._broker.socket is None else "unix",
            reconnect_on_failure=False,
        )
        if self._broker.username is not None:
            client.username_pw_set(self._broker.username, self._broker.password)
        if self._broker.tls is not None:
            client.tls_set_context(self._broker.tls)
            # What is to be sent is then left to paho's loop. Without it whoever publishes writes to the
            # socket while the loop reads from it, and OpenSSL allows one thread at a time.
            client.on_socket_register_write = lambda _client, _data, _sock: None
        client.max_inflight_messages_set(INFLIGHT)
        client.will_set(SERVER_STATE_TOPIC, self._will, qos=1, retain=True)
        self._was_connected = False
        number = self._number

        def on_socket_open(_client: paho.Client, _data: Any, sock: Any) -> None:
            if self._broker.socket is None:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def on_connect(
            connected: paho.Client,
            _data: Any,
            _flags: Any,
            reason: ReasonCode,
            properties: Properties | None,
        ) -> None:
            self._on_connect(connected, number, reason, properties)

        def on_disconnect(
            _client: paho.Client,
            _data: Any,
            flags: paho.DisconnectFlags,
            reason: ReasonCode,
            _properties: Properties | None,
        ) -> None:
            if flags.is_disconnect_packet_from_server:
                self._ended_by = str(reason)

        def on_subscribe(
            _client: paho.Client,
            _data: Any,
            _mid: int,
            reasons: list[ReasonCode],
            _properties: Properties | None,
        ) -> None:
            if any(reason.is_failure for reason in reasons):
                log.error("the broker refuses to let the server listen to its devices: %s", reasons[0])

        def on_publish(
            _client: paho.Client, _data: Any, mid: int, reason: ReasonCode, _properties: Properties | None
        ) -> None:
            if reason.is_failure:
                log.error("the broker refuses a message of the server: %s", reason)
            self.events.put(Acknowledged(number, mid, str(reason) if reason.is_failure else None))

        client.on_socket_open = on_socket_open
        client.on_connect = on_connect
        client.on_disconnect = on_disconnect
        client.on_subscribe = on_subscribe
        client.on_publish = on_publish
        client.on_message = self._on_message
        return client

    def _on_connect(
        self, client: paho.Client, number: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self._greeted = True
        if reason.is_failure:
            if self._mqtt5 and reason.getName() == "Unsupported protocol version":
                self._mqtt5 = False
                log.info("the MQTT broker does not speak MQTT 5; going on with 3.1.1")
                return
            log.error("the MQTT broker refuses the server: %s", reason)
            return
        self._was_connected = True
        log.info("connected to the MQTT broker with MQTT %s", "5" if self._mqtt5 else "3.1.1")
        client.subscribe([(topic, _qos(topic)) for topic in self._topics])
        limit = getattr(properties, "MaximumPacketSize", None) if properties is not None else None
        self.events.put(Connected(number, limit))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # no topic of ours
            return
        payload = bytes(message.payload)
        if topic.endswith("/telemetry"):
            self._take_telemetry(topic, payload)
        elif topic.endswith("/need"):
            self._keep_need(topic, payload)
        elif self.events.qsize() < EVENTS_MAX and self._has_room(len(payload)):
            self.events.put(Message(topic, payload))
        else:
            self._drop()

    def _keep_need(self, topic: str, payload: bytes) -> None:
        """Only the newest of each device: who asks all the time takes no more room than who asks once."""
        try:
            device, _ = parse_up_topic(topic)
        except ProtocolError:
            return
        if len(payload) > NEED_MAX_BYTES:
            self._drop()
            return
        with self._lock:
            is_first = device not in self._needs
            self._needs[device] = payload
        if is_first:
            self.events.put(Needed(device))

    def _has_room(self, size: int) -> bool:
        with self._lock:
            if self._waiting_bytes + size > WAITING_MAX_BYTES:
                return False
            self._waiting_bytes += size
            return True

    def _drop(self) -> None:
        self._dropped += 1
        if self._dropped % 10_000 == 1:
            log.error("messages come faster than they are handled; %s were dropped", self._dropped)


def _qos(topic: str) -> int:
    """Of a subscription. Telemetry is acknowledged by number, to the device: the broker need not keep it for
    us as well, and mosquitto loses less of it so (a lone subscriber at saturation).
    """
    return 0 if topic.endswith("/telemetry") else 1

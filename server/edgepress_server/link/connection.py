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
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgepress_devices.protocol import ALL_UP_TOPICS, SERVER_STATE_TOPIC, ServerState, to_json
from edgepress_server.broker.address import BrokerAddress

log = logging.getLogger(__name__)

KEEPALIVE_S: Final = 30
BACKOFF_FIRST_S: Final = 0.2
BACKOFF_MOST_S: Final = 15.0
INFLIGHT: Final = 100  # unacknowledged QoS 1 messages that paho has on the way at a time
EVENTS_MAX: Final = 100_000


@dataclass(frozen=True)
class Connected:
    connection: int  # number of this connection, 1, 2, 3 ...


@dataclass(frozen=True)
class Disconnected:
    connection: int


@dataclass(frozen=True)
class Message:
    topic: str
    payload: bytes


@dataclass(frozen=True)
class Acknowledged:
    connection: int
    mid: int


Event = Connected | Disconnected | Message | Acknowledged


class Connection:
    """``events`` is drained by the link. ``take_telemetry(topic, payload)`` is called on the network thread
    and returns at once."""

    def __init__(self, broker: BrokerAddress, take_telemetry: Callable[[str, bytes], None]) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self._broker = broker
        self._take_telemetry = take_telemetry
        self._mqtt5 = broker.mqtt5
        self._client: paho.Client | None = None
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
            client.publish(SERVER_STATE_TOPIC, to_json(ServerState(online=False)), qos=1, retain=True)
            client.disconnect()
        self._thread.join(3.0)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> int | None:
        """The message id that `Acknowledged` will carry, or None when there is no connection."""
        client = self._client
        if client is None or not client.is_connected():
            return None
        info = client.publish(topic, payload, qos=qos, retain=retain)
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    # --- the network thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        backoff_s = BACKOFF_FIRST_S
        while not self._stop.is_set():
            self._number += 1
            self._greeted = False
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
            self.events.put(Disconnected(self._number))
            if self._was_connected:
                backoff_s = BACKOFF_FIRST_S
            self._stop.wait(backoff_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, so that not all come at once
            backoff_s = min(backoff_s * 2, BACKOFF_MOST_S)

    def _make_client(self) -> paho.Client:
        version = MQTTProtocolVersion.MQTTv5 if self._mqtt5 else MQTTProtocolVersion.MQTTv311
        client = paho.Client(
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
        client.max_inflight_messages_set(INFLIGHT)
        client.will_set(SERVER_STATE_TOPIC, to_json(ServerState(online=False)), qos=1, retain=True)
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
            _properties: Properties | None,
        ) -> None:
            self._on_connect(connected, number, reason)

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
            self.events.put(Acknowledged(number, mid))

        client.on_socket_open = on_socket_open
        client.on_connect = on_connect
        client.on_subscribe = on_subscribe
        client.on_publish = on_publish
        client.on_message = self._on_message
        return client

    def _on_connect(self, client: paho.Client, number: int, reason: ReasonCode) -> None:
        self._greeted = True
        if reason.is_failure:
            if reason.getName() == "Unsupported protocol version":
                self._mqtt5 = False
            log.error("the MQTT broker refuses the server: %s", reason)
            return
        self._was_connected = True
        log.info("connected to the MQTT broker with MQTT %s", "5" if self._mqtt5 else "3.1.1")
        client.subscribe(ALL_UP_TOPICS, qos=1)
        client.publish(SERVER_STATE_TOPIC, to_json(ServerState(online=True)), qos=1, retain=True)
        self.events.put(Connected(number))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # no topic of ours
            return
        if topic.endswith("/telemetry"):
            self._take_telemetry(topic, bytes(message.payload))
        elif self.events.qsize() < EVENTS_MAX:
            self.events.put(Message(topic, bytes(message.payload)))
        else:
            self._dropped += 1
            if self._dropped % 10_000 == 1:
                log.error("messages come faster than they are stored; %s were dropped", self._dropped)

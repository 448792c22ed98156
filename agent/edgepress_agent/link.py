"""The connection to the broker: one paho client a connection, one thread, reconnects of its own.

Nothing here decides anything: what arrives is handed on with its topic, from the network thread, so receivers
only enqueue. A new client for each connection means that no message of an old one is sent twice; what must
not be lost is kept by its owner (retained state here, telemetry in the outbox, chunks asked for again).
"""

import logging
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgepress_agent.enrolment import Mqtt
from edgepress_agent.tls import client_context, in_words
from edgepress_agent.watchdog import HANG_S
from edgepress_devices import protocol
from edgepress_devices.protocol import State, to_json

BACK_OFF_FIRST_S: Final = 1.0
BACK_OFF_MAX_S: Final = 30.0  # so a fleet is whole again half a minute after an outage
STEADY_S: Final = 30.0  # a connection that held this long starts the back-off anew
CONNECT_TIMEOUT_S: Final = 10.0
KEEPALIVE_S: Final = 30
PACKET_MAX_BYTES: Final = 2 * protocol.CHUNK_MAX_BYTES  # nothing that a device listens to is half as large
CONNECT_S: Final = 300.0  # looking up a name and trying each of its addresses may take so long

log = logging.getLogger(__name__)


def back_off_s(attempt: int, rng: random.Random) -> float:
    """Full jitter: anywhere between nothing and a bound that doubles, so a fleet does not return as one wave.

    (Brooker 2015, "Exponential Backoff and Jitter".)
    """
    return rng.uniform(0.0, min(BACK_OFF_MAX_S, BACK_OFF_FIRST_S * 2 ** min(attempt, 16)))


class Link:
    """``received(topic, payload)``, ``up()`` and ``down()`` are called on the network thread. ``folder`` is
    where certificates lie that ``broker`` names.
    """

    def __init__(
        self,
        device: str,
        broker: Mqtt,
        *,
        folder: Path | None = None,
        received: Callable[[str, bytes], None],
        up: Callable[[], None],
        down: Callable[[], None],
        alive: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._alive = alive  # the next call comes within so many seconds
        self._device = device
        self._broker = broker
        self._folder = folder or Path()
        self.refusals = 0  # connections in a row that the broker refused, or that TLS did
        self._received = received
        self._up = up
        self._down = down
        self._state_topic = protocol.up_topic(device, "state")
        self._lock = threading.Lock()
        self._client: mqtt.Client | None = None  # while connected
        self._state: bytes | None = None
        self._stop = threading.Event()
        self._connected_s: float | None = None
        self._refused = False

    @property
    def connected(self) -> bool:
        return self._client is not None

    # --- from any thread ----------------------------------------------------------------------------------

    def use(self, broker: Mqtt) -> None:
        """Connect with these credentials from now on; a connection that stands is made anew."""
        with self._lock:
            self._broker = broker
            client = self._client
        if client is not None:
            client.disconnect()

    def publish_state(self, payload: bytes) -> None:
        """Publish the retained state, now or as soon as there is a connection."""
        with self._lock:
            self._state = payload
            if self._client is not None and not self._stop.is_set():  # nothing comes after the goodbye
                self._client.publish(self._state_topic, payload, qos=1, retain=True)

    def publish(self, topic: str, payload: bytes) -> bool:
        """QoS 1; False when there is no connection."""
        client = self._client
        return (
            client is not None and client.publish(topic, payload, qos=1).rc == MQTTErrorCode.MQTT_ERR_SUCCESS
        )

    def subscribe(self, topics: Sequence[str]) -> None:
        client = self._client
        if client is not None and topics:
            client.subscribe([(topic, 1) for topic in topics])

    def unsubscribe(self, topics: Sequence[str]) -> None:
        client = self._client
        if client is not None and topics:
            client.unsubscribe(list(topics))

    # --- the thread ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Connect and reconnect until ``close``."""
        rng = random.SystemRandom()
        attempt = 0
        while not self._stop.is_set():
            reason = self._connection()
            held_s = 0.0 if self._connected_s is None else time.monotonic() - self._connected_s
            attempt = 0 if held_s >= STEADY_S else attempt + 1
            if self._stop.is_set():
                return
            wait_s = back_off_s(attempt, rng)
            log.warning("no connection to the broker (%s); again in %.1f s", reason, wait_s)
            self._alive(wait_s + HANG_S)
            self._stop.wait(wait_s)

    def close(self, seconds: float) -> None:
        """Tell the server that this device goes, and disconnect; waits at most this long for the answer."""
        with self._lock:
            self._stop.set()
            client = self._client
        if client is not None:
            info = client.publish(self._state_topic, _offline(), qos=1, retain=True)
            try:
                info.wait_for_publish(seconds)
            except (RuntimeError, ValueError):
                pass  # the connection is gone: the broker publishes the same as our will
            client.disconnect()

    def _connection(self) -> str:
        """One connection from beginning to end; why it ended."""
        broker = self._broker
        self._connected_s, self._refused = None, False
        self._alive(CONNECT_S)
        client = _Client(
            self._alive,
            CallbackAPIVersion.VERSION2,
            client_id=f"edgepress-{self._device}",
            protocol=mqtt.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_open = _no_delay
        client.will_set(self._state_topic, _offline(), qos=1, retain=True)
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        try:
            if broker.tls:
                client.tls_set_context(self._context(broker))
                client.on_socket_register_write = _left_to_the_loop
            client.connect(broker.host, broker.port, keepalive=KEEPALIVE_S)
            result = client.loop_forever(retry_first_connection=False)
        except (OSError, ValueError) as error:  # ValueError: a host name that is none
            self.refusals += isinstance(error, ssl.SSLError)
            return f"{broker.host}:{broker.port}: {in_words(error)}"
        finally:
            self._lost()
        if client.too_large_bytes is not None:
            return f"it sends a packet of {client.too_large_bytes} bytes; {PACKET_MAX_BYTES} are read at most"
        if self._refused:
            return "it refuses this device's credentials: was the device revoked? If not, enrol it again"
        if broker.tls and self._connected_s is None:
            self.refusals += 1  # TLS 1.3 tells only after its handshake that it wants a certificate
            return "it hung up before it said a word: it may want other credentials than these"
        return mqtt.error_string(result)

    def _context(self, broker: Mqtt) -> ssl.SSLContext:
        """Raises OSError."""
        certificate = None if broker.certificate is None else self._folder / broker.certificate
        key = None if broker.key is None else self._folder / broker.key
        return client_context(broker.ca, certificate=certificate, key=key)

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _props: Properties | None
    ) -> None:
        if reason.is_failure:
            self._refused = reason.value in (
                ReasonCode(PacketTypes.CONNACK, "Not authorized").value,
                ReasonCode(PacketTypes.CONNACK, "Bad user name or password").value,
            )
            self.refusals += self._refused
            client.disconnect()
            return
        self.refusals = 0
        with self._lock:
            self._client = client
            state = self._state
        self._connected_s = time.monotonic()
        log.info("connected to the broker %s:%d", self._broker.host, self._broker.port)
        self.subscribe(
            [
                protocol.down_topic(self._device, "want"),
                protocol.down_topic(self._device, "ack"),
                protocol.SERVER_STATE_TOPIC,
            ]
        )
        if state is not None:
            client.publish(self._state_topic, state, qos=1, retain=True)
        self._up()

    def _on_disconnect(
        self, _client: mqtt.Client, _data: Any, _flags: Any, _reason: ReasonCode, _props: Properties | None
    ) -> None:
        self._lost()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        self._received(message.topic, bytes(message.payload))

    def _lost(self) -> None:
        with self._lock:
            was, self._client = self._client, None
        if was is not None:
            self._down()


class _Client(mqtt.Client):
    """Says that its loop turns, and reads no packet that is too large: MQTT lets a broker announce 256 MB."""

    too_large_bytes: int | None = None

    def __init__(self, alive: Callable[[float], None], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._say_alive = alive

    def loop_misc(self) -> MQTTErrorCode:
        self._say_alive(HANG_S)
        return super().loop_misc()

    def _sock_recv(self, bufsize: int) -> bytes:
        """Paho asks here for the rest of a packet at once, and gathers in memory whatever comes."""
        if bufsize > PACKET_MAX_BYTES:
            self.too_large_bytes = bufsize
            raise ConnectionAbortedError("the packet is too large")  # paho hangs up
        return super()._sock_recv(bufsize)


def _offline() -> bytes:
    return to_json(State(online=False))


def _left_to_the_loop(_client: mqtt.Client, _data: Any, _sock: Any) -> None:
    """Something is to be sent. With this callback paho leaves it to its loop, which it has woken.

    Without it whoever publishes writes to the socket while the loop reads from it, and OpenSSL allows one
    thread at a time.
    """


def _no_delay(_client: mqtt.Client, _data: Any, sock: Any) -> None:
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # acknowledgements must not wait for Nagle
    except OSError as error:
        log.debug("no TCP_NODELAY: %s", error)

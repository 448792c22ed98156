"""The link role: one loop that moves what happened into the store and what the store decided onto the broker.

    network thread   paho; only enqueues
    ingest thread    telemetry into the store, acknowledgements out
    this thread      device states and needs into the store; rollout engine; wants and chunks onto the broker

A new connection first asks who else is there (`handshake`): beside another server this one publishes nothing
and listens to no device, and says so. Alone it takes its place: state, roots, whatever the broker lacks.

Whether a device is online is what its retained state says. When the broker goes away nobody is known to be
online; after it is back, whoever has not said so within a while is not.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from typing import Final

from edgepress_devices.protocol import (
    PREFIX,
    SERVER_STATE_TOPIC,
    UP_TOPICS,
    Need,
    ProtocolError,
    ServerState,
    State,
    from_json,
    parse_up_topic,
    to_json,
    up_topic,
)
from edgepress_server.broker.address import BrokerAddress
from edgepress_server.ecosystem.home_announcer import HomeAnnouncer
from edgepress_server.errors import ServerError, StoreError
from edgepress_server.link.connection import (
    Acknowledged,
    Connected,
    Connection,
    Disconnected,
    Event,
    Message,
    Needed,
)
from edgepress_server.link.contents import Contents
from edgepress_server.link.handshake import PRESENCE_TOPIC, SERVER_TOPICS, Handshake
from edgepress_server.link.ingest import Ingest
from edgepress_server.link.looks import TICK_S, Looks
from edgepress_server.rollout.engine import Engine
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from edgepress_server.trust.keys import Keys, keys_changed, load_keys

log = logging.getLogger(__name__)

DRAIN: Final = 500  # events handled, in one transaction, before the broker gets its turn
HEARTBEAT_S: Final = 3.0
REFRESH_S: Final = 2.0  # a device that enrolled anew waits for its order to be sealed to its new key
PRESENCE_GRACE_S: Final = 10.0  # for devices to say that they are there after a connection was made or lost
STATE_EVERY_S: Final = 1.0
SERVER_TOPIC_PREFIX: Final = f"{PREFIX}/server/"
CHUNK_TOPIC_PREFIX: Final = f"{PREFIX}/c/"
FAULT_WAIT_S: Final = 1.0


class Link:
    def __init__(
        self, store: Store, keys: Keys, broker: BrokerAddress, settings: Settings | None = None
    ) -> None:
        """``settings``: of what is announced to others on the broker; None: nothing is."""
        self._store = store
        self._engine = Engine(store, keys)
        self._ingest = Ingest(store, lambda acks: self._connection.publish_all(acks))  # noqa: PLW0108 - made below
        self._keys = keys
        self._handshake = Handshake(store.broker_contents.identity())
        self._connection = Connection(
            broker,
            self._ingest.put,
            topics=(SERVER_TOPICS,),
            will=to_json(self._state(online=False)),
        )
        self._contents = Contents(store, self._connection, self._handshake.identity)
        self._home = HomeAnnouncer(
            Settings(data_dir=store.data_dir) if settings is None else settings,
            store,
            lambda topic, payload: self._connection.publish(topic, payload, retain=True),
        )
        self._is_placed = False  # connected, and no other server is there
        self._told_occupied = False
        self._asked: list[str] = []  # topics of states that were subscribed to one by one
        self._events: deque[Event] = deque()
        self._connected: int | None = None
        self._states: list[tuple[str, State]] = []
        self._heard: set[str] = set()  # devices that said on this connection how they are
        self._presence_due: float | None = None
        self._looks = Looks()
        self._seen_event = 0
        self._due = dict.fromkeys(("tick", "heartbeat", "refresh", "state"), 0.0)

    def run(self, stop: threading.Event) -> None:
        """Until told to stop."""
        self._ingest.start()
        self._connection.start()
        self._presence_due = time.monotonic() + PRESENCE_GRACE_S
        try:
            while not stop.is_set():
                self._turn(stop)
        finally:
            self._connection.stop()
            self._ingest.stop()

    def _turn(self, stop: threading.Event) -> None:
        self._wait_for_events()
        try:
            while self._events:
                self._handle(self._events[0])
                self._events.popleft()  # only now: where the store fails, it is handled again
            if self._store_states():
                self._looks.news()
            now = time.monotonic()
            if now >= self._due["tick"] and self._somebody_acted():
                self._looks.asked()
            looks = now >= self._looks.due_s
            if looks:
                more = self._engine.tick()
                self._looks.looked(now, time.monotonic(), more=more)
            if looks or now >= self._due["tick"]:
                if self._is_placed:
                    self._contents.put(now, self._keys.roots)
                self._due["tick"] = now + TICK_S
            self._keep_house(now)
            self._take_place(now)
            if self._is_placed:
                self._contents.send(now)
                self._home.tick(now)
        except ServerError as error:  # disk full, store locked: what came is kept, and tried again
            log.error("the store cannot be used now, trying again: %s", error)
            stop.wait(FAULT_WAIT_S)

    def _next_s(self) -> float:
        return min(self._due["tick"], self._looks.due_s)

    def _somebody_acted(self) -> bool:
        """A person did something since the last time that this was asked."""
        seen, self._seen_event = self._seen_event, self._store.events.last_id()
        return self._seen_event > seen and self._store.events.acted_since(seen)

    def _wait_for_events(self) -> None:
        arriving = self._connection.events
        try:
            if not self._events:
                self._events.append(arriving.get(timeout=max(0.001, self._next_s() - time.monotonic())))
            while len(self._events) < DRAIN:
                self._events.append(arriving.get_nowait())
        except queue.Empty:
            pass

    # --- what comes in --------------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        match event:
            case Acknowledged(connection, mid, refusal):
                if connection == self._connected:
                    self._contents.acknowledged(mid, refusal, time.monotonic())
            case Message(topic, payload):
                self._hear(topic, payload)
                self._connection.taken(event)
            case Needed(device):
                self._repair(device)
            case Connected(connection, packet_max_bytes):
                now = time.monotonic()
                self._leave_place(now)
                self._connected = connection
                self._contents.connected(packet_max_bytes, now)
                self._handshake = Handshake(self._handshake.identity)
                self._say(PRESENCE_TOPIC, self._handshake.ask(now))
            case Disconnected(connection, reason):
                if connection == self._connected:
                    now = time.monotonic()
                    why = reason or "no reason given"
                    log.warning("the connection to the MQTT broker was lost (%s); trying again", why)
                    self._contents.lost(reason, now)
                    self._leave_place(now)

    def _hear(self, topic: str, payload: bytes) -> None:
        if topic.startswith(SERVER_TOPIC_PREFIX):
            self._hear_server(topic, payload)
            return
        try:
            if topic.startswith(CHUNK_TOPIC_PREFIX):
                self._contents.heard_chunk(topic, payload)
                return
            device, leaf = parse_up_topic(topic)
        except ProtocolError as error:
            log.debug("ignored: %s", error)
            return
        if not payload:
            return  # a retained message that was cleared
        try:
            if leaf == "state":
                self._states.append((device, from_json(State, payload)))
        except ProtocolError as error:
            self._ingest.quarantine(device, f"up/{leaf}: {error}", payload)

    def _store_states(self) -> bool:
        """Everything heard, in one transaction, in order. What a failing store did not take stays in line."""
        states = self._states
        if not states:
            return False
        with self._store.transaction():
            enrolled = self._store.device_states.record_all(states)
            for device, state in states:
                if device not in enrolled:
                    log.debug("%s is not enrolled here; its state is ignored", device)
                elif state.profiling is not None:
                    self._store.profiling.heard(device, state.profiling)
            self._heard |= enrolled
        self._states = []
        return True

    def _repair(self, device: str) -> None:
        payload = self._connection.take_need(device)
        if not payload or not self._is_placed:
            return
        try:
            self._contents.repair(device, from_json(Need, payload), time.monotonic())
        except ProtocolError as error:
            self._ingest.quarantine(device, f"up/need: {error}", payload)

    # --- this server's place on the broker ------------------------------------------------------------------

    def _take_place(self, now: float) -> None:
        """Ask who is there, and begin when nobody else is."""
        if self._connected is None or self._is_placed:
            return
        if self._handshake.is_due(now):
            self._say(PRESENCE_TOPIC, self._handshake.ask(now))
        standing = self._handshake.look(now)
        if standing == "alone":
            self._begin(now)
        elif standing == "occupied" and not self._told_occupied:
            self._told_occupied = True
            self._due["heartbeat"] = 0.0
            log.error("%s", self._occupied())

    def _begin(self, now: float) -> None:
        # Before the first mark, or with an older one, the broker has lost what it held.
        newest = self._store.broker_contents.last_mark()
        self._home.begin(kept=0 < newest <= self._handshake.mark)
        self._contents.begin(self._handshake.mark)
        self._is_placed, self._told_occupied = True, False
        self._connection.farewell = to_json(self._state(online=False))
        self._say(SERVER_STATE_TOPIC, to_json(self._state(online=True)), retain=True)
        self._connection.subscribe(*UP_TOPICS)
        self._ask_one_by_one()
        self._presence_due = now + PRESENCE_GRACE_S
        self._due.update(tick=0.0, heartbeat=0.0)

    def _ask_one_by_one(self) -> None:
        """For a broker that does not hand out every device's state to who subscribes to all of them."""
        limit = self._connection.broker.retained_per_filter
        devices = [] if limit is None else list(self._store.devices.mqtt_secrets())
        if limit is None or len(devices) <= limit:
            return
        self._asked = [up_topic(device, "state") for device in devices]
        for start in range(0, len(devices), limit):
            self._connection.subscribe(*self._asked[start : start + limit])

    def _stop_asking(self) -> None:
        """They would come twice for ever."""
        if self._asked:
            self._connection.unsubscribe(*self._asked)
            self._asked = []

    def _leave_place(self, now: float) -> None:
        self._connected, self._is_placed = None, False
        self._asked = []
        self._connection.farewell = None
        self._heard.clear()
        self._presence_due = now + PRESENCE_GRACE_S
        self._due["heartbeat"] = 0.0

    def _hear_server(self, topic: str, payload: bytes) -> None:
        now = time.monotonic()
        if topic == SERVER_STATE_TOPIC:
            if self._is_placed and payload != to_json(self._state(online=True)) and now >= self._due["state"]:
                self._due["state"] = now + STATE_EVERY_S  # a will of our own earlier life, or another server
                self._say(SERVER_STATE_TOPIC, to_json(self._state(online=True)), retain=True)
            return
        answer = self._handshake.hear(topic, payload, now)
        if answer is not None:
            self._say(PRESENCE_TOPIC, answer)
        if self._is_placed and self._handshake.standing == "occupied":
            log.error("%s", self._occupied())
            self._connection.unsubscribe(*UP_TOPICS)
            number = self._connected
            self._leave_place(now)
            self._connected, self._told_occupied = number, True

    def _state(self, *, online: bool) -> ServerState:
        return ServerState(online=online, roots=self._keys.version, id=self._handshake.identity)

    def _say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._connection.publish(topic, payload, retain=retain)

    def _occupied(self) -> str:
        other = self._handshake.other
        name = "a copy of this one"
        if other is not None and other.id != self._handshake.identity:
            name = f"installation {other.id}"
        return (
            f"Another edgepress server ({name}) uses the MQTT broker {self._connection.broker}. This one "
            "publishes nothing there and hears no device until the other has gone. Stop one of them, or give "
            "one a broker of its own."
        )

    def _problems(self) -> list[str]:
        """For people: what keeps this server and its broker from working together."""
        occupied = [self._occupied()] if self._handshake.standing == "occupied" else []
        return occupied + self._contents.problems

    def _renew_keys(self) -> None:
        folder = self._store.data_dir / "keys"
        if not keys_changed(folder, self._keys):
            return
        try:
            keys = load_keys(folder)
        except StoreError as error:  # half written: read again at the next look
            log.warning("the keys cannot be read now, going on with those of before: %s", error)
            return
        # Orders signed since by the keys of before are signed again. Where the store fails here, the next
        # look finds the keys changed still.
        self._store.signing.follow(keys)
        self._keys = keys
        log.info("the keys changed; the newest root is version %s", keys.version)
        self._engine = Engine(self._store, keys)
        if self._is_placed:
            self._say(SERVER_STATE_TOPIC, to_json(self._state(online=True)), retain=True)
            self._connection.farewell = to_json(self._state(online=False))

    def _keep_house(self, now: float) -> None:
        if not (self._ingest.is_alive() and self._connection.is_alive()):
            raise RuntimeError("a thread of the link ended; see the log above")
        if now >= self._due["heartbeat"]:
            self._renew_keys()
            self._store.facts.heartbeat("link", mqtt_connected=self._is_placed, problems=self._problems())
            self._due["heartbeat"] = now + HEARTBEAT_S
        if now >= self._due["refresh"]:
            if self._engine.refresh():
                self._due["tick"] = 0.0
            self._due["refresh"] = now + REFRESH_S
        if self._presence_due is not None and now >= self._presence_due:
            self._store.device_states.all_offline(except_for=self._heard)
            # While the broker is away there is nothing to hear; the next connection sets the next date.
            self._presence_due = None
            self._stop_asking()

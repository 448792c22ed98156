"""The link role: one loop that moves what happened into the store and what the store decided onto the broker.

    network thread   paho; only enqueues
    ingest thread    telemetry into the store, acknowledgements out
    this thread      device states and needs into the store; rollout engine; wants and chunks onto the broker

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

from edgepress_devices.protocol import Need, ProtocolError, State, from_json, parse_up_topic
from edgepress_server.broker.address import BrokerAddress
from edgepress_server.errors import ConflictError, NotFoundError, ServerError, StoreError
from edgepress_server.link.chunks import ArtifactChunks
from edgepress_server.link.connection import (
    Acknowledged,
    Connected,
    Connection,
    Disconnected,
    Event,
    Message,
)
from edgepress_server.link.ingest import Ingest
from edgepress_server.link.publisher import Publisher
from edgepress_server.link.repairs import Repairs, missing_chunks
from edgepress_server.rollout.engine import Engine
from edgepress_server.store import Store
from edgepress_server.trust.keys import Keys

log = logging.getLogger(__name__)

TICK_S: Final = 0.25
# A large fleet's states come in hundreds of batches a second, and a look at its rollout takes a while: after
# one that took t seconds the next comes t * LOOK_PAUSE later (a tick at most), so that storing and sending
# get their time.
LOOK_PAUSE: Final = 3.0
DRAIN: Final = 500  # events handled, in one transaction, before the broker gets its turn
HEARTBEAT_S: Final = 3.0
REFRESH_S: Final = 2.0  # a device that enrolled anew waits for its order to be sealed to its new key
PRESENCE_GRACE_S: Final = 10.0  # for devices to say that they are there after a connection was made or lost
CLEAR_AFTER_S: Final = (
    5.0  # chunks stay for a moment after the last device had them: the next rollout may come
)
RETRY_ARTIFACT_S: Final = 10.0
FAULT_WAIT_S: Final = 1.0


class Link:
    def __init__(self, store: Store, keys: Keys, broker: BrokerAddress) -> None:
        self._store = store
        self._engine = Engine(store, keys)
        self._ingest = Ingest(store, lambda topic, payload: self._connection.publish(topic, payload, qos=0))
        self._connection = Connection(broker, self._ingest.put)
        self._settled: list[str] = []  # artifacts that are off the broker, to be noted in the store
        self._publisher = Publisher(
            lambda topic, payload: self._connection.publish(topic, payload, retain=True), self._settled.append
        )
        self._events: deque[Event] = deque()
        self._repairs = Repairs()
        self._connected: int | None = None
        self._states: list[tuple[str, State]] = []
        self._heard: set[str] = set()  # devices that said on this connection how they are
        self._presence_due: float | None = None
        self._unneeded_since: dict[str, float] = {}
        self._damaged_until: dict[str, float] = {}
        self._look_again = 0.0  # no sooner: when states came
        self._due = dict.fromkeys(("tick", "heartbeat", "refresh"), 0.0)

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
            if self._store_states():  # what devices say may decide something: not only at the next tick
                self._due["tick"] = min(self._due["tick"], self._look_again)
            now = time.monotonic()
            if now >= self._due["tick"]:
                more = self._engine.tick()
                self._put_on_broker(now)
                over = time.monotonic()
                self._look_again = over + min(TICK_S, LOOK_PAUSE * (over - now))
                self._due["tick"] = over if more else max(now + TICK_S, self._look_again)
            self._keep_house(now)
            self._publisher.pump()
        except ServerError as error:  # disk full, store locked: what came is kept, and tried again
            log.error("the store cannot be used now, trying again: %s", error)
            stop.wait(FAULT_WAIT_S)

    def _wait_for_events(self) -> None:
        arriving = self._connection.events
        try:
            if not self._events:
                self._events.append(arriving.get(timeout=max(0.001, self._due["tick"] - time.monotonic())))
            while len(self._events) < DRAIN:
                self._events.append(arriving.get_nowait())
        except queue.Empty:
            pass

    # --- what comes in --------------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        match event:
            case Acknowledged(connection, mid):
                if connection == self._connected:
                    self._publisher.acknowledged(mid)
            case Message(topic, payload):
                self._hear(topic, payload)
            case Connected(connection):
                self._connected = connection
                self._publisher.forget()
                self._heard.clear()
                self._presence_due = time.monotonic() + PRESENCE_GRACE_S
                self._due.update(tick=0.0, heartbeat=0.0)
            case Disconnected(connection):
                if connection == self._connected:
                    log.warning("the connection to the MQTT broker was lost; trying again")
                    self._connected = None
                    self._heard.clear()
                    self._presence_due = time.monotonic() + PRESENCE_GRACE_S
                    self._due["heartbeat"] = 0.0

    def _hear(self, topic: str, payload: bytes) -> None:
        try:
            device, leaf = parse_up_topic(topic)
        except ProtocolError as error:
            log.debug("ignored: %s", error)
            return
        if not payload:
            return  # a retained message that was cleared
        try:
            if leaf == "state":
                self._states.append((device, from_json(State, payload)))
            else:
                self._repair(device, from_json(Need, payload))
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

    def _repair(self, device: str, need: Need) -> None:
        want = self._store.wants.find(device)
        if want is None or want.digest != need.digest:
            log.debug("%s asks for chunks of %s, which it is not to run", device, need.digest[:12])
            return
        if not self._publisher.has(need.digest) and not self._add_artifact(need.digest, whole=False):
            return
        now_ms = self._store.now_ms()
        asked = [
            n
            for n in missing_chunks(need, self._publisher.chunk_count(need.digest) or 0)
            if self._repairs.allow(need.digest, n, now_ms)
        ]
        for n in asked:
            self._publisher.repair(need.digest, n)
        if asked:
            log.info("%s misses %s chunks of %s; publishing them again", device, len(asked), need.digest[:12])

    # --- what goes out --------------------------------------------------------------------------------------

    def _put_on_broker(self, now: float) -> None:
        if self._connected is None:
            return
        self._publisher.put_wants(self._store.wants.counters(), self._read_want)
        needed = self._store.rollouts.digests_in_use()
        for digest in needed:
            if not self._publisher.has_whole(digest):
                self._add_artifact(digest, whole=True)
        self._clear_unneeded(needed | self._repairs.kept(self._store.now_ms()), now)

    def _read_want(self, device: str) -> bytes | None:
        want = self._store.wants.find(device)
        return None if want is None else want.payload

    def _add_artifact(self, digest: str, *, whole: bool) -> bool:
        if time.monotonic() < self._damaged_until.get(digest, 0.0):
            return False
        try:
            artifact = ArtifactChunks(
                digest, self._store.blobs.path(digest), self._store.releases.content_key(digest)
            )
        except (StoreError, NotFoundError) as error:
            log.error("artifact %s cannot be published: %s", digest[:12], error)
            self._damaged_until[digest] = time.monotonic() + RETRY_ARTIFACT_S
            self._pause_rollouts_of(digest, str(error))
            return False
        # Noted before the first is published: so they are cleared some day, also after a crash.
        self._store.wants.set_published(digest, artifact.count)
        self._publisher.add(artifact, whole=whole)
        return True

    def _pause_rollouts_of(self, digest: str, reason: str) -> None:
        for rollout_id in self._store.rollouts.active_with(digest):
            try:
                self._store.rollouts.pause(
                    rollout_id, reason=f"{reason} Compress again and make a new release."
                )
            except ConflictError:  # paused already, or being rolled back
                continue

    def _clear_unneeded(self, needed: set[str], now: float) -> None:
        for digest in self._settled:
            self._store.wants.set_cleared(digest)
        self._settled.clear()
        for digest, chunks in self._store.wants.published().items():
            if digest in needed:
                self._unneeded_since.pop(digest, None)
            elif now - self._unneeded_since.setdefault(digest, now) >= CLEAR_AFTER_S:
                self._publisher.clear(digest, chunks)

    def _keep_house(self, now: float) -> None:
        if not (self._ingest.is_alive() and self._connection.is_alive()):
            raise RuntimeError("a thread of the link ended; see the log above")
        if now >= self._due["heartbeat"]:
            self._store.facts.heartbeat("link", mqtt_connected=self._connected is not None)
            self._due["heartbeat"] = now + HEARTBEAT_S
        if now >= self._due["refresh"]:
            if self._engine.refresh():
                self._due["tick"] = 0.0
            self._due["refresh"] = now + REFRESH_S
        if self._presence_due is not None and now >= self._presence_due:
            self._store.device_states.all_offline(except_for=self._heard)
            # While the broker is away there is nothing to hear; the next connection sets the next date.
            self._presence_due = None

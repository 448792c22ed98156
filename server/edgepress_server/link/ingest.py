"""Telemetry on its way into the store: gathered for a moment, stored in one transaction, then acknowledged.

A device keeps a batch until its number is acknowledged, and sends it again otherwise. So nothing is lost when
what waits here is: after a crash, or when more comes than can be stored and the queue's limit drops it. What
is in a flush is not dropped: it is tried until the store takes it (disk full, locked).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from edgepress_devices.protocol import (
    Ack,
    ProtocolError,
    TelemetryBatch,
    decode_batch,
    down_topic,
    parse_up_topic,
    to_json,
)
from edgepress_server.errors import ServerError
from edgepress_server.store import Store
from edgepress_server.store.ledger import Stored
from edgepress_server.store.quarantine import Quarantined
from edgepress_server.store.telemetry import Received

log = logging.getLogger(__name__)

FLUSH_S: Final = 0.15
FLUSH_MESSAGES: Final = 1000  # what is decoded together is still in the processor's cache when it is stored
QUEUE_BYTES: Final = 128 * 1024 * 1024
MESSAGE_BYTES: Final = 512  # about what a message takes beside its payload: empty ones fill the queue, too
QUARANTINE_PER_FLUSH: Final = 20  # a broken device must not fill the disk
RETRY_FIRST_S: Final = 0.25
RETRY_MOST_S: Final = 10.0
IDLE_S: Final = 1.0  # between two looks at what the store has to do beside

Publish = Callable[[Sequence[tuple[str, bytes]]], object]


class Ingest:
    """``put`` may be called on the network thread; the rest happens on a thread of its own."""

    def __init__(self, store: Store, publish: Publish) -> None:
        self._store = store
        self._publish = publish
        self._waiting: deque[tuple[str, bytes, int]] = deque()
        self._spoilt: deque[Quarantined] = deque(maxlen=QUARANTINE_PER_FLUSH)
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._something = threading.Event()
        self._stop = threading.Event()
        self._dropped = 0
        self._more = True  # of the store's own work, which begins with what a restart left
        self._thread = threading.Thread(target=self._run, name="ingest", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Store what is waiting, once, and end."""
        self._stop.set()
        self._something.set()
        self._thread.join(5.0)

    def put(self, topic: str, payload: bytes) -> None:
        """A message on ``.../up/telemetry``."""
        with self._lock:
            size = len(payload) + MESSAGE_BYTES
            if self._waiting_bytes + size > QUEUE_BYTES:
                self._dropped += 1
                return
            self._waiting_bytes += size
            self._waiting.append((topic, payload, self._store.now_ms()))
        self._something.set()

    def quarantine(self, device: str, reason: str, payload: bytes) -> None:
        """Keep what a device sent elsewhere and cannot be read, for people to look at."""
        with self._lock:
            self._spoilt.append(Quarantined(device, self._store.now_ms(), reason, payload))
        self._something.set()

    def _run(self) -> None:
        while not self._stop.is_set():
            if not self._something.wait(0.0 if self._more else IDLE_S):
                self._step()
                continue
            self._stop.wait(FLUSH_S)  # let more come: one transaction costs a disk sync whatever its size
            self._something.clear()
            while self._waiting or self._spoilt:
                self._flush()
                if self._stop.is_set():
                    return
                self._step()  # sealing must not wait for an end of what comes

    def _flush(self) -> None:
        with self._lock:
            count = min(len(self._waiting), FLUSH_MESSAGES)
            messages = [self._waiting.popleft() for _ in range(count)]
            self._waiting_bytes -= sum(len(payload) + MESSAGE_BYTES for _, payload, _ in messages)
            spoilt = list(self._spoilt)
            self._spoilt.clear()
            dropped, self._dropped = self._dropped, 0
        if dropped:
            log.error("telemetry comes faster than it is stored: devices will send %s batches again", dropped)
        received: list[Received] = []
        for topic, payload, at in messages:
            read = read_batch(topic, payload, at)
            if isinstance(read, Received):
                received.append(read)
            elif read is not None and (read.named is not None or len(spoilt) < QUARANTINE_PER_FLUSH):
                spoilt.append(read)
        self._acknowledge(self._keep_trying(received, spoilt))

    def _keep_trying(self, received: list[Received], spoilt: list[Quarantined]) -> Stored:
        wait_s = RETRY_FIRST_S
        while True:
            try:
                return self._store.telemetry.store(received, spoilt)
            except ServerError as error:  # disk full, locked, unreadable: a person or time will mend it
                log.error("telemetry cannot be stored now, trying again in %.1f s: %s", wait_s, error)
            if self._stop.wait(wait_s):
                return {}
            wait_s = min(wait_s * 2, RETRY_MOST_S)

    def _acknowledge(self, stored: Stored) -> None:
        # QoS 0: the next acknowledgement says it too, and a batch that comes again is counted once.
        self._publish(
            [
                (down_topic(device, "ack"), to_json(Ack(epoch=epoch, number=number)))
                for (device, epoch), number in stored.items()
            ]
        )

    def _step(self) -> None:
        """A little of what the store has to do beside."""
        try:
            self._more = self._store.telemetry.step()
        except ServerError as error:
            self._more = False
            log.warning("telemetry cannot be sealed now, trying again: %s", error)
            self._stop.wait(RETRY_FIRST_S)


def read_batch(topic: str, payload: bytes, at: int) -> Received | Quarantined | None:
    """A message as a batch, or as what is to be kept for people; None when it is not even a device's."""
    try:
        device, _ = parse_up_topic(topic)
    except ProtocolError:
        return None
    try:
        return Received(device, at, _numbered(decode_batch(payload)))
    except ProtocolError as error:
        return Quarantined(device, at, str(error), payload, named=read_name(payload))


def _numbered(batch: TelemetryBatch) -> TelemetryBatch:
    if batch.number < 1:
        raise ProtocolError("batches are numbered from 1")
    return batch


def read_name(payload: bytes) -> tuple[str, int] | None:
    """(epoch, number) of a payload that is otherwise no batch, so that it can be acknowledged all the same:
    its device would send it for ever."""
    try:
        head = _head.decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    if not 1 <= head.number <= 2**53 or len(head.epoch) > 500:
        return None
    return head.epoch, head.number


class _Head(msgspec.Struct, array_like=True):
    v: int
    epoch: str
    number: int


_head = msgspec.msgpack.Decoder(_Head)  # of an array it reads the first three, whatever follows

"""Ingest: from payloads to acknowledgements; forged and malformed ones never stop it."""

import threading
from collections.abc import Callable, Sequence

import msgspec
import pytest
from fleet_story import Fleet
from hypothesis import given
from hypothesis import strategies as st
from server_story import START_MS, Clock

from edgepress_devices.protocol import (
    Ack,
    Sample,
    TelemetryBatch,
    encode_batch,
    from_json,
    up_topic,
)
from edgepress_server.errors import DiskFullError
from edgepress_server.link import ingest as ingest_module
from edgepress_server.link.ingest import Ingest, read_batch, read_name
from edgepress_server.store import Store
from edgepress_server.store.quarantine import Quarantined
from edgepress_server.store.telemetry import Received

TOPIC = up_topic("pi", "telemetry")


def payload(number: int = 1, *samples: Sample, v: int = 1) -> bytes:
    taken = list(samples) or [Sample(at_ms=START_MS, interval_ms=1000)]
    return encode_batch(TelemetryBatch(v, "e", number, taken))


def test_a_batch_is_read() -> None:
    read = read_batch(TOPIC, payload(4), START_MS)
    assert isinstance(read, Received)
    assert (read.device, read.batch.number) == ("pi", 4)


@pytest.mark.parametrize(
    ("what", "data", "named"),
    [
        ("nothing", b"", None),
        ("text", b"hello", None),
        ("another version", payload(v=2), ("e", 1)),
        ("cut short", payload()[:-3], None),
        ("a sample that is none", msgspec.msgpack.encode([1, "e", 7, [["x"]]]), ("e", 7)),
        ("too large", msgspec.msgpack.encode([1, "e", 8, [], 0, b"x" * 300_000]), ("e", 8)),
        ("number 0", msgspec.msgpack.encode([1, "e", 0, []]), None),
        ("a negative number", msgspec.msgpack.encode([1, "e", -5, []]), None),
        ("a map", msgspec.msgpack.encode({"v": 1}), None),
        ("NaN", payload(9, Sample(START_MS, 1000, temp_c=float("nan"))), ("e", 9)),
        ("deep nesting", b"\x91" * 100_000, None),
    ],
)
def test_what_is_no_batch_is_kept_with_its_name_where_it_has_one(
    what: str, data: bytes, named: tuple[str, int] | None
) -> None:
    read = read_batch(TOPIC, data, START_MS)
    assert isinstance(read, Quarantined), what
    assert read.named == named
    assert read.reason


@given(st.binary(max_size=200))
def test_no_bytes_stop_it(data: bytes) -> None:
    assert isinstance(read_batch(TOPIC, data, START_MS), Received | Quarantined)
    read_name(data)


@given(st.text(max_size=60))
def test_a_topic_of_nobody_is_ignored(topic: str) -> None:
    assert read_batch(topic, payload(), START_MS) is None


def samples_of(store: Store) -> int:
    return len(list(store.series_read.export(None, 0, START_MS + 10**6)))


class Acks:
    """Collects what is published, and lets a test wait for it."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Ack]] = []
        self._changed = threading.Condition()

    def __call__(self, messages: Sequence[tuple[str, bytes]]) -> None:
        with self._changed:
            self.seen += [(topic, from_json(Ack, data)) for topic, data in messages]
            self._changed.notify_all()

    def wait_for(self, done: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(done, 10.0), self.seen

    def highest(self) -> int:
        return max((ack.number for _, ack in self.seen), default=0)


@pytest.fixture
def acks() -> Acks:
    return Acks()


def test_batches_are_acknowledged_after_they_are_stored(store: Store, clock: Clock, acks: Acks) -> None:
    Fleet(store, clock).enrol("pi")
    ingest = Ingest(store, acks)
    ingest.start()
    try:
        for number in (1, 2, 3):
            ingest.put(TOPIC, payload(number))
        ingest.put(TOPIC, b"not a batch")
        acks.wait_for(lambda: acks.highest() == 3)
    finally:
        ingest.stop()
    assert {topic for topic, _ in acks.seen} == {"ep/1/d/pi/down/ack"}
    assert samples_of(store) == 3
    assert len(store.database.rows("SELECT 1 FROM quarantine")) == 1


def test_a_full_disk_loses_nothing_and_acknowledges_nothing(
    store: Store, clock: Clock, acks: Acks, monkeypatch: pytest.MonkeyPatch
) -> None:
    Fleet(store, clock).enrol("pi")
    monkeypatch.setattr(ingest_module, "RETRY_FIRST_S", 0.01)
    full = threading.Event()
    failed = threading.Semaphore(0)
    store_batches = store.telemetry.store

    def store_unless_full(received: list[Received], spoilt: list[Quarantined]) -> object:
        if full.is_set():
            failed.release()
            raise DiskFullError
        return store_batches(received, spoilt)

    monkeypatch.setattr(store.telemetry, "store", store_unless_full)
    full.set()
    ingest = Ingest(store, acks)
    ingest.start()
    try:
        ingest.put(TOPIC, payload(1))
        assert failed.acquire(timeout=10)
        assert failed.acquire(timeout=10)  # it tries again and again
        ingest.put(TOPIC, payload(2))
        assert acks.seen == []
        full.clear()
        acks.wait_for(lambda: acks.highest() == 2)
    finally:
        ingest.stop()
    assert samples_of(store) == 2


def test_what_comes_too_fast_is_dropped_unacknowledged(
    store: Store, clock: Clock, acks: Acks, monkeypatch: pytest.MonkeyPatch
) -> None:
    Fleet(store, clock).enrol("pi")
    monkeypatch.setattr(ingest_module, "QUEUE_BYTES", 2 * (len(payload(1)) + ingest_module.MESSAGE_BYTES))
    ingest = Ingest(store, acks)
    for number in (1, 2, 3):
        ingest.put(TOPIC, payload(number))
    ingest.start()
    try:
        acks.wait_for(lambda: acks.highest() == 2)
        ingest.put(TOPIC, payload(3))  # the device sends it again
        acks.wait_for(lambda: acks.highest() == 3)
    finally:
        ingest.stop()
    assert samples_of(store) == 3

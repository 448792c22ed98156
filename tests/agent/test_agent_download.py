"""A download with all its rules, on a simulated clock, broker and HTTPS server."""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from release_side import Release

from edgepress_agent.delivery_rules import Hold
from edgepress_agent.download import MQTT_DOWN_S, Came, Download, Ended, spans
from edgepress_agent.events import INBOX_CHUNKS, Chunk, Connected, Event, HttpsEnded, Inbox
from edgepress_agent.https_fetch import Origin
from edgepress_agent.source import Source
from edgepress_devices import protocol
from edgepress_devices.protocol import CHUNK_MAX_BYTES, CHUNK_PLAIN_BYTES, FETCH_WINDOW, Need, from_json

RELEASE = Release(b"model weights " * (40 * CHUNK_PLAIN_BYTES // 14))  # 40 chunks
DIGEST = RELEASE.digest  # hashed once
CHUNKS = [RELEASE.chunk(n) for n in range(RELEASE.chunks)]
LINK_BYTES_S = 5_000_000


@dataclass
class Broker:
    """Retained chunks, sent in order at the link's speed; what is lost on the way is lost without a word."""

    random: Random
    loss: float = 0.0
    connected: bool = True
    server: bool = True  # answers needs
    retained: dict[int, bytes] = field(default_factory=lambda: dict(enumerate(CHUNKS)))
    topics: set[str] = field(default_factory=set)
    on_the_way: list[tuple[float, int, bytes]] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    packets: int = 0
    sent_bytes: int = 0
    now_s: float = 0.0
    free_at_s: float = 0.0

    def subscribe(self, topics: Sequence[str]) -> None:
        if not self.connected:
            return
        self.packets += 1
        for topic in topics:
            self.topics.add(topic)
            self.send(protocol.parse_chunk_topic(topic)[1])
        assert len(self.topics) <= FETCH_WINDOW

    def send(self, n: int) -> None:
        payload = self.retained.get(n)
        if payload is None:
            return
        self.free_at_s = max(self.free_at_s, self.now_s) + len(payload) / LINK_BYTES_S
        self.sent_bytes += len(payload)
        if self.random.random() >= self.loss:
            self.on_the_way.append((self.free_at_s, n, payload))

    def unsubscribe(self, topics: Sequence[str]) -> None:
        if self.connected:
            self.packets += 1
            self.topics.difference_update(topics)

    def publish(self, topic: str, payload: bytes) -> bool:
        need = from_json(Need, payload)
        self.needs.append(need)
        bits = base64.b64decode(need.missing)
        for wanted in sorted(self.topics) if self.server else []:
            n = protocol.parse_chunk_topic(wanted)[1]
            if bits[n // 8] & 0x80 >> n % 8:
                self.retained[n] = CHUNKS[n]
                self.send(n)
        return True

    def publish_state(self, payload: bytes) -> None:
        pass

    def drop_connection(self) -> None:
        self.connected = False
        self.topics.clear()
        self.on_the_way.clear()


class Ranges:
    """An HTTPS server that answers at once, or fails as often as it is told to."""

    def __init__(self, failures: int = 0, *, busy: bool = False) -> None:
        self.failures, self.busy = failures, busy
        self.damaged: set[int] = set()
        self.asked: list[tuple[int, int]] = []
        self.stopped = 0

    def open(self, _origin: Origin, came: Came, ended: Ended) -> "Ranges":
        self._came, self._ended = came, ended
        return self

    def get(self, first: int, count: int) -> None:
        self.asked.append((first, count))
        if self.failures:
            self.failures -= 1
            self._ended("the server is silent", self.busy)
            return
        for n in range(first, first + count):
            self._came(n, b"\0" * 100 if n in self.damaged else CHUNKS[n])
        self._ended(None, False)

    def stop(self) -> None:
        self.stopped += 1


@dataclass
class Board:
    """One download on a simulated clock."""

    broker: Broker
    ranges: Ranges = field(default_factory=Ranges)
    rate: int | None = None
    transport: str = "auto"
    ticket: bool = True
    hold: Callable[[float], Hold | None] = lambda _now_s: None
    stored: list[int] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inbox: list[Event] = []
        self.now_s = 0.0
        self.turns = 0
        self.restart()

    def restart(self) -> None:
        source = Source(DIGEST, len(RELEASE.artifact), RELEASE.chunks, "")
        missing = [n for n in range(RELEASE.chunks) if n not in self.stored]
        self.download = Download(
            "pi-4",
            source,
            RELEASE.key,
            missing,
            now_s=self.now_s,
            received_bytes=0,
            put=self.inbox.append,
            open_https=self.ranges.open,
        )

    def turn(self) -> None:
        self.turns += 1
        events, self.inbox[:] = list(self.inbox), []
        pieces = self.download.take([e for e in events if isinstance(e, Chunk)], self.now_s)
        for n, plain in pieces:
            assert n not in self.stored, "a chunk is stored twice"
            at = n * CHUNK_PLAIN_BYTES
            assert plain == RELEASE.artifact[at : at + CHUNK_PLAIN_BYTES]
            self.stored.append(n)
            self.arrivals.append(self.now_s)
        self.download.stored(pieces, self.now_s)
        for event in events:
            if isinstance(event, HttpsEnded):
                self.download.https_ended(event, self.now_s)
            elif isinstance(event, Connected):
                self.download.connected(self.broker, self.now_s)
        origin = Origin("https://server", DIGEST, len(RELEASE.artifact), RELEASE.chunks, "ticket")
        self.download.tend(
            self.broker,
            self.now_s,
            rate_bytes_s=self.rate,
            transport=self.transport,  # type: ignore[arg-type]
            origin=origin if self.ticket else None,
            hold=self.hold(self.now_s),
        )

    def step(self) -> None:
        """To the next moment at which something happens."""
        self.turn()
        if self.inbox:
            return
        due_s = self.download.deadline_s(self.now_s)
        coming = self.broker.on_the_way
        moments = [at for at in (due_s, coming[0][0] if coming else None) if at is not None]
        assert moments or not self.download.remaining, "nothing will ever happen"
        self.now_s = max(self.now_s, min(moments, default=self.now_s))
        self.broker.now_s = self.now_s
        while coming and coming[0][0] <= self.now_s:
            _, n, payload = coming.pop(0)
            self.inbox.append(Chunk(DIGEST, n, payload))

    def run(self, *, until: Callable[[], bool] = lambda: False, turns: int = 5000) -> None:
        for _ in range(turns):
            if not self.download.remaining or until():
                return
            self.step()
        raise AssertionError(f"it does not come to an end: {self.download.remaining} chunks are missing")


def board(seed: int = 0, loss: float = 0.0, **changes: object) -> Board:
    return Board(Broker(Random(seed), loss), **changes)  # type: ignore[arg-type]


def test_it_comes_at_the_links_speed_in_few_packets() -> None:
    it = board()
    it.run()
    it.turn()
    assert it.now_s <= RELEASE.chunks * CHUNK_MAX_BYTES / LINK_BYTES_S * 1.05
    assert it.broker.topics == set()
    assert it.broker.sent_bytes == it.download.received_bytes == sum(map(len, CHUNKS))
    assert it.broker.packets <= 2 * RELEASE.chunks / 4 + 2
    assert it.broker.needs == []


@pytest.mark.parametrize("rate", [10_000, 100_000, 1_000_000])
def test_a_limited_rate_is_kept_and_used(rate: int) -> None:
    it = board(rate=rate)
    it.run()
    took = sum(map(len, CHUNKS))
    assert 0.97 * (took - CHUNK_MAX_BYTES) / rate <= it.now_s <= 1.03 * took / rate
    for i, first_s in enumerate(it.arrivals):
        for j in range(i, len(it.arrivals)):
            most = max(CHUNK_MAX_BYTES, 2 * rate) + rate * (it.arrivals[j] - first_s + 0.5)
            assert (j - i) * CHUNK_MAX_BYTES <= most
    assert it.broker.needs == []


def test_outside_its_hours_nothing_comes_and_then_it_goes_on_where_it_was() -> None:
    closed = (0.2, 3600.0)

    def hours(now_s: float) -> Hold | None:
        inside = not closed[0] <= now_s < closed[1]
        return None if inside else Hold("until 01:00 UTC, its download hours", min(60.0, closed[1] - now_s))

    it = board(hold=hours)
    it.run(until=lambda: it.download.waiting is not None)
    assert it.download.waiting == "until 01:00 UTC, its download hours"
    assert it.broker.topics == set()
    it.run()
    assert all(not closed[0] + 0.5 <= at < closed[1] for at in it.arrivals)
    assert it.turns < 400
    assert sorted(it.stored) == list(range(RELEASE.chunks))


def test_a_new_want_stops_a_download_at_once() -> None:
    it = board(transport="https", ranges=Ranges())
    it.turn()
    it.download.close(it.broker)
    assert it.ranges.stopped == 1
    it = board()
    it.turn()
    assert it.broker.topics
    it.download.close(it.broker)
    assert it.broker.topics == set()


@pytest.mark.fault(
    "broker restarts empty", "after two unanswered needs the rest comes over HTTPS, nothing twice"
)
def test_a_broker_that_lost_everything_is_gone_around() -> None:
    it = board()
    it.run(until=lambda: len(it.stored) >= 7)
    it.broker.retained.clear()
    it.broker.on_the_way.clear()
    it.broker.server = False
    it.run()
    assert it.download.via == "https"
    assert 2 <= len(it.broker.needs) <= 3
    assert it.now_s < 40
    assert sorted(it.stored) == list(range(RELEASE.chunks))


def test_a_broker_that_lost_everything_is_asked_ever_later_where_there_is_no_other_way() -> None:
    it = board(ticket=False)
    it.broker.retained.clear()
    it.broker.server = False
    it.run(until=lambda: it.now_s > 3600)
    assert 10 <= len(it.broker.needs) <= 75
    it.broker.server = True
    it.run()
    assert sorted(it.stored) == list(range(RELEASE.chunks))


def test_without_a_broker_for_half_a_minute_it_comes_over_https() -> None:
    it = board()
    it.broker.connected = False
    it.run()
    assert it.download.via == "https"
    assert MQTT_DOWN_S <= it.now_s < MQTT_DOWN_S + 1
    assert it.ranges.asked == [(0, 16), (16, 16), (32, RELEASE.chunks - 32)]


def test_https_that_fails_gives_way_to_mqtt_again() -> None:
    it = board(ranges=Ranges(failures=10**6))
    it.broker.connected = False
    it.run(until=lambda: it.download.via == "https" and len(it.ranges.asked) >= 2)
    assert it.download.waiting == "the server is silent"
    it.broker.connected = True
    it.run()
    assert (it.download.via, it.broker.needs) == ("mqtt", [])


def test_a_chunk_that_comes_damaged_over_https_is_fetched_ever_later() -> None:
    it = board(transport="https")
    it.ranges.damaged = {3, 20}
    it.run(until=lambda: it.now_s > 600)
    assert it.download.waiting == "chunks come damaged over HTTPS"
    assert len(it.ranges.asked) < 20
    assert it.turns < 60
    it.ranges.damaged.clear()
    it.run()
    assert sorted(it.stored) == list(range(RELEASE.chunks))


@pytest.mark.parametrize("ticket", [True, False])
def test_without_a_broker_and_without_another_way_it_waits_without_turning(ticket: bool) -> None:
    it = board(transport="mqtt", ticket=ticket)
    it.turn()
    it.broker.drop_connection()
    it.now_s = 100.0
    it.turn()
    assert it.download.deadline_s(it.now_s) is None


def test_a_server_that_is_busy_is_waited_for() -> None:
    it = board(ranges=Ranges(failures=20, busy=True))
    it.broker.connected = False
    it.run(until=lambda: it.download.via == "https")
    it.broker.connected = True
    it.run()
    assert (it.download.via, it.broker.packets, it.download.waiting) == ("https", 0, None)


@pytest.mark.parametrize("transport", ["mqtt", "https"])
def test_a_rule_for_one_way_is_kept(transport: str) -> None:
    it = board(transport=transport)
    it.run()
    assert it.download.via == transport
    assert bool(it.ranges.asked) == (transport == "https")
    assert bool(it.broker.packets) == (transport == "mqtt")


def test_a_limited_rate_holds_over_https_too() -> None:
    it = board(transport="https", rate=100_000)
    it.run()
    took = sum(map(len, CHUNKS))
    assert 0.97 * (took - CHUNK_MAX_BYTES) / 100_000 <= it.now_s <= 1.03 * took / 100_000


def test_without_a_ticket_https_alone_says_so() -> None:
    it = board(transport="https", ticket=False)
    it.turn()
    assert it.download.waiting is not None and "no ticket" in it.download.waiting


# --- what should not come -----------------------------------------------------------------------------------


@pytest.mark.attack(
    "garbage chunks", "a flood of garbage is neither stored nor answered by more than one need a second"
)
def test_garbage_chunks_are_asked_for_again_and_no_more_than_once_a_second() -> None:
    it = board(ticket=False)
    it.turn()
    it.broker.on_the_way.clear()
    for tick in range(200):
        it.now_s = tick * 0.01
        it.inbox += [Chunk(DIGEST, n, bytes(CHUNK_MAX_BYTES)) for n in range(4)]
        it.turn()
    assert it.stored == []
    assert len(it.broker.needs) <= 3


def test_a_chunk_that_comes_twice_is_stored_once_and_paid_for_twice() -> None:
    it = board(rate=64_000)
    it.turn()
    it.broker.on_the_way.clear()
    it.inbox += [Chunk(DIGEST, 0, CHUNKS[0])] * 2
    it.turn()
    it.inbox += [Chunk(DIGEST, 0, CHUNKS[0])]
    it.turn()
    assert it.stored == [0]
    assert it.download.received_bytes == 3 * CHUNK_MAX_BYTES
    assert it.broker.topics == {protocol.chunk_topic(DIGEST, 0)}
    assert it.download.deadline_s(0.0) == pytest.approx(
        3.0, abs=0.01
    )  # three chunks were paid, one of them at once


@pytest.mark.attack("mix-and-match", "chunks of another artifact, or in another's place, are not stored")
def test_a_chunk_of_another_artifact_or_another_place_is_not_stored() -> None:
    it = board()
    it.turn()
    it.broker.on_the_way.clear()
    it.inbox += [
        Chunk("0" * 64, 0, CHUNKS[0]),
        Chunk(DIGEST, 1, CHUNKS[2]),
        Chunk(DIGEST, 3, b""),
    ]
    it.turn()
    assert it.stored == []


@pytest.mark.attack(
    "endless data", "chunks past four windows do not pile up in memory, other messages come through"
)
def test_a_flood_of_chunks_does_not_fill_the_memory() -> None:
    inbox = Inbox()
    for _ in range(500):
        inbox.put_nowait(Chunk(DIGEST, 0, b"x"))
    inbox.put_nowait(Connected())
    assert inbox.qsize() == INBOX_CHUNKS + 1
    assert inbox.dropped_chunks == 500 - INBOX_CHUNKS


# --- whatever happens ---------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.05, 0.2, 0.5]),
    rate=st.sampled_from([None, 50_000, 500_000]),
    transport=st.sampled_from(["auto", "mqtt", "https"]),
    events=st.lists(
        st.tuples(st.floats(0.0, 3.0), st.sampled_from(["drop", "restart", "hold", "forget", "refuse"])),
        max_size=6,
    ),
)
def test_whatever_happens_every_chunk_is_stored_once_and_the_server_is_hardly_asked(
    seed: int, loss: float, rate: int | None, transport: str, events: list[tuple[float, str]]
) -> None:
    held_until = [0.0]
    it = board(
        seed,
        loss,
        rate=rate,
        transport=transport,
        hold=lambda now_s: Hold("waiting", held_until[0] - now_s) if now_s < held_until[0] else None,
    )
    at_s = 0.0
    for after_s, what in events:
        at_s += after_s
        it.run(until=lambda at_s=at_s: it.now_s >= at_s)  # type: ignore[misc]
        if what == "drop":
            it.broker.drop_connection()
            it.turn()
            it.broker.connected = True
            it.inbox.append(Connected())
        elif what == "restart":
            it.broker.drop_connection()
            it.broker.connected = True
            it.inbox.clear()
            it.restart()
        elif what == "forget":
            it.broker.retained.clear()  # the server has it still
            it.broker.on_the_way.clear()
        elif what == "refuse":
            it.ranges.failures += 2
        else:
            held_until[0] = it.now_s + 10
    it.run()
    assert sorted(it.stored) == list(range(RELEASE.chunks))
    assert len(it.broker.needs) <= max(2, it.now_s)
    if not loss and not events:
        assert it.broker.needs == []
        assert it.download.received_bytes == sum(map(len, CHUNKS))


@given(st.sets(st.integers(0, 60)))
def test_spans_are_the_runs(numbers: set[int]) -> None:
    runs = spans(list(numbers))
    assert [n for first, count in runs for n in range(first, first + count)] == sorted(numbers)
    assert all(a + b < c for (a, b), (c, _) in pairwise(runs))

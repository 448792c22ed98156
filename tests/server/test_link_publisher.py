"""The publisher: in order, once per connection, never more under way than the window."""

from pathlib import Path

import pytest

from edgepress_devices.protocol import CHUNK_PLAIN_BYTES, chunk_topic, down_topic
from edgepress_server.link.chunks import ArtifactChunks
from edgepress_server.link.publisher import WINDOW, Publisher

KEY = b"k" * 32


class Broker:
    """Takes messages, and acknowledges them when told to."""

    def __init__(self) -> None:
        self.connected = True
        self.sent: list[tuple[str, bytes]] = []
        self.retained: dict[str, bytes] = {}
        self._acknowledged = 0

    def publish(self, topic: str, payload: bytes) -> int | None:
        if not self.connected:
            return None
        self.sent.append((topic, payload))
        self.retained[topic] = payload
        return len(self.sent)

    def acknowledge_all(self, publisher: Publisher) -> None:
        while self._acknowledged < len(self.sent):
            self._acknowledged += 1
            publisher.acknowledged(self._acknowledged)
            publisher.pump()

    @property
    def topics(self) -> list[str]:
        return [topic for topic, _ in self.sent]


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def settled() -> list[str]:
    return []


@pytest.fixture
def publisher(broker: Broker, settled: list[str]) -> Publisher:
    return Publisher(broker.publish, settled.append)


def artifact(folder: Path, chunks: int, fill: bytes = b"x") -> ArtifactChunks:
    from hashlib import sha256

    data = fill * (CHUNK_PLAIN_BYTES * (chunks - 1) + 10)
    digest = sha256(data).hexdigest()
    (folder / digest).write_bytes(data)
    return ArtifactChunks(digest, folder / digest, KEY)


def test_chunks_go_out_as_fast_as_they_are_acknowledged(
    broker: Broker, publisher: Publisher, tmp_path: Path
) -> None:
    made = artifact(tmp_path, WINDOW + 5)
    publisher.add(made, whole=True)
    publisher.pump()
    assert len(broker.sent) == WINDOW
    publisher.acknowledged(1)
    publisher.pump()
    assert len(broker.sent) == WINDOW + 1
    broker.acknowledge_all(publisher)
    assert broker.topics == [chunk_topic(made.digest, n) for n in range(made.count)]


def test_an_artifact_is_published_once_per_connection(
    broker: Broker, publisher: Publisher, tmp_path: Path
) -> None:
    made = artifact(tmp_path, 2)
    for _ in range(3):
        publisher.add(made, whole=True)
    publisher.pump()
    assert len(broker.sent) == 2
    publisher.forget()
    assert not publisher.has_whole(made.digest)
    publisher.add(made, whole=True)
    publisher.pump()
    assert len(broker.sent) == 4
    assert broker.sent[:2] == broker.sent[2:]


def test_wants_take_turns_with_repairs_and_then_with_chunks(
    broker: Broker, publisher: Publisher, tmp_path: Path
) -> None:
    made = artifact(tmp_path, 2)
    publisher.add(made, whole=True)
    publisher.repair(made.digest, 1)
    publisher.put_wants(dict.fromkeys(("a", "b", "c", "d", "e"), 1), lambda device: device.encode())
    publisher.pump()
    wants = [down_topic(device, "want") for device in "abcde"]
    repair, first, second = (chunk_topic(made.digest, n) for n in (1, 0, 1))
    assert broker.topics == [wants[0], repair, wants[1], first, wants[2], second, wants[3], wants[4]]


def test_a_want_is_published_when_its_counter_changes(broker: Broker, publisher: Publisher) -> None:
    read = {"pi": b"want 1", "pc": b"want 7"}.get
    publisher.put_wants({"pi": 1, "pc": 7}, read)
    publisher.put_wants({"pi": 1, "pc": 7}, read)
    publisher.pump()
    publisher.put_wants({"pi": 1, "pc": 8}, lambda _: b"want 8")
    publisher.pump()
    assert [payload for _, payload in broker.sent] == [b"want 1", b"want 7", b"want 8"]


def test_only_the_newest_of_two_wants_in_line_is_sent(broker: Broker, publisher: Publisher) -> None:
    publisher.put_wants({"pi": 1}, lambda _: b"want 1")
    publisher.put_wants({"pi": 2}, lambda _: b"want 2")
    publisher.pump()
    assert broker.sent == [(down_topic("pi", "want"), b"want 2")]


def test_a_revoked_devices_want_is_cleared_once(broker: Broker, publisher: Publisher) -> None:
    publisher.put_wants({"pi": 3}, lambda _: b"want 3")
    publisher.pump()
    for _ in range(2):
        publisher.put_wants({"pi": 0}, lambda _: b"never read")
        publisher.pump()
    assert broker.sent[1:] == [(down_topic("pi", "want"), b"")]


def test_clearing_is_settled_when_every_chunk_is_acknowledged(
    broker: Broker, publisher: Publisher, settled: list[str], tmp_path: Path
) -> None:
    made = artifact(tmp_path, 3)
    publisher.add(made, whole=True)
    publisher.pump()
    broker.acknowledge_all(publisher)
    publisher.clear(made.digest, made.count)
    publisher.clear(made.digest, made.count)
    publisher.pump()
    assert settled == []
    broker.acknowledge_all(publisher)
    assert settled == [made.digest]
    assert set(broker.retained.values()) == {b""}
    assert not publisher.has(made.digest)


def test_what_is_needed_again_is_not_cleared(
    broker: Broker, publisher: Publisher, settled: list[str], tmp_path: Path
) -> None:
    made = artifact(tmp_path, WINDOW + 3)
    publisher.clear(made.digest, made.count)
    publisher.pump()
    publisher.add(made, whole=True)
    publisher.pump()
    broker.acknowledge_all(publisher)
    assert settled == []
    assert len(broker.retained) == made.count
    assert all(broker.retained.values())


def test_without_a_connection_everything_stays_in_line(
    broker: Broker, publisher: Publisher, tmp_path: Path
) -> None:
    made = artifact(tmp_path, 2)
    broker.connected = False
    publisher.put_wants({"pi": 1}, lambda _: b"want 1")
    publisher.add(made, whole=True)
    publisher.pump()
    assert broker.sent == []
    broker.connected = True
    publisher.pump()
    assert len(broker.sent) == 3


def test_a_chunk_that_cannot_be_read_does_not_stop_the_others(
    broker: Broker, publisher: Publisher, tmp_path: Path
) -> None:
    lost, whole = artifact(tmp_path, 2), artifact(tmp_path, 2, b"y")
    publisher.add(lost, whole=True)
    publisher.add(whole, whole=True)
    (tmp_path / lost.digest).unlink()
    publisher.pump()
    assert broker.topics == [chunk_topic(whole.digest, n) for n in range(2)]
    broker.acknowledge_all(publisher)
    assert publisher.take_acknowledged() == ({}, {whole.digest})
    assert not publisher.has_whole(lost.digest), "it is looked at again, and found damaged"


def test_what_the_broker_holds_is_not_published_again(
    broker: Broker, publisher: Publisher, tmp_path: Path
) -> None:
    made = artifact(tmp_path, 2)
    publisher.forget({down_topic("pi", "want"): 3}, {made.digest})
    publisher.put_wants({"pi": 3, "pc": 1}, lambda device: device.encode())
    publisher.add(made, whole=True)
    publisher.pump()
    assert broker.sent == [(down_topic("pc", "want"), b"pc")]


def test_what_was_acknowledged_is_told_once_and_only_when_whole(
    broker: Broker, publisher: Publisher, tmp_path: Path
) -> None:
    made = artifact(tmp_path, 3)
    publisher.put_wants({"pi": 1}, lambda _: b"want")
    publisher.add(made, whole=True)
    publisher.pump()
    for mid in (1, 2, 3):
        publisher.acknowledged(mid)
    assert publisher.take_acknowledged() == ({down_topic("pi", "want"): 1}, set())
    assert not publisher.is_idle
    publisher.acknowledged(4)
    assert publisher.is_idle
    assert publisher.take_acknowledged() == ({}, {made.digest})
    assert publisher.take_acknowledged() == ({}, set())


def test_an_older_want_that_is_acknowledged_late_vouches_for_nothing(
    broker: Broker, publisher: Publisher
) -> None:
    publisher.put_wants({"pi": 1}, lambda _: b"want 1")
    publisher.pump()
    publisher.put_wants({"pi": 2}, lambda _: b"want 2")
    publisher.acknowledged(1)
    assert publisher.take_acknowledged() == ({}, set())
    publisher.pump()
    publisher.acknowledged(2)
    assert publisher.take_acknowledged() == ({down_topic("pi", "want"): 2}, set())


def test_a_repair_does_not_count_for_the_whole(broker: Broker, publisher: Publisher, tmp_path: Path) -> None:
    made = artifact(tmp_path, 2)
    publisher.add(made, whole=True)
    publisher.repair(made.digest, 0)
    publisher.pump()
    publisher.acknowledged(1)  # the repair
    publisher.acknowledged(2)
    assert publisher.take_acknowledged() == ({}, set())
    publisher.acknowledged(3)
    assert publisher.take_acknowledged() == ({}, {made.digest})


def test_while_the_broker_takes_no_chunks_wants_still_go_out(
    broker: Broker, publisher: Publisher, tmp_path: Path
) -> None:
    publisher.add(artifact(tmp_path, 2), whole=True)
    publisher.sends_chunks = False
    publisher.put_wants({"pi": 1}, lambda _: b"want")
    publisher.pump()
    assert broker.topics == [down_topic("pi", "want")]
    broker.acknowledge_all(publisher)
    assert publisher.is_idle

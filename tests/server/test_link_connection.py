"""What waits between the network thread and the link stays small, whoever floods it. No broker is needed."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from edgepress_devices.protocol import NEED_MAX_BYTES, up_topic
from edgepress_server.broker.address import BrokerAddress
from edgepress_server.link.connection import WAITING_MAX_BYTES, Connection, Message, Needed


@dataclass
class Arriving:
    """As paho hands a message over."""

    topic: str
    payload: bytes


class Story:
    def __init__(self) -> None:
        self.telemetry: list[tuple[str, bytes]] = []
        broker = BrokerAddress("127.0.0.1", 1)
        self.connection = Connection(broker, lambda topic, payload: self.telemetry.append((topic, payload)))

    def arrives(self, topic: str, payload: bytes) -> None:
        self.connection._on_message(None, None, Arriving(topic, payload))  # type: ignore[arg-type]

    @property
    def waiting(self) -> int:
        return self.connection.events.qsize()


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.mark.attack("slow loris on chunks", "a flood of questions takes the room of one question a device")
def test_a_device_that_asks_a_thousand_times_takes_the_room_of_one_question(story: Story) -> None:
    for n in range(1000):
        story.arrives(up_topic("greedy", "need"), b"question %d" % n)
    story.arrives(up_topic("modest", "need"), b"please")
    assert story.waiting == 2
    assert story.connection.events.get() == Needed("greedy")
    assert story.connection.take_need("greedy") == b"question 999"
    assert story.connection.take_need("greedy") is None
    assert story.connection.events.get() == Needed("modest")
    story.arrives(up_topic("greedy", "need"), b"another")
    assert story.waiting == 1


def test_what_is_no_question_of_a_device_is_not_kept(story: Story) -> None:
    story.arrives(up_topic("greedy", "need"), b"x" * (NEED_MAX_BYTES + 1))
    story.arrives("ep/1/d/UPPER/up/need", b"x")
    assert story.waiting == 0


def test_states_wait_up_to_a_limit_in_bytes_and_room_comes_back(story: Story) -> None:
    topic, payload = up_topic("pi", "state"), b"x" * 1_000_000
    for _ in range(2 * WAITING_MAX_BYTES // len(payload)):
        story.arrives(topic, payload)
    assert story.waiting == WAITING_MAX_BYTES // len(payload)
    handled = story.connection.events.get()
    assert isinstance(handled, Message)
    story.connection.taken(handled)
    before = story.waiting
    story.arrives(topic, payload)
    assert story.waiting == before + 1


def test_telemetry_goes_its_own_way_at_once(story: Story) -> None:
    story.arrives(up_topic("pi", "telemetry"), b"batch")
    assert story.telemetry == [(up_topic("pi", "telemetry"), b"batch")]
    assert story.waiting == 0

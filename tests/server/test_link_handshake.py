"""Who else is on the broker, and what the broker shows: a story of servers that hear each other."""

from __future__ import annotations

import msgspec
import pytest

from edgepress_server.link.handshake import (
    AGAIN_S,
    LONGEST_S,
    MARK_TOPIC,
    PRESENCE_TOPIC,
    SETTLE_S,
    Handshake,
    Mark,
)


class Room:
    """A broker: what one says on a topic, all hear, the speaker too."""

    def __init__(self, *servers: Handshake) -> None:
        self.servers = list(servers)

    def say(self, payload: bytes | None, now: float) -> None:
        said = [payload]
        while said:
            message = said.pop(0)
            if message is not None:
                said += [server.hear(PRESENCE_TOPIC, message, now) for server in self.servers]


def test_alone_after_its_own_question_came_back_and_nobody_answered() -> None:
    server = Handshake("one")
    room = Room(server)
    room.say(server.ask(100.0), 100.0)
    assert server.look(100.0 + SETTLE_S / 2) == "asking"
    assert server.look(100.0 + SETTLE_S) == "alone"


def test_a_broker_that_echoes_nothing_is_waited_for_and_then_taken() -> None:
    server = Handshake("one")
    server.ask(0.0)
    assert server.look(LONGEST_S - 0.1) == "asking"
    assert server.look(LONGEST_S) == "alone"


@pytest.mark.fault("two servers on one broker", "the second says so and publishes nothing")
def test_the_second_server_finds_the_first() -> None:
    first, second = Handshake("one"), Handshake("two")
    room = Room(first, second)
    room.say(first.ask(0.0), 0.0)
    assert first.look(1.0) == "alone"
    room.say(second.ask(2.0), 2.0)
    assert second.look(2.0 + LONGEST_S) == "occupied"
    assert second.other is not None and second.other.id == "one"
    assert first.look(10.0) == "alone"


def test_a_copy_of_an_installation_is_another_server() -> None:
    first, copy = Handshake("same"), Handshake("same")
    room = Room(first, copy)
    room.say(first.ask(0.0), 0.0)
    first.look(1.0)
    room.say(copy.ask(2.0), 2.0)
    assert copy.look(9.0) == "occupied"


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_that_start_at_once_exactly_one_goes_on(order: tuple[int, int]) -> None:
    servers = [Handshake("one", "aaaa"), Handshake("two", "bbbb")]
    room = Room(*servers)
    for n in order:
        room.say(servers[n].ask(0.0), 0.0)
    assert sorted(server.look(5.0) for server in servers) == ["alone", "occupied"]


def test_two_that_were_apart_end_up_with_one() -> None:
    servers = [Handshake("one", "aaaa"), Handshake("two", "bbbb")]
    for server in servers:
        Room(server).say(server.ask(0.0), 0.0)
        assert server.look(1.0) == "alone"
    third = Handshake("three", "cccc")
    room = Room(*servers, third)  # the cluster is one again, and somebody asks
    room.say(third.ask(2.0), 2.0)
    assert [server.look(9.0) for server in room.servers] == ["alone", "occupied", "occupied"]


def test_when_the_other_has_gone_the_second_takes_over() -> None:
    first, second = Handshake("one"), Handshake("two")
    room = Room(first, second)
    room.say(first.ask(0.0), 0.0)
    first.look(1.0)
    room.say(second.ask(2.0), 2.0)
    assert not second.is_due(2.0 + AGAIN_S - 1)
    assert second.is_due(2.0 + AGAIN_S)
    room.servers.remove(first)
    room.say(second.ask(20.0), 20.0)
    assert second.look(21.0) == "alone"


def test_only_marks_of_this_installation_count() -> None:
    server = Handshake("one")
    for identity, n in (("other", 90), ("one", 7), ("one", 5)):
        assert server.hear(MARK_TOPIC, msgspec.json.encode(Mark(identity, n)), 0.0) is None
    assert server.mark == 7


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b'{"id": 3}', b"\xff\xfe", b"x" * 100_000])
def test_what_is_no_message_is_ignored(payload: bytes) -> None:
    server = Handshake("one")
    server.ask(0.0)
    for topic in (PRESENCE_TOPIC, MARK_TOPIC, "ep/1/server/else"):
        assert server.hear(topic, payload, 0.0) is None
    assert (server.standing, server.mark) == ("asking", 0)

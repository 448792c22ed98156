"""The link's MQTT client: packets out of large pieces, many messages in one."""

import struct

from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from edgepress_server.link.quick_client import BufferedSocket, QuickClient


class Pieces:
    """A socket that gives these pieces, one a call."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces
        self.calls = 0

    def recv(self, size: int) -> bytes:
        self.calls += 1
        if not self.pieces:
            raise BlockingIOError
        return self.pieces.pop(0)

    def fileno(self) -> int:
        return 7


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=8), st.lists(st.integers(1, 9), min_size=80))
def test_every_byte_comes_once_and_in_order(pieces: list[bytes], sizes: list[int]) -> None:
    sock = BufferedSocket(Pieces(list(pieces)))
    taken = b""
    try:
        for size in sizes:
            taken += sock.recv(size)
    except BlockingIOError:
        assert sock.pending() == 0
    assert b"".join(pieces).startswith(taken)
    assert len(taken) + sock.pending() <= sum(map(len, pieces))
    assert sock.fileno() == 7


def test_a_large_piece_is_one_call() -> None:
    below = Pieces([b"x" * 1000])
    sock = BufferedSocket(below)
    assert b"".join(sock.recv(1) for _ in range(1000)) == b"x" * 1000
    assert below.calls == 1


@given(
    st.sampled_from([MQTTProtocolVersion.MQTTv311, MQTTProtocolVersion.MQTTv5]),
    st.lists(st.tuples(st.text("abc/", min_size=1, max_size=200), st.binary(max_size=30_000)), max_size=6),
)
def test_messages_in_one_piece_are_whole_publish_packets(
    version: MQTTProtocolVersion, messages: list[tuple[str, bytes]]
) -> None:
    client = QuickClient(CallbackAPIVersion.VERSION2, protocol=version)
    sent: list[bytes] = []
    client._packet_queue = lambda command, packet, mid, qos: sent.append(packet)  # type: ignore[assignment,misc,return-value]
    client.publish_all(messages)
    assert read_packets(b"".join(sent), version) == messages


def read_packets(data: bytes, version: MQTTProtocolVersion) -> list[tuple[str, bytes]]:
    found, at = [], 0
    while at < len(data):
        assert data[at] == 0x30
        size, shift, at = 0, 0, at + 1
        while True:
            byte = data[at]
            size, shift, at = size | (byte & 127) << shift, shift + 7, at + 1
            if byte < 128:
                break
        (name,) = struct.unpack_from(">H", data, at)
        start = at + 2 + name + (version == MQTTProtocolVersion.MQTTv5)
        found.append((data[at + 2 : at + 2 + name].decode(), data[start : at + size]))
        at += size
    return found

"""Brokers that take no chunks, and brokers that acknowledge what they do not keep."""

from __future__ import annotations

import pytest

from edgepress_server.link.chunk_limits import LOST_IN_A_ROW, PACKET_BYTES, RETRY_S, ChunkLimits
from edgepress_server.link.verify import SAMPLE, WAIT_S, Verifier

DIGEST = "ab" * 32


def test_a_broker_that_says_how_little_it_takes_is_believed() -> None:
    limits = ChunkLimits()
    limits.connected(PACKET_BYTES, 0.0)
    assert limits.allowed(0.0)
    limits.connected(20_000, 0.0)
    assert not limits.allowed(1.0)
    assert limits.problem is not None and "20000 bytes" in limits.problem and "HTTPS" in limits.problem


@pytest.mark.fault("a broker that caps packets", "chunks stop, the reason is told, HTTPS remains")
def test_a_broker_that_hangs_up_on_chunks_gets_no_more_for_a_while() -> None:
    limits = ChunkLimits()
    for n in range(LOST_IN_A_ROW):
        assert limits.allowed(float(n))
        limits.connected(None, float(n))
        limits.lost(chunk_under_way=True, reason=None, now=float(n))
    assert not limits.allowed(10.0)
    limits.connected(None, RETRY_S + 10)
    assert limits.allowed(RETRY_S + 10)
    assert limits.problem is None


def test_a_broker_that_names_the_reason_is_believed_at_once() -> None:
    limits = ChunkLimits()
    limits.lost(chunk_under_way=True, reason="Packet too large", now=0.0)
    assert not limits.allowed(1.0)


def test_connections_lost_for_other_reasons_do_not_count() -> None:
    limits = ChunkLimits()
    for _ in range(10):
        limits.lost(chunk_under_way=False, reason=None, now=0.0)
        limits.lost(chunk_under_way=True, reason=None, now=0.0)
        limits.acknowledged()
    assert limits.allowed(0.0)


class Shelf:
    """Chunk topics on a broker that keeps only some."""

    def __init__(self) -> None:
        self.subscribed: set[int] = set()
        self.verifier = Verifier(
            lambda _, chunks: self.subscribed.update(chunks),
            lambda _, chunks: self.subscribed.difference_update(chunks),
        )

    def begin(self, chunks: int, now: float) -> None:
        self.verifier.begin(DIGEST, chunks, payload, now)

    def deliver(self, *, lost: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        for n in sorted(self.subscribed - lost):
            self.verifier.heard(DIGEST, n, payload(n))


def payload(n: int) -> bytes:
    return f"chunk {n}".encode()


def test_a_sample_that_is_there_costs_no_more_than_the_sample() -> None:
    shelf = Shelf()
    shelf.begin(100, 0.0)
    assert len(shelf.subscribed) == SAMPLE
    shelf.deliver()
    assert shelf.verifier.look(0.1) == ([DIGEST], {})
    assert shelf.subscribed == set()
    assert shelf.verifier.problem is None


@pytest.mark.fault("a broker that drops silently", "a sample is read back, sent again, and then told")
def test_what_was_acknowledged_and_not_kept_is_found_and_told() -> None:
    shelf = Shelf()
    shelf.begin(4, 0.0)
    shelf.deliver(lost={1, 3})
    assert shelf.verifier.look(WAIT_S - 0.1) == ([], {})
    assert shelf.verifier.look(WAIT_S) == ([], {DIGEST: [1, 3]})
    assert shelf.subscribed == set()
    assert shelf.verifier.problem is None and shelf.verifier.wants_another_round(DIGEST)
    shelf.begin(4, 10.0)  # after they were published again
    shelf.deliver(lost={3})
    assert shelf.verifier.look(10.0 + WAIT_S) == ([], {DIGEST: [3]})
    assert not shelf.verifier.wants_another_round(DIGEST)
    assert shelf.verifier.problem is not None and "did not keep 1" in shelf.verifier.problem


def test_other_bytes_are_not_the_chunk() -> None:
    shelf = Shelf()
    shelf.begin(1, 0.0)
    shelf.verifier.heard(DIGEST, 0, b"")
    shelf.verifier.heard(DIGEST, 0, b"something else")
    assert shelf.verifier.look(WAIT_S) == ([], {DIGEST: [0]})

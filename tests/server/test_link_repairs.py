"""Repairs: which chunks a bitmap names, and how often one is sent again."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_devices.protocol import Need, ProtocolError
from edgepress_server.link.repairs import (
    CHUNK_EVERY_MS,
    DEVICE_BURST,
    DEVICE_PER_S,
    FLEET_BURST,
    KEEP_MS,
    Repairs,
    missing_chunks,
)

DIGEST = "ab" * 32


def need(chunks: int, missing: set[int]) -> Need:
    bitmap = bytearray(-(-chunks // 8))
    for n in missing:
        bitmap[n // 8] |= 128 >> n % 8
    return Need(DIGEST, chunks, base64.b64encode(bitmap).decode())


@given(st.integers(1, 300).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_the_bitmap_names_the_chunks(case: tuple[int, set[int]]) -> None:
    chunks, missing = case
    assert set(missing_chunks(need(chunks, missing), chunks)) == missing


@pytest.mark.parametrize(
    ("what", "asked"),
    [
        ("another number of chunks", need(17, {1})),
        ("too short a bitmap", Need(DIGEST, 16, base64.b64encode(b"x").decode())),
        ("too long a bitmap", Need(DIGEST, 16, base64.b64encode(b"xxx").decode())),
        ("no base64", Need(DIGEST, 16, "?!")),
        ("no ASCII", Need(DIGEST, 16, "ü==")),
    ],
)
def test_a_bitmap_that_is_none_is_refused(what: str, asked: Need) -> None:
    with pytest.raises(ProtocolError):
        missing_chunks(asked, 16)
    assert what


def test_bits_beyond_the_last_chunk_are_ignored() -> None:
    assert list(missing_chunks(Need(DIGEST, 3, base64.b64encode(b"\xff").decode()), 3)) == [0, 1, 2]


def test_a_fleet_that_asks_all_at_once_costs_one_sending() -> None:
    repairs = Repairs()
    assert [repairs.allow("pi", DIGEST, 5, now) for now in (0, 1, CHUNK_EVERY_MS - 1)] == [True, False, False]
    assert repairs.allow("pi", DIGEST, 6, 1)
    assert repairs.allow("pi", DIGEST, 5, CHUNK_EVERY_MS)


def test_what_was_asked_for_stays_a_while() -> None:
    repairs = Repairs()
    repairs.allow("pi", DIGEST, 0, 0)
    assert repairs.kept(KEEP_MS - 1) == {DIGEST}
    assert repairs.kept(KEEP_MS) == set()
    assert repairs.allow("pi", DIGEST, 0, KEEP_MS)


@pytest.mark.attack("slow loris on chunks", "a device that asks all the time gets a few chunks a second")
def test_a_device_that_asks_all_the_time_gets_its_share_and_no_more() -> None:
    """Every second it asks for each of 5000 chunks, for ten minutes."""
    repairs = Repairs()
    sent = sum(repairs.allow("greedy", DIGEST, n, s * 1000) for s in range(600) for n in range(5000))
    assert sent <= DEVICE_BURST + 600 * DEVICE_PER_S
    assert repairs.allow("modest", DIGEST, 4999, 600_000), "others are served"


def test_a_fleet_that_asks_for_everything_is_slowed_down_as_a_whole() -> None:
    repairs = Repairs()
    sent = sum(repairs.allow(f"device-{d}", f"{d:064}", n, 1000) for d in range(100) for n in range(60))
    assert sent == FLEET_BURST

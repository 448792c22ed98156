"""What a person may type as a code and a server, and how the agent comes back to a broker."""

import random

import pytest

from edgepress_agent.enroll import check_server, parse_code
from edgepress_agent.errors import EnrolmentError
from edgepress_agent.link import BACK_OFF_MAX_S, back_off_s
from edgepress_agent.work import Chunk, Wanted, bitmap, route
from edgepress_devices.enrolment_rules import Invitation

PRINT = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
CODES = [
    ("the whole address", "https://hub:8443/enroll#AB-CD", None, Invitation("https://hub:8443", "AB-CD")),
    ("under a path", "https://hub/press/enroll#AB-CD", None, Invitation("https://hub/press", "AB-CD")),
    ("with spaces around", "  https://hub/enroll#AB-CD\n", None, Invitation("https://hub", "AB-CD")),
    ("a bare code and a server", "AB-CD", "https://hub/", Invitation("https://hub", "AB-CD")),
    ("another server than it says", "https://a/enroll#AB", "https://b", Invitation("https://b", "AB")),
    ("with a fingerprint", f"https://hub/enroll#AB.{PRINT}", None, Invitation("https://hub", "AB", PRINT)),
    ("typed in lower case", f"AB.{PRINT.lower()}", "https://hub", Invitation("https://hub", "AB", PRINT)),
    ("with half a fingerprint", "https://hub/enroll#AB.", None, Invitation("https://hub", "AB", "")),
]


@pytest.mark.parametrize(("text", "server", "expected"), [c[1:] for c in CODES], ids=[c[0] for c in CODES])
def test_codes(text: str, server: str | None, expected: Invitation) -> None:
    assert parse_code(text, server) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no enrolment code"),
        ("https://hub/enroll", "no enrolment code"),
        ("A" * 300, "no enrolment code"),
        ("AB-CD", "--server"),
    ],
)
def test_what_is_no_code(text: str, words: str) -> None:
    with pytest.raises(EnrolmentError, match=words):
        parse_code(text, None)


@pytest.mark.parametrize(
    "url", ["https://hub", "http://127.0.0.1:8080", "http://[::1]:80", "http://localhost"]
)
def test_servers_that_may_be_talked_to(url: str) -> None:
    check_server(url, insecure_http=False)


@pytest.mark.parametrize("url", ["ftp://hub", "hub:8080", "https://", "https://hub:99999", "http://hub"])
def test_servers_that_may_not(url: str) -> None:
    with pytest.raises(EnrolmentError):
        check_server(url, insecure_http=False)


def test_clear_text_to_another_machine_only_when_asked_for() -> None:
    check_server("http://192.0.2.7:8080", insecure_http=True)


def test_back_off_is_spread_over_its_whole_range_and_bounded() -> None:
    rng = random.Random(1)
    waits = [back_off_s(20, rng) for _ in range(2000)]
    assert max(waits) <= BACK_OFF_MAX_S
    assert min(waits) < BACK_OFF_MAX_S * 0.02
    assert sum(waits) / len(waits) == pytest.approx(BACK_OFF_MAX_S / 2, rel=0.1)
    assert back_off_s(0, rng) <= 1.0


def test_messages_find_their_way() -> None:
    digest = "ab" * 32
    assert route("pi-4", "ep/1/d/pi-4/down/want", b"x") == Wanted(b"x")
    assert route("pi-4", "ep/1/d/pi-4/down/want", b"") is None
    assert route("pi-4", "ep/1/d/pi-5/down/want", b"x") is None
    assert route("pi-4", f"ep/1/c/{digest}/7", b"x") == Chunk(digest, 7, b"x")
    assert route("pi-4", f"ep/1/c/{digest}/7", bytes(64_001)) is None
    assert route("pi-4", "ep/1/server/state", b"{}") is None


def test_the_need_bitmap_is_most_significant_bit_first() -> None:
    assert bitmap([0, 9], 12) == "gEA="  # 1000 0000  0100 0000

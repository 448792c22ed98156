"""Chunks over HTTPS from a real server on loopback that answers well, badly, slowly or without end."""

import queue
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from https_origin import TICKET, HttpsOrigin, certificate
from release_side import Release

from edgepress_agent.https_fetch import HttpsFetch, Origin, payload_bytes
from edgepress_devices.protocol import CHUNK_MAX_BYTES, CHUNK_PLAIN_BYTES

RELEASE = Release(bytes(range(256)) * (20 * CHUNK_PLAIN_BYTES // 256 + 100))


@pytest.fixture
def server() -> Iterator[HttpsOrigin]:
    with HttpsOrigin(RELEASE) as made:
        yield made


class Fetching:
    """An HttpsFetch, and what it handed on."""

    def __init__(
        self, url: str, *, ticket: str = TICKET, ca: str | None = None, digest: str = RELEASE.digest
    ) -> None:
        origin = Origin(url, digest, len(RELEASE.artifact), RELEASE.chunks, ticket, ca)
        self.chunks: dict[int, bytes] = {}
        self.ended: queue.Queue[str | None] = queue.Queue()
        self.came = threading.Event()
        self.fetch = HttpsFetch(
            origin,
            came=self._came,
            ended=lambda reason, busy: self.ended.put(reason),
            slow_window_s=0.3,
            answer_s=0.5,
            back_off_s=lambda *_: 0.0,
        )

    def _came(self, n: int, payload: bytes) -> None:
        assert n not in self.chunks
        self.chunks[n] = payload
        self.came.set()

    def get(self, first: int, count: int) -> str | None:
        self.fetch.get(first, count)
        return self.ended.get(timeout=20)


@pytest.fixture
def fetching(server: HttpsOrigin) -> Iterator[Fetching]:
    made = Fetching(server.url)
    yield made
    made.fetch.stop()


def test_ranges_bring_the_same_chunks_as_mqtt(server: HttpsOrigin, fetching: Fetching) -> None:
    assert fetching.get(0, 16) is None
    assert fetching.get(16, RELEASE.chunks - 16) is None
    assert fetching.chunks == {n: RELEASE.chunk(n) for n in range(RELEASE.chunks)}
    assert server.ranges[0] == (0, 16 * CHUNK_MAX_BYTES)
    assert server.ranges[1][1] == len(server.joined)


def test_the_last_chunk_is_as_long_as_it_travels() -> None:
    sizes = [payload_bytes(n, RELEASE.chunks, len(RELEASE.artifact)) for n in range(RELEASE.chunks)]
    assert sizes == [len(RELEASE.chunk(n)) for n in range(RELEASE.chunks)]


def test_a_connection_that_the_server_closed_between_two_ranges_is_made_anew(
    server: HttpsOrigin, fetching: Fetching
) -> None:
    def closing(handler: BaseHTTPRequestHandler, begin: int, end: int, payload: bytes) -> None:
        server.send(handler, begin, end, payload)
        handler.close_connection = True

    server.answer = closing
    assert [fetching.get(n, 2) for n in (0, 2, 4)] == [None, None, None]
    assert sorted(fetching.chunks) == list(range(6))


def test_what_came_before_a_failure_is_handed_on_and_not_fetched_again(
    server: HttpsOrigin, fetching: Fetching
) -> None:
    def breaking(handler: BaseHTTPRequestHandler, begin: int, end: int, payload: bytes) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(server.joined)}")
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload[: 3 * CHUNK_MAX_BYTES + 1000])
        handler.close_connection = True

    server.answer = breaking
    assert "too early" in (fetching.get(0, 8) or "")
    assert sorted(fetching.chunks) == [0, 1, 2]
    server.answer = None
    assert fetching.get(3, 5) is None
    assert sorted(fetching.chunks) == list(range(8))


# --- over TLS -----------------------------------------------------------------------------------------------


@pytest.mark.attack("wrong server", "HTTPS chunks come only from a server that the pinned CA signed")
def test_the_certificate_must_be_of_the_pinned_authority(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir(), other.mkdir()
    files = certificate(mine)
    with HttpsOrigin(RELEASE, certificate=files) as server:
        good = Fetching(server.url, ca=files[0].read_text())
        assert good.get(0, 2) is None
        good.fetch.stop()
        bad = Fetching(server.url, ca=certificate(other)[0].read_text())
        reason = bad.get(0, 2)
        bad.fetch.stop()
        assert reason is not None and "certificate is not good" in reason
        assert bad.chunks == {}


# --- servers that lie or dawdle -----------------------------------------------------------------------------


@pytest.mark.attack("endless data", "over HTTPS no byte more is read than was asked for")
def test_endless_data_is_not_read(server: HttpsOrigin, fetching: Fetching) -> None:
    sent = 0

    def endless(handler: BaseHTTPRequestHandler, begin: int, end: int, payload: bytes) -> None:
        nonlocal sent
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(server.joined)}")
        handler.end_headers()
        handler.wfile.write(payload)
        while not server.let_go.is_set():
            sent += handler.wfile.write(b"\0" * 65_536)

    server.answer = endless
    assert "more than it was asked for" in (fetching.get(0, 2) or "")
    assert sorted(fetching.chunks) == [0, 1]
    server.let_go.wait(0.05)
    assert sent < 16 << 20  # what the kernel's buffers took


@pytest.mark.attack("slow loris on chunks", "an HTTPS answer below 1,000 bytes/s is dropped, its head too")
@pytest.mark.parametrize("where", ["head", "body", "nothing"])
def test_a_trickle_is_dropped(server: HttpsOrigin, fetching: Fetching, where: str) -> None:
    def trickle(handler: BaseHTTPRequestHandler, begin: int, end: int, payload: bytes) -> None:
        if where == "body":
            handler.send_response(206)
            handler.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(server.joined)}")
            handler.end_headers()
        while not server.let_go.wait(0.05):
            if where != "nothing":
                handler.wfile.write(b"X")
                handler.wfile.flush()

    server.answer = trickle
    began_s = time.monotonic()
    reason = fetching.get(0, 2)
    assert time.monotonic() - began_s < 5
    said = "less than 1000 bytes/s" if where == "body" else "does not answer within"
    assert reason is not None and (said in reason or "silent" in reason)
    assert fetching.chunks == {}


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ((206, {"Content-Range": "bytes 64000-127999/999999"}), "another range"),
        ((206, {"Content-Range": "bytes 0-127999/9", "Content-Encoding": "gzip"}), "encoding"),
        ((200, {}), "HTTP status 200 instead of 206"),
        ((302, {"Location": "http://127.0.0.1:1/"}), "HTTP status 302"),
        ((401, {}), "refuses this device's ticket"),
        ((404, {}), "no such artifact"),
        ((503, {"Retry-After": "0"}), "asks to wait"),
        ((206, {}), "another range"),
    ],
)
def test_each_wrong_answer_has_its_words(
    server: HttpsOrigin, fetching: Fetching, head: tuple[int, dict[str, str]], said: str
) -> None:
    def wrong(handler: BaseHTTPRequestHandler, begin: int, end: int, payload: bytes) -> None:
        handler.send_response(head[0])
        for name, value in head[1].items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload)

    server.answer = wrong
    assert said in (fetching.get(0, 2) or "")
    assert fetching.chunks == {}


def test_no_server_at_all_is_a_sentence() -> None:
    fetching = Fetching("http://127.0.0.1:1")
    assert "cannot be reached" in (fetching.get(0, 1) or "")
    fetching.fetch.stop()


def test_stopping_ends_a_download_at_once(server: HttpsOrigin, fetching: Fetching) -> None:
    def halting(handler: BaseHTTPRequestHandler, begin: int, end: int, payload: bytes) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(server.joined)}")
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload[: CHUNK_MAX_BYTES + 10])
        server.let_go.wait(20)

    server.answer = halting
    fetching.fetch.get(0, 4)
    assert fetching.came.wait(10)
    began_s = time.monotonic()
    fetching.fetch.stop()
    fetching.fetch.join(10)
    assert time.monotonic() - began_s < 0.25
    assert sorted(fetching.chunks) == [0]
    assert fetching.ended.empty()

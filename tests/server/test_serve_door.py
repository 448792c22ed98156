"""The web server's door, in a real process: who waits, who is served, who is sent away."""

import http.client
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgepress_server.broker.ports import listen
from edgepress_server.pki import ensure, local_context
from edgepress_server.serve.door import HEAD_MAX_BYTES, HELD_BODY_BYTES, is_whole
from edgepress_server.settings import Settings

# Fewer threads than the server has: what holds them shows sooner.
PROGRAM = """
import sys
from edgepress_server.serve.web import WebServer
from edgepress_server.serve import web
from edgepress_server.settings import from_json

web.THREADS = 4

def app(environ, start_response):
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body) + 5))])
    return [environ["wsgi.url_scheme"].encode().ljust(5), body]

class Small(WebServer):
    def load(self):
        return app

Small(from_json(sys.argv[1].encode()), int(sys.argv[2])).run()
"""

HEADS = [
    ("nothing yet", b"", False),
    ("a head that is not whole", b"GET / HTTP/1.1\r\nHost: a\r\n", False),
    ("a head without a body", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", True),
    ("half a body", b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab", False),
    ("a whole body", b"POST / HTTP/1.1\r\ncontent-length:4\r\n\r\nabcd", True),
    ("a large body is a thread's", b"POST / HTTP/1.1\r\nContent-Length: 70000\r\n\r\n", True),
    ("a length that is none is the parser's", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", True),
    ("a head without end is the parser's", b"GET / HTTP/1.1\r\nX: " + b"a" * HEAD_MAX_BYTES, True),
    ("a length in the body counts nothing", b"GET / HTTP/1.1\r\n\r\n\r\nContent-Length: 9\r\n", True),
]


@pytest.mark.parametrize(("received", "expected"), [c[1:] for c in HEADS], ids=[c[0] for c in HEADS])
def test_what_is_there_for_a_thread(received: bytes, expected: bool) -> None:
    assert is_whole(received) is expected


def test_the_application_refuses_what_the_door_does_not_hold() -> None:
    from edgepress_server.api.body_limit import PUBLIC_BODY_BYTES

    assert PUBLIC_BODY_BYTES <= HELD_BODY_BYTES, "or a thread would wait for somebody who is not signed in"


class Served:
    def __init__(self, folder: Path, tls: bool) -> None:
        self.listener = listen("127.0.0.1", 0, "--port", "the test")
        self.settings = Settings(data_dir=folder, port=self.listener.getsockname()[1], tls=tls)
        ensure(self.settings)
        self.listener.set_inheritable(True)
        fd = self.listener.fileno()
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, to_text(self.settings), str(fd)],
                pass_fds=[fd],
                stdout=log,
                stderr=log,
            )

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.settings.port), timeout=20)

    def trusting(self) -> ssl.SSLContext:
        return local_context(self.settings)

    def ask(self, body: bytes = b"") -> bytes:
        """One request over a connection of its own."""
        kind = {True: http.client.HTTPSConnection, False: http.client.HTTPConnection}[self.settings.tls]
        options = {"context": self.trusting()} if self.settings.tls else {}
        connection = kind("127.0.0.1", self.settings.port, timeout=20, **options)
        try:
            connection.request("POST" if body else "GET", "/", body or None)
            return connection.getresponse().read()
        finally:
            connection.close()

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(15)
        self.listener.close()


def to_text(settings: Settings) -> str:
    from edgepress_server.settings import to_json

    return to_json(settings).decode()


@pytest.fixture(scope="module", params=[False, True], ids=["http", "https"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("door"), request.param)
    try:
        made.ask()
        yield made
    finally:
        made.close()


@pytest.mark.e2e
@pytest.mark.attack(
    "slow loris on the web server", "200 half-open connections hold no thread; others are served"
)
def test_half_open_connections_hold_nobody_up(served: Served) -> None:
    held: list[socket.socket] = []
    try:
        for number in range(200):
            connection = served.connect()
            held.append(connection)
            if number % 4 == 1:
                connection.send(b"\x16\x03\x01" if served.settings.tls else b"G")
            elif served.settings.tls and number % 4 == 2:
                connection = served.trusting().wrap_socket(connection, server_hostname="localhost")
                held.append(connection)
                connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nab")
            elif number % 4 == 2:
                connection.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50\r\n\r\nab")
            elif number % 4 == 3 and not served.settings.tls:
                connection.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        started = time.monotonic()
        with ThreadPoolExecutor(8) as others:
            answers = list(others.map(lambda n: served.ask(b"x" * n), range(1, 41)))
        took_s = time.monotonic() - started
        assert [len(answer) for answer in answers] == [5 + n for n in range(1, 41)]
        assert took_s < 5.0, f"40 requests took {took_s:.1f} s beside 200 half-open connections"
    finally:
        for connection in held:
            connection.close()


@pytest.mark.e2e
def test_one_connection_carries_several_requests_and_large_bodies(served: Served) -> None:
    scheme = b"https" if served.settings.tls else b"http "
    connection: socket.socket = served.connect()
    if served.settings.tls:
        connection = served.trusting().wrap_socket(connection, server_hostname="localhost")
    with connection:
        # Two requests in one write, then one whose body is larger than what the door holds, in pieces.
        connection.sendall(
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        )
        assert read_answers(connection, 2) == [scheme, scheme + b"abc"]
        body = bytes(range(256)) * 1000
        connection.sendall(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        connection.sendall(body[:100])
        connection.sendall(body[100:])
        assert read_answers(connection, 1) == [scheme + body]


@pytest.mark.e2e
def test_a_client_that_never_hangs_up_does_not_stop_the_loop(served: Served) -> None:
    held = []
    try:
        for _ in range(20):
            connection: socket.socket = served.connect()
            if served.settings.tls:
                connection = served.trusting().wrap_socket(connection, server_hostname="localhost")
            held.append(connection)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            read_answers(connection, 1)  # and then it stays
        started = time.monotonic()
        served.ask()
        assert time.monotonic() - started < 2.0
    finally:
        for connection in held:
            connection.close()


@pytest.mark.e2e
def test_http_on_the_https_port_is_told_so(served: Served) -> None:
    if not served.settings.tls:
        return
    with served.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while part := connection.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 400 ") and answer.endswith(b"use https:// and try again")


@pytest.mark.e2e
def test_old_tls_is_refused(served: Served) -> None:
    if not served.settings.tls:
        return
    context = served.trusting()
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    with served.connect() as plain, served.trusting().wrap_socket(plain, server_hostname="x") as secure:
        assert secure.version() in ("TLSv1.2", "TLSv1.3")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("AES256-SHA:AES128-SHA:@SECLEVEL=0")  # no forward secrecy
    with served.connect() as plain, pytest.raises(ssl.SSLError):
        context.wrap_socket(plain, server_hostname="x")


def read_answers(connection: socket.socket, count: int) -> list[bytes]:
    """The bodies of so many answers."""
    stream, bodies = connection.makefile("rb"), []
    for _ in range(count):
        assert stream.readline().startswith(b"HTTP/1.1 200")
        length = 0
        while line := stream.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        bodies.append(stream.read(length))
    return bodies

"""Chunks over HTTPS: the same bytes as on MQTT, for whoever shows the ticket of a want, and nobody else."""

import http.client
import socket
import subprocess
import sys
import time

import pytest
from fleet_story import Fleet

from edgepress_agent.seal import open_chunk, open_content_key
from edgepress_devices.protocol import CHUNK_MAX_BYTES, chunk_count
from edgepress_server.api import create_app
from edgepress_server.broker.ports import listen
from edgepress_server.settings import Settings, to_json
from edgepress_server.trust.ticket import make_ticket


@pytest.fixture
def fleet(store, clock):
    return Fleet(store, clock)


@pytest.fixture
def told(fleet):
    """A device that was told to run an artifact of 20 chunks: (device, accepted want)."""
    (device,) = fleet.enrol("pi")
    digest = fleet.artifact("a" * 60)
    fleet.roll_out(fleet.release(digest))
    fleet.settle()
    return device, device.read_want()


@pytest.fixture
def ask(store):
    client = create_app(Settings(data_dir=store.data_dir), store).test_client()

    def get(digest, ticket, given=None):
        headers = {"Authorization": f"Bearer {ticket}"} | ({"Range": given} if given else {})
        return client.get(f"/api/v1/chunks/{digest}", headers=headers, buffered=True)

    return get


def ticket_for(store, device, digest):
    secret = store.delivery.ticket_secret()
    return make_ticket(secret, device=device, digest=digest, expires_s=store.now_ms() // 1000 + 60)


def test_ranges_are_the_chunks_of_mqtt(store, told, ask):
    device, accepted = told
    want = accepted.want
    ticket = ticket_for(store, "pi", want.digest)
    key = open_content_key(want.sealed_key, device.key, device="pi", digest=want.digest)
    chunks = chunk_count(want.size)
    data = b""
    for n in range(chunks):
        start = n * CHUNK_MAX_BYTES
        answer = ask(want.digest, ticket, f"bytes={start}-{start + CHUNK_MAX_BYTES - 1}")
        assert answer.status_code == 206
        data += open_chunk(
            answer.data, key=key, digest=want.digest, n=n, chunks=chunks, artifact_bytes=want.size
        )
    assert data == store.blobs.read(want.digest)


def test_an_answer_holds_sixteen_chunks(store, told, ask):
    _, accepted = told
    digest = accepted.want.digest
    ticket = ticket_for(store, "pi", digest)
    first = ask(digest, ticket)
    assert len(first.data) == 16 * CHUNK_MAX_BYTES
    total = int(first.headers["Content-Range"].rpartition("/")[2])
    rest = ask(digest, ticket, f"bytes={len(first.data)}-")
    assert len(first.data) + len(rest.data) == total
    middle = ask(digest, ticket, "bytes=63990-64009")
    assert middle.data == (first.data + rest.data)[63_990:64_010]


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=5-4", "bytes=-5", "chunks=1-2", "bytes=0-1,3-4"])
def test_a_range_that_is_none(store, told, ask, asked):
    digest = told[1].want.digest
    answer = ask(digest, ticket_for(store, "pi", digest), asked)
    assert answer.status_code == 400


@pytest.mark.attack("wrong device", "over HTTPS only what it is to run, a revoked one nothing")
def test_only_what_the_ticket_is_for(store, told, fleet, ask):
    digest = told[1].want.digest
    other = fleet.artifact("b" * 60)
    ticket = ticket_for(store, "pi", digest)
    assert ask(other, ticket).status_code == 403
    assert ask(digest, ticket[:-2]).status_code == 401
    assert ask(digest, "").status_code == 401
    store.devices.revoke("pi", actor=None)
    assert ask(digest, ticket).status_code == 403


# --- in a real web server -----------------------------------------------------------------------------------

PROGRAM = """
import sys
from edgepress_server.serve.web import WebServer
from edgepress_server.settings import from_json

WebServer(from_json(sys.argv[1].encode()), int(sys.argv[2])).run()
"""


@pytest.fixture
def port(store):
    listener = listen("127.0.0.1", 0, "--port", "the test")
    listener.set_inheritable(True)
    settings = Settings(data_dir=store.data_dir, port=listener.getsockname()[1])
    with (store.data_dir / "web.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, to_json(settings).decode(), str(listener.fileno())],
            pass_fds=[listener.fileno()],
            stdout=log,
            stderr=log,
        )
    try:
        yield settings.port
    finally:
        process.terminate()
        process.wait(15)
        listener.close()


def health(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", "/api/v1/health")
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.e2e
@pytest.mark.attack(
    "slow loris on chunks", "a device that asks 100 times and reads nothing holds two threads"
)
def test_who_reads_nothing_holds_two_threads(store, told, port):
    digest = told[1].want.digest
    ticket = ticket_for(store, "pi", digest)
    assert health(port) < 500
    request = f"GET /api/v1/chunks/{digest} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {ticket}\r\n\r\n"
    held = []
    try:
        for _ in range(100):
            connection = socket.create_connection(("127.0.0.1", port), timeout=20)
            held.append(connection)
            connection.sendall(6 * request.encode())  # the system takes one or two answers off the thread
        assert [connection.recv(9) for connection in held] == [b"HTTP/1.1 "] * 100
        for _ in range(20):
            started = time.monotonic()
            assert health(port) < 500
            assert time.monotonic() - started < 5.0
    finally:
        for connection in held:
            connection.close()
    deadline_s = time.monotonic() + 20
    while True:  # those that hung up hold nothing any more
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", f"/api/v1/chunks/{digest}", headers={"Authorization": f"Bearer {ticket}"})
        status = connection.getresponse().status
        connection.close()
        if status == 206:
            return
        assert time.monotonic() < deadline_s, status

"""Chunks over HTTPS: the same bytes as on MQTT, for whoever shows the ticket of a want, and nobody else."""

import pytest
from fleet_story import Fleet

from edgepress_agent.seal import open_chunk, open_content_key
from edgepress_devices.protocol import CHUNK_MAX_BYTES, chunk_count
from edgepress_server.api import create_app
from edgepress_server.settings import Settings
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
        return client.get(f"/api/v1/chunks/{digest}", headers=headers)

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

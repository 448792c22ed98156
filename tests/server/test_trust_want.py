"""Wants, statements and chunks: what the server makes, the agent's own code accepts; and nothing changed."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from edgepress_agent.errors import WantError
from edgepress_agent.seal import open_chunk, open_content_key
from edgepress_agent.trust import Accepted, Floors, load_root, verify_want
from edgepress_devices.protocol import (
    CHUNK_MAX_BYTES,
    CHUNK_PLAIN_BYTES,
    WANT_MAX_BYTES,
    Delivery,
    DeltaOffer,
    Limits,
    ProfilingJob,
    Shadow,
    chunk_count,
)
from edgepress_server.errors import InvalidInputError, NotFoundError, StoreError
from edgepress_server.link.chunks import ArtifactChunks
from edgepress_server.trust import (
    IssuedWant,
    Keys,
    create_keys_if_missing,
    load_keys,
    make_want,
    new_content_key,
    seal_content_key,
    sign_delta_statement,
    sign_statement,
)
from edgepress_server.trust.key_change import RELEASE_THRESHOLD_MAX, rotate
from edgepress_server.trust.key_file import new_private_key
from edgepress_server.trust.ticket import make_ticket

NOW = datetime(2027, 1, 15, 12, 0, 0, 250_000, tzinfo=UTC)
DIGEST = "ab" * 32
SIZE = 1_000_000


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return create_keys_if_missing(tmp_path / "keys", NOW)


@pytest.fixture
def device_key() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def public(key: X25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def statement(keys: Keys, **more: object) -> str:
    said = {"digest": DIGEST, "size": SIZE, "chunks": chunk_count(SIZE), "profile": "raspberry-pi-4"}
    return sign_statement(keys, **(said | {"model": "m", "release_counter": 7, "now": NOW} | more))  # type: ignore[arg-type]


def want(keys: Keys, key: X25519PrivateKey, **more: object) -> IssuedWant:
    said = {"device": "pi-4", "counter": 3, "digest": DIGEST, "size": SIZE, "content_key": b"k" * 32}
    said |= {"statement": statement(keys), "public_key": public(key), "now": NOW}
    return make_want(keys, **(said | more))  # type: ignore[arg-type]


def verify(keys: Keys, payload: bytes, at: datetime = NOW, floors: Floors | None = None) -> Accepted:
    return verify_want(
        payload,
        root=load_root(keys.root_json),
        device="pi-4",
        profile="raspberry-pi-4",
        floors=floors or Floors(),
        clock_s=int(at.timestamp()),
    )


def test_the_agent_accepts_a_want_and_opens_its_key(keys: Keys, device_key: X25519PrivateKey) -> None:
    issued = want(keys, device_key, statement=statement(keys, limits=Limits(p95_us=900)))
    accepted = verify(keys, issued.payload)
    assert (accepted.counter, accepted.release, accepted.want.size) == (3, 7, SIZE)
    assert accepted.statement is not None
    assert accepted.statement.limits == Limits(p95_us=900)
    key = open_content_key(accepted.want.sealed_key, device_key, device="pi-4", digest=DIGEST)
    assert key == b"k" * 32
    assert issued.expires_at == accepted.expires_s * 1000


def test_a_want_for_nothing_needs_no_key(keys: Keys) -> None:
    assert verify(keys, make_want(keys, device="pi-4", counter=1, now=NOW).payload).want.digest is None


def test_another_device_cannot_open_the_key(keys: Keys, device_key: X25519PrivateKey) -> None:
    sealed = verify(keys, want(keys, device_key).payload).want.sealed_key
    with pytest.raises(WantError):
        open_content_key(sealed, X25519PrivateKey.generate(), device="pi-4", digest=DIGEST)
    with pytest.raises(WantError):
        open_content_key(sealed, device_key, device="pi-5", digest=DIGEST)


def test_a_want_with_any_byte_of_its_claims_changed_is_refused(
    keys: Keys, device_key: X25519PrivateKey
) -> None:
    original = json.loads(want(keys, device_key).payload)
    for field, value in {"digest": "cd" * 32, "size": SIZE + 1, "device": "pi-5", "issued_at": 1}.items():
        forged = json.loads(json.dumps(original))
        forged["signed"]["ep_want"][field] = value
        with pytest.raises(WantError):
            verify(keys, json.dumps(forged).encode())


def test_the_director_cannot_make_a_device_run_what_was_not_released(
    keys: Keys, device_key: X25519PrivateKey
) -> None:
    """A stolen server has the director key; the statement then is signed by the wrong one."""
    thief = Keys(roots=keys.roots, release=(keys.director,), director=keys.director)
    with pytest.raises(WantError, match="not signed by the release key"):
        verify(keys, want(thief, device_key, statement=statement(thief)).payload)


def test_wants_and_statements_expire(keys: Keys, device_key: X25519PrivateKey) -> None:
    payload = want(keys, device_key).payload
    verify(keys, payload, datetime(2027, 2, 14, 11, 59, tzinfo=UTC))
    with pytest.raises(WantError, match="the want expired"):
        verify(keys, payload, datetime(2027, 2, 14, 12, 0, tzinfo=UTC))


def test_the_largest_sensible_want_fits(keys: Keys, device_key: X25519PrivateKey) -> None:
    long_name = "m" * 100
    said = statement(keys, model=long_name, limits=Limits(p95_us=2**53, rss_bytes=2**53))
    issued = want(keys, device_key, statement=said, counter=2**40)
    assert len(issued.payload) < WANT_MAX_BYTES // 2


def test_the_largest_want_with_a_delta_and_as_many_signatures_as_may_be_fits(tmp_path: Path) -> None:
    """Everything that a want can carry, with the longest names that the server takes."""
    signers = [new_private_key() for _ in range(RELEASE_THRESHOLD_MAX)]
    create_keys_if_missing(tmp_path, NOW)
    rotate(tmp_path, "release", new_keys=[signer.public_key for signer in signers], threshold=len(signers))
    loaded = load_keys(tmp_path)
    keys = Keys(loaded.roots, loaded.director, tuple(signers))
    device, digest, key = "d" * 63, "de" * 32, X25519PrivateKey.generate()
    said = {
        "digest": digest,
        "size": 2**31,
        "chunks": chunk_count(2**31),
        "profile": "p" * 40,
        "model": "m" * 80,
    }
    whole = {"base": DIGEST, "full": DIGEST, "onnx_sha256": DIGEST, "onnx_bytes": 2**33}
    delta = sign_delta_statement(keys, **said, **whole, release_counter=10**6, now=NOW)  # type: ignore[arg-type]
    sealed = seal_content_key(b"k" * 32, public_key=public(key), device=device, digest=digest)
    issued = want(
        keys,
        key,
        device=device,
        counter=10**9,
        statement=statement(keys, profile="p" * 40, model="m" * 80, release_counter=10**6),
        limits=Limits(p95_us=2**40, rss_bytes=2**40),
        shadow=Shadow(seconds=7 * 86_400, requests=10**7, min_agreement_ppm=999_999, min_requests=10**6),
        delivery=Delivery(
            start_within_s=604_800,
            rate_bytes_s=2**40,
            hours=[(1000, 1001)] * 8,
            metered="wait",
            transport="https",
            full=False,
        ),
        delta=DeltaOffer(json.loads(delta), sealed),
        ticket=make_ticket(b"s" * 32, device=device, digest=DIGEST, expires_s=2**31),
        profiling=ProfilingJob(id="f" * 12, what="model", seconds=600, digest=DIGEST),
    )
    assert len(issued.payload) <= WANT_MAX_BYTES
    accepted = verify_want(
        issued.payload,
        root=load_root(keys.root_json),
        device=device,
        profile="p" * 40,
        floors=Floors(),
        clock_s=int(NOW.timestamp()),
    )
    assert accepted.delta is not None
    assert (accepted.delta.digest, accepted.delta.onnx_bytes) == (digest, 2**33)


def test_a_want_that_no_device_would_read_is_not_made(keys: Keys, device_key: X25519PrivateKey) -> None:
    with pytest.raises(InvalidInputError, match="Shorten the model's name"):
        want(keys, device_key, statement=statement(keys, model="m" * 3500))


@pytest.mark.parametrize("key", ["", "no base64!", base64.b64encode(b"short").decode()])
def test_a_device_key_that_is_none_is_said_so(keys: Keys, key: str, device_key: X25519PrivateKey) -> None:
    with pytest.raises(InvalidInputError, match="public key"):
        want(keys, device_key, public_key=key)


@pytest.mark.parametrize("size", [1, CHUNK_PLAIN_BYTES, CHUNK_PLAIN_BYTES + 1, 3 * CHUNK_PLAIN_BYTES])
def test_the_agent_puts_the_chunks_together(tmp_path: Path, size: int) -> None:
    from hashlib import sha256

    data = bytes(i * 31 % 251 for i in range(size))
    digest, key = sha256(data).hexdigest(), new_content_key()
    (tmp_path / "blob").write_bytes(data)
    chunks = ArtifactChunks(digest, tmp_path / "blob", key)
    assert chunks.count == chunk_count(size)
    payloads = [chunks.payload(n) for n in range(chunks.count)]
    assert max(map(len, payloads)) <= CHUNK_MAX_BYTES
    assert payloads == [chunks.payload(n) for n in range(chunks.count)]  # a repair has the same bytes
    opened = b"".join(
        open_chunk(p, key=key, digest=digest, n=n, chunks=chunks.count, artifact_bytes=size)
        for n, p in enumerate(payloads)
    )
    assert opened == data


def test_a_damaged_artifact_is_never_published(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"flipped")
    with pytest.raises(StoreError, match="damaged"):
        ArtifactChunks(DIGEST, tmp_path / "blob", b"k" * 32)
    with pytest.raises(NotFoundError, match="not there"):
        ArtifactChunks(DIGEST, tmp_path / "none", b"k" * 32)

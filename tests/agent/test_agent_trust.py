"""Each lie that a want can tell is refused in its own words."""

import base64
import copy
import json
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from release_side import Release, ReleaseSide, replace_somewhere, seal, sha256
from tuf.api.metadata import Metadata, TargetFile, Targets

from edgepress_agent.errors import ChunkDamagedError, EnrolmentError, WantError
from edgepress_agent.root_chain import next_root
from edgepress_agent.seal import open_chunk, open_content_key
from edgepress_agent.trust import Accepted, Floors, check_still_valid, load_root, verify_want
from edgepress_devices import protocol
from edgepress_devices.protocol import DeltaOffer

SIDE = ReleaseSide()
ROOT = load_root(SIDE.root.to_bytes())
KEY = X25519PrivateKey.generate()
RELEASE = Release(secrets.token_bytes(150_000), counter=5)
OTHER = Release(b"other", counter=5)
NOW_S = int(time.time())


def want(release: Release | None = RELEASE, counter: int = 7, **changes: Any) -> bytes:
    return SIDE.want("pi-4", KEY.public_key(), release, counter=counter, **changes)


def verify(payload: bytes, floors: Floors = Floors(), clock_s: int = NOW_S) -> Accepted:  # noqa: B008
    return verify_want(payload, root=ROOT, device="pi-4", profile="x86-pc", floors=floors, clock_s=clock_s)


def test_a_true_want_is_accepted() -> None:
    accepted = verify(want())
    assert accepted.counter == 7
    assert accepted.release == 5
    assert accepted.want.digest == RELEASE.digest
    assert accepted.statement is not None
    assert accepted.statement.model == "digits"


def test_a_delta_is_vouched_for_like_the_release() -> None:
    accepted = verify(_with_delta())
    assert accepted.delta is not None
    assert (accepted.delta.digest, accepted.delta.size_bytes, accepted.delta.chunks) == (DELTA.digest, 600, 1)
    assert (accepted.delta.base, accepted.delta.onnx_bytes) == ("ba" * 32, 100_000)
    key = open_content_key(accepted.delta.sealed_key, KEY, device="pi-4", digest=DELTA.digest)
    assert key == DELTA.key


def test_a_want_for_nothing_needs_no_statement() -> None:
    accepted = verify(want(None))
    assert accepted.want.digest is None
    assert accepted.statement is None


def test_the_same_counter_again_is_the_retained_message_again() -> None:
    assert verify(want(), Floors(want=7)).counter == 7


def _tampered() -> bytes:
    document = json.loads(want())
    document["signed"]["ep_want"]["telemetry_interval_s"] = 2
    return json.dumps(document).encode()


def _another_statement() -> bytes:
    return want(statement=SIDE.statement(OTHER))


def _statement_with(**changes: Any) -> bytes:
    """A statement that the release key signed, about something else than the artifact."""
    wrong = Release(RELEASE.artifact, counter=5, **changes)
    return want(statement=SIDE.statement(wrong))


def _wrong_hash() -> bytes:
    custom = {"profile": "x86-pc", "model": "digits", "chunks": RELEASE.chunks}
    target = TargetFile(len(RELEASE.artifact), {"sha256": "0" * 64}, RELEASE.digest, {"custom": custom})
    signed = Metadata(Targets(version=5, expires=_later(), targets={RELEASE.digest: target}))
    signed.sign(SIDE.release_key)
    return want(statement=signed.to_dict())


def _for_another() -> bytes:
    return SIDE.want("pi-5", KEY.public_key(), RELEASE, counter=7)


def _later() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=30)


DELTA = Release(b"change" * 100, counter=5)


def _with_delta(delta: Release = DELTA, **changes: Any) -> bytes:
    offer = SIDE.delta("pi-4", KEY.public_key(), RELEASE, delta, **changes)
    return want(delta=msgspec.convert(offer, DeltaOffer))


def _delta_by_the_director() -> bytes:
    offer = msgspec.convert(SIDE.delta("pi-4", KEY.public_key(), RELEASE, DELTA), DeltaOffer)
    offer.statement = SIDE.statement(DELTA, signer=SIDE.director_key)
    return want(delta=offer)


LIES: list[tuple[str, Callable[[], bytes], Floors, str, bool]] = [
    ("larger than a want may be", lambda: want(sealed_key="x" * 5000), Floors(), "at most 4096", False),
    ("no JSON", lambda: b"{", Floors(), "cannot be read", False),
    ("nested without end", lambda: b"[" * 4000, Floors(), "cannot be read", False),
    ("other metadata", SIDE.root.to_bytes, Floors(), "cannot be read|type 'root'", False),
    ("changed after it was signed", _tampered, Floors(), "not signed by the server's director", False),
    ("signed by the release key", lambda: want(signer=SIDE.release_key), Floors(), "director key", False),
    ("signed by another role", lambda: want(signer=SIDE.snapshot_key), Floors(), "director key", False),
    ("expired", lambda: want(days=-1), Floors(), "expired on", False),
    ("expired by signed time", want, Floors(time_s=NOW_S + 40 * 86400), "expired on", False),
    ("issued after it expires", lambda: want(issued_at=NOW_S + 90 * 86400), Floors(), "issued after", False),
    ("for another device", _for_another, Floors(), "for device 'pi-5'", False),
    ("replayed", want, Floors(want=8), "it is a replay", False),
    ("of a later protocol", lambda: want(v=2), Floors(), "update it", False),
    ("without a statement", lambda: want(statement=None), Floors(), "no readable release statement", True),
    ("a statement that is no metadata", lambda: want(statement={"a": 1}), Floors(), "no readable", True),
    (
        "a statement signed by the director",
        lambda: want(statement=SIDE.statement(RELEASE, signer=SIDE.director_key)),
        Floors(),
        "not signed by the release key",
        True,
    ),
    (
        "an expired statement",
        lambda: want(statement=SIDE.statement(RELEASE, days=-1)),
        Floors(),
        "the release statement expired",
        True,
    ),
    ("a statement about another artifact", _another_statement, Floors(), "about another artifact", True),
    ("a statement with another hash", _wrong_hash, Floors(), "SHA-256 that is not", True),
    ("for another profile", lambda: _statement_with(profile="jetson-nano"), Floors(), "'jetson-nano'", True),
    ("another size than released", lambda: want(size=149_999), Floors(), "size or number of chunks", True),
    ("another number of chunks", lambda: want(chunks=4), Floors(), "size or number of chunks", True),
    ("an older release than one that ran", want, Floors(release=6), "release counter 5 is below 6", True),
    (
        "a delta of another release",
        lambda: _with_delta(Release(DELTA.artifact, counter=4)),
        Floors(),
        "the delta is of release 4, the artifact of release 5",
        True,
    ),
    (
        "a delta to another artifact",
        lambda: _with_delta(full=OTHER.digest),
        Floors(),
        "another artifact",
        True,
    ),
    (
        "a delta for another profile",
        lambda: _with_delta(Release(DELTA.artifact, counter=5, profile="jetson-nano")),
        Floors(),
        "'jetson-nano'",
        True,
    ),
    ("a delta that is the artifact itself", lambda: _with_delta(RELEASE), Floors(), "of its own", True),
    ("a delta of other chunks", lambda: _with_delta(chunks=9), Floors(), "do not make 9 chunks", True),
    (
        "a delta to an endless model",
        lambda: _with_delta(onnx_bytes=2**50),
        Floors(),
        "larger than this",
        True,
    ),
    (
        "a delta to nothing",
        lambda: _with_delta(onnx_bytes=0),
        Floors(),
        "larger than this device reads",
        True,
    ),
    ("a delta without a hash", lambda: _with_delta(onnx_sha256="x"), Floors(), "says too little", True),
    (
        "a delta signed by the director",
        _delta_by_the_director,
        Floors(),
        "not signed by the release key",
        True,
    ),
]


@pytest.mark.parametrize(
    ("lie", "floors", "words", "authentic"), [x[1:] for x in LIES], ids=[x[0] for x in LIES]
)
def test_a_lie_is_refused(lie: Callable[[], bytes], floors: Floors, words: str, authentic: bool) -> None:
    with pytest.raises(WantError, match=words) as caught:
        verify(lie(), floors)
    assert caught.value.authentic is authentic
    assert len(str(caught.value)) < 500


def test_a_want_of_another_server_is_refused() -> None:
    with pytest.raises(WantError, match="director key"):
        verify(ReleaseSide().want("pi-4", KEY.public_key(), RELEASE, counter=1))


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(WantError):
        verify(noise)


@given(st.integers(0, 4000), st.integers(0, 255))
def test_a_want_with_one_byte_changed_is_refused_or_says_the_same(at: int, value: int) -> None:
    payload = bytearray(_WANT)
    payload[at % len(payload)] = value
    try:
        accepted = verify(bytes(payload))
    except WantError:
        return
    assert accepted.want == verify(_WANT).want  # e.g. another space, or the unused signature's key id


_WANT = want()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=6,
)
_FULL = json.loads(_with_delta())["signed"]["ep_want"]


@settings(deadline=None, max_examples=200)
@given(path=st.lists(st.integers(0, 10), min_size=1, max_size=9), value=JSON)
def test_whatever_a_stolen_director_key_signs_is_refused_or_says_the_same(
    path: list[int], value: object
) -> None:
    ep_want = copy.deepcopy(_FULL)
    replace_somewhere(ep_want, path, value)
    signed = Metadata(
        Targets(version=7, expires=_later(), targets={}, unrecognized_fields={"ep_want": ep_want})
    )
    signed.sign(SIDE.director_key)
    try:
        accepted = verify(signed.to_bytes())
    except WantError:
        return
    if accepted.want.digest is not None:
        assert accepted.want.digest == RELEASE.digest
        assert accepted.release == 5
    if accepted.delta is not None:
        assert accepted.delta.digest == DELTA.digest


# --- a root that came since -------------------------------------------------------------------------------


def _followed(side: ReleaseSide, role: str, payload: bytes) -> None:
    """Ask about a want again after the keys of a role were rotated."""
    accepted = verify_want(
        payload, root=side.root, device="pi-4", profile="x86-pc", floors=Floors(), clock_s=NOW_S
    )
    root = next_root(side.root, side.rotate(role))
    check_still_valid(accepted, root, "x86-pc")


def test_a_want_outlives_a_root_that_keeps_its_keys() -> None:
    side = ReleaseSide()
    _followed(side, "root", side.want("pi-4", KEY.public_key(), RELEASE, counter=1))


def test_a_want_is_no_longer_valid_when_its_release_key_goes() -> None:
    side = ReleaseSide()
    with pytest.raises(WantError, match="not signed by the release key") as caught:
        _followed(side, "targets", side.want("pi-4", KEY.public_key(), RELEASE, counter=1))
    assert (caught.value.authentic, caught.value.counter) == (True, 1)


def test_a_want_is_no_longer_valid_when_its_director_goes() -> None:
    side = ReleaseSide()
    with pytest.raises(WantError, match="director key that signed this want is no longer valid") as caught:
        _followed(side, "timestamp", side.want("pi-4", KEY.public_key(), RELEASE, counter=1))
    assert not caught.value.authentic


def test_a_want_that_expired_meanwhile_may_still_be_finished() -> None:
    accepted = verify(want())
    check_still_valid(accepted, ROOT, "x86-pc")
    assert accepted.expires_s > NOW_S  # and this was not asked


def test_a_root_that_did_not_sign_itself_is_refused() -> None:
    document = json.loads(SIDE.root.to_bytes())
    document["signed"]["version"] = 2
    with pytest.raises(EnrolmentError, match="TUF root cannot be used"):
        load_root(json.dumps(document).encode())


# --- sealed keys and chunks -------------------------------------------------------------------------------


def test_a_content_key_opens_for_its_device_and_artifact_only() -> None:
    sealed = seal(RELEASE.key, KEY.public_key(), "pi-4", RELEASE.digest)
    assert open_content_key(sealed, KEY, device="pi-4", digest=RELEASE.digest) == RELEASE.key
    for key, device, digest in [
        (X25519PrivateKey.generate(), "pi-4", RELEASE.digest),
        (KEY, "pi-5", RELEASE.digest),
        (KEY, "pi-4", OTHER.digest),
    ]:
        with pytest.raises(WantError, match="not sealed to this device's key"):
            open_content_key(sealed, key, device=device, digest=digest)


@pytest.mark.parametrize("sealed", ["", "?", "QUJD", base64.b64encode(bytes(80)).decode(), "ä" * 10])
def test_a_malformed_sealed_key_is_refused(sealed: str) -> None:
    with pytest.raises(WantError):
        open_content_key(sealed, KEY, device="pi-4", digest=RELEASE.digest)


def _open(payload: bytes, n: int, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "key": RELEASE.key,
        "digest": RELEASE.digest,
        "n": n,
        "chunks": RELEASE.chunks,
        "artifact_bytes": len(RELEASE.artifact),
    }
    return open_chunk(payload, **{**fields, **changes})


def test_chunks_open_to_the_artifact() -> None:
    plain = b"".join(_open(RELEASE.chunk(n), n) for n in range(RELEASE.chunks))
    assert sha256(plain) == RELEASE.digest


def test_a_chunk_opens_at_its_own_place_only() -> None:
    with pytest.raises(ChunkDamagedError):
        _open(RELEASE.chunk(0), 1)
    with pytest.raises(ChunkDamagedError):
        _open(RELEASE.chunk(0), 0, digest=OTHER.digest)


@given(st.integers(0, protocol.CHUNK_MAX_BYTES - 1), st.integers(1, 255))
def test_a_chunk_with_a_changed_byte_is_damaged(at: int, change: int) -> None:
    payload = bytearray(_CHUNK)
    payload[at] ^= change
    with pytest.raises(ChunkDamagedError, match="chunk 1 came damaged"):
        _open(bytes(payload), 1)


_CHUNK = RELEASE.chunk(1)


@pytest.mark.parametrize("payload", [b"", b"x", bytes(protocol.CHUNK_MAX_BYTES)])
def test_a_chunk_of_another_length_is_damaged(payload: bytes) -> None:
    with pytest.raises(ChunkDamagedError, match="bytes instead of"):
        _open(payload, RELEASE.chunks - 1)

"""A device follows the TUF roots one after the other, and no forgery hands the keys over."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from power_cut import DyingDisk, PowerCut
from release_side import ReleaseSide, replace_somewhere
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import Enrolment, Identity, Mqtt, write_enrolment
from edgepress_agent.errors import RootError
from edgepress_agent.root_chain import ROOT_MAX_BYTES, director_id, next_root
from edgepress_agent.seal import new_device_key


@pytest.fixture
def side() -> ReleaseSide:
    return ReleaseSide()


@pytest.fixture
def folder(tmp_path: Path, side: ReleaseSide) -> Path:
    enrol(tmp_path, side)
    return tmp_path


def enrol(folder: Path, side: ReleaseSide) -> None:
    enrolment = Enrolment("pi-4", "x86-pc", "http://127.0.0.1", Mqtt("127.0.0.1", 1883), 0)
    write_enrolment(folder, Disk(), enrolment=enrolment, key=new_device_key(), root=side.root.to_bytes())


def test_roots_are_followed_and_are_there_after_a_restart(folder: Path, side: ReleaseSide) -> None:
    identity = Identity(folder)
    before = identity.fingerprint
    for number, role in enumerate(["targets", "root", "timestamp", "root"], 2):
        identity.update_root(side.rotate(role))
        assert identity.root_version == number
    again = Identity(folder)
    assert (again.root_version, again.fingerprint) == (5, before)  # it is still the same device
    assert again.root.signed_bytes == side.root.signed_bytes


def test_a_device_that_slept_for_years_follows_through_roots_that_have_expired(
    folder: Path, side: ReleaseSide
) -> None:
    identity = Identity(folder)
    for days in (-700, -300, 365):
        identity.update_root(side.rotate("root", days=days))
    assert identity.root_version == 4


def test_a_new_director_is_another_one(side: ReleaseSide) -> None:
    before = director_id(side.root)
    side.rotate("targets")
    assert director_id(side.root) == before
    side.rotate("timestamp")
    assert director_id(side.root) != before


def _changed(payload: bytes, change: Callable[[dict[str, object]], None]) -> bytes:
    document = json.loads(payload)
    change(document["signed"])
    return json.dumps(document).encode()


def _signed_only_by_itself(side: ReleaseSide) -> bytes:
    thief = ReleaseSide()
    thief.rotate("targets")
    payload: bytes = thief.root.to_bytes()
    return payload


def _signed_only_by_the_old_one(side: ReleaseSide) -> bytes:
    old = side.root_key
    side.rotate("root")
    side.root.signatures.clear()
    side.root.sign(old)
    payload: bytes = side.root.to_bytes()
    return payload


def _one_signature_of_two(side: ReleaseSide) -> bytes:
    side.rotate("targets")
    side.root.signed.add_key(CryptoSigner.generate_ed25519().public_key, "root")
    side.root.signed.roles["root"].threshold = 2
    side.root.sign(side.root_key)
    payload: bytes = side.root.to_bytes()
    return payload


def _skipping(side: ReleaseSide) -> bytes:
    side.rotate("root")
    return side.rotate("root")


LIES: list[tuple[str, Callable[[ReleaseSide], bytes], str]] = [
    ("of a thief", _signed_only_by_itself, "not signed by the root keys of version 1"),
    ("not signed by its own keys", _signed_only_by_the_old_one, "not signed by its own root keys"),
    ("with one signature of the two it asks for", _one_signature_of_two, "not signed by its own root keys"),
    ("that skips a version", _skipping, "version 3; after 1 only 2"),
    ("that is known already", lambda side: side.root.to_bytes(), "version 1, but 1 is known"),
    (
        "changed after it was signed",
        lambda side: _changed(
            side.rotate("targets"), lambda signed: signed.update(expires="2999-01-01T00:00:00Z")
        ),
        "not signed by the root keys",
    ),
    (
        "that is a want",
        lambda side: side.want("pi-4", new_device_key().public_key(), None, counter=1),
        "kind|read",
    ),
    ("that is no JSON", lambda _: b"{", "cannot be read"),
    ("nested without end", lambda _: b"[" * 30_000, "cannot be read"),
    ("without end", lambda _: b" " * (ROOT_MAX_BYTES + 1), "at most 32768 are read"),
    ("that is empty", lambda _: b"", "cannot be read"),
]


@pytest.mark.parametrize(("lie", "words"), [row[1:] for row in LIES], ids=[row[0] for row in LIES])
def test_a_forged_root_is_refused(
    folder: Path, side: ReleaseSide, lie: Callable[[ReleaseSide], bytes], words: str
) -> None:
    identity = Identity(folder)
    with pytest.raises(RootError, match=words) as caught:
        identity.update_root(lie(side))
    assert len(str(caught.value)) < 500
    assert (identity.root_version, Identity(folder).root_version) == (1, 1)


@pytest.mark.fault("power cut", "a root is trusted when it lies whole on the disk, and not before")
def test_a_power_cut_leaves_the_old_root_or_the_new_one(tmp_path: Path) -> None:
    for writes in range(50):
        side = ReleaseSide()
        folder = tmp_path / str(writes)
        folder.mkdir()
        enrol(folder, side)
        payload = side.rotate("root")
        try:
            Identity(folder, DyingDisk(writes)).update_root(payload)
            break
        except PowerCut:
            version = Identity(folder).root_version
            assert version in (1, 2)
            if version == 1:
                Identity(folder).update_root(payload)
            assert Identity(folder).root_version == 2
    else:
        raise AssertionError("it never got through")


def test_a_damaged_file_of_the_chain_ends_it_there(
    folder: Path, side: ReleaseSide, caplog: pytest.LogCaptureFixture
) -> None:
    identity = Identity(folder)
    second, third = side.rotate("root"), side.rotate("targets")
    identity.update_root(second)
    identity.update_root(third)
    (folder / "roots" / "2.json").write_bytes(second[:-40])
    with caplog.at_level(logging.WARNING):
        again = Identity(folder)
    assert again.root_version == 1
    assert "is left aside" in caplog.text
    again.update_root(second)  # the broker has it
    assert Identity(folder).root_version == 3


def test_enrolling_again_begins_with_the_new_servers_root(folder: Path, side: ReleaseSide) -> None:
    Identity(folder).update_root(side.rotate("root"))
    other = ReleaseSide()
    enrol(folder, other)
    again = Identity(folder)
    assert again.root_version == 1
    assert again.root.signed_bytes == other.root.signed_bytes


_SIDE = ReleaseSide()
_FIRST: Metadata[Root] = _SIDE.root
_SECOND = _SIDE.rotate("targets")


@given(st.binary(max_size=300))
def test_noise_is_no_root(noise: bytes) -> None:
    with pytest.raises(RootError):
        next_root(_FIRST, noise)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.integers(0, len(_SECOND) - 1), st.integers(0, 255))
def test_a_root_with_one_byte_changed_is_refused_or_says_the_same(at: int, value: int) -> None:
    payload = bytearray(_SECOND)
    payload[at] = value
    try:
        root = next_root(_FIRST, bytes(payload))
    except RootError:
        return
    assert root.signed_bytes == _SIDE.root.signed_bytes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=8), children, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(path=st.lists(st.integers(0, 10), min_size=1, max_size=7), value=JSON)
def test_a_root_with_any_value_replaced_is_refused_or_says_the_same(path: list[int], value: object) -> None:
    document = json.loads(_SECOND)
    replace_somewhere(document, path, value)
    try:
        root = next_root(_FIRST, json.dumps(document).encode())
    except RootError:
        return
    assert root.signed_bytes == _SIDE.root.signed_bytes

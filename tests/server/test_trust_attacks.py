"""What an attacker who owns the broker, or one of the keys, cannot do: each try is refused in its own words.

The board in these stories runs the real agent's job loop, journal and trust; the vendor has real keys.
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from attacked_board import Artifact, Board, Vendor

from edgepress_agent.errors import RootError
from edgepress_devices import protocol
from edgepress_server.trust.key_change import rotate
from edgepress_server.trust.key_file import new_private_key
from edgepress_server.trust.keys import Keys
from edgepress_server.trust.seal import encrypt_chunk

OLD = Artifact(secrets.token_bytes(1000), counter=1)
NEW = Artifact(secrets.token_bytes(200_000), counter=2)  # four chunks
UNRELEASED = Artifact(b"malware" * 1000, counter=3)


@pytest.fixture
def vendor(tmp_path: Path) -> Vendor:
    return Vendor(tmp_path / "keys")


@pytest.fixture
def board(tmp_path: Path, vendor: Vendor) -> Board:
    """It runs OLD."""
    board = Board(tmp_path / "board", vendor)
    board.serve(OLD)
    board.serve(NEW)
    board.take(vendor.want(board, OLD, 1))
    assert board.running == OLD.digest
    return board


def refused(board: Board, want: bytes, words: str, *, still: Artifact = OLD) -> None:
    """The want is refused with this reason, and what runs keeps running, also after a power cut."""
    state = board.take(want)
    assert state.reason is not None
    assert words in state.reason
    assert board.running == still.digest
    board.boot()
    board.settle()
    assert board.running == still.digest


def test_without_an_attack_the_new_model_is_installed(vendor: Vendor, board: Board) -> None:
    state = board.take(vendor.want(board, NEW, 2))
    assert (board.running, state.step, state.reason) == (NEW.digest, "committed", None)


# --- arbitrary artifact ----------------------------------------------------------------------------------


@pytest.mark.attack("arbitrary artifact", "what the release key did not sign is not installed")
def test_an_artifact_that_was_not_released(tmp_path: Path, vendor: Vendor, board: Board) -> None:
    thief = Vendor(tmp_path / "thief")
    statement = thief.statement(UNRELEASED)
    refused(board, vendor.want(board, UNRELEASED, 2, statement=statement), "not signed by the release key")


@pytest.mark.attack("arbitrary artifact", "another server's director is not this device's")
def test_a_want_of_a_thief(tmp_path: Path, board: Board) -> None:
    thief = Vendor(tmp_path / "thief")
    refused(board, thief.want(board, UNRELEASED, 2), "not signed by the server's director key")


@pytest.mark.attack("arbitrary artifact", "other bytes under the chunks' topics are never put together")
def test_chunks_of_another_artifact(vendor: Vendor, board: Board) -> None:
    for n in range(NEW.chunks):
        board.retained[protocol.chunk_topic(NEW.digest, n)] = secrets.token_bytes(protocol.CHUNK_MAX_BYTES)
    state = board.take(vendor.want(board, NEW, 2))
    assert (board.running, state.step, state.chunks_have) == (OLD.digest, "fetching", 0)


@pytest.mark.attack("arbitrary artifact", "one who has the content key still cannot change the digest")
def test_other_bytes_under_the_true_content_key(vendor: Vendor, board: Board) -> None:
    forged = Artifact(secrets.token_bytes(len(NEW.data)), counter=2)
    for n in range(NEW.chunks):
        piece = forged.data[n * protocol.CHUNK_PLAIN_BYTES : (n + 1) * protocol.CHUNK_PLAIN_BYTES]
        board.retained[protocol.chunk_topic(NEW.digest, n)] = encrypted(NEW, n, piece)
    refused(board, vendor.want(board, NEW, 2), "does not have the digest")


def encrypted(artifact: Artifact, n: int, piece: bytes) -> bytes:
    return encrypt_chunk(artifact.key, digest=artifact.digest, n=n, chunks=artifact.chunks, plaintext=piece)


# --- rollback --------------------------------------------------------------------------------------------


@pytest.mark.attack("rollback", "release counter below the floor is refused")
def test_going_back_to_an_older_release(vendor: Vendor, board: Board) -> None:
    board.take(vendor.want(board, NEW, 2))
    refused(board, vendor.want(board, OLD, 3), "release counter 1 is below 2", still=NEW)


@pytest.mark.attack("rollback", "on purpose it works: the old weights under the next counter")
def test_going_back_on_purpose(vendor: Vendor, board: Board) -> None:
    board.take(vendor.want(board, NEW, 2))
    again = Artifact(OLD.data, counter=3)
    assert board.take(vendor.want(board, again, 3)).reason is None
    assert board.running == OLD.digest


@pytest.mark.attack("rollback", "an older TUF root, or one that skips a version, is refused")
def test_an_older_root(vendor: Vendor, board: Board) -> None:
    rotate(vendor.folder, "release")
    rotate(vendor.folder, "release")
    vendor.reload()
    first, second, third = vendor.keys.roots
    with pytest.raises(RootError, match="after 1 only 2 can be believed"):
        board.identity.update_root(third)
    board.follow_roots()
    assert board.identity.root_version == 3
    for payload in (first, second, third):
        with pytest.raises(RootError, match="but 3 is known already: it is a rollback"):
            board.identity.update_root(payload)
    board.boot()
    assert board.identity.root_version == 3  # also after a power cut


# --- freeze ----------------------------------------------------------------------------------------------


@pytest.mark.attack("freeze", "an expired want starts nothing; what runs keeps running")
def test_a_want_that_was_held_back(vendor: Vendor, board: Board) -> None:
    refused(board, vendor.want(board, NEW, 2, issued=timedelta(days=-31)), "the want expired on")


@pytest.mark.attack("freeze", "a clock at 1970 does not make an expired want good: signed time has a floor")
def test_a_clock_at_1970(vendor: Vendor, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepress_agent.work.time.time", lambda: 0.0)
    board.boot()
    refused(board, vendor.want(board, NEW, 2, issued=timedelta(days=-31)), "the want expired on")
    assert board.take(vendor.want(board, NEW, 3)).reason is None
    assert board.running == NEW.digest


@pytest.mark.attack("freeze", "an expired release statement starts nothing")
def test_an_expired_statement(vendor: Vendor, board: Board) -> None:
    old = vendor.statement(NEW, now=datetime.now(UTC) - timedelta(days=366))
    refused(board, vendor.want(board, NEW, 2, statement=old), "the release statement expired on")


# --- mix-and-match ---------------------------------------------------------------------------------------


@pytest.mark.attack("mix-and-match", "the statement of one artifact does not vouch for another")
def test_a_statement_about_another_artifact(vendor: Vendor, board: Board) -> None:
    statement = vendor.statement(OLD)
    refused(board, vendor.want(board, NEW, 2, statement=statement), "about another artifact than the want")


@pytest.mark.attack("mix-and-match", "a delta of another release is refused")
def test_a_delta_of_another_release(vendor: Vendor, board: Board) -> None:
    delta = vendor.delta(board, NEW, release_counter=1)
    refused(
        board, vendor.want(board, NEW, 2, delta=delta), "the delta is of release 1, the artifact of release 2"
    )


@pytest.mark.attack("mix-and-match", "a delta to another artifact is refused")
def test_a_delta_to_another_artifact(vendor: Vendor, board: Board) -> None:
    delta = vendor.delta(board, NEW, full=OLD.digest)
    refused(board, vendor.want(board, NEW, 2, delta=delta), "the delta makes another artifact")


@pytest.mark.attack("mix-and-match", "a release statement in the place of a delta's is refused")
def test_a_release_as_a_delta(vendor: Vendor, board: Board) -> None:
    delta = vendor.delta(board, NEW)
    delta.statement = json.loads(vendor.statement(OLD))
    refused(board, vendor.want(board, NEW, 2, delta=delta), "the delta is of release 1")


# --- endless data ----------------------------------------------------------------------------------------


@pytest.mark.attack("endless data", "a want is not parsed above 4,096 bytes")
def test_an_endless_want(board: Board) -> None:
    refused(board, b"[" * 10_000_000, "at most 4096 are read")


@pytest.mark.attack("endless data", "a chunk above 64,000 bytes is dropped unread")
def test_endless_chunks(vendor: Vendor, board: Board) -> None:
    for n in range(NEW.chunks):
        board.retained[protocol.chunk_topic(NEW.digest, n)] += b"x"
    state = board.take(vendor.want(board, NEW, 2))
    assert (board.running, state.step, state.chunks_have) == (OLD.digest, "fetching", 0)


@pytest.mark.attack(
    "endless data", "an artifact larger than released is refused before anything is allocated"
)
def test_an_endless_artifact(vendor: Vendor, board: Board) -> None:
    huge = vendor.statement(NEW, size=3 << 30, chunks=protocol.chunk_count(3 << 30))
    refused(board, vendor.want(board, NEW, 2, size=3 << 30, statement=huge), "size or number of chunks")


@pytest.mark.attack("endless data", "a TUF root above 32,768 bytes is not parsed")
def test_an_endless_root(board: Board) -> None:
    with pytest.raises(RootError, match="at most 32768 are read"):
        board.identity.update_root(b"[" * 10_000_000)


# --- wrong device, replay --------------------------------------------------------------------------------


@pytest.mark.attack("wrong device", "another device's want is refused")
def test_another_devices_want(tmp_path: Path, vendor: Vendor, board: Board) -> None:
    other = Board(tmp_path / "other", vendor, name="pi-5")
    refused(board, vendor.want(other, NEW, 2), "the want is for device 'pi-5', this one is 'pi-4'")


@pytest.mark.attack("wrong device", "another profile's artifact is refused")
def test_another_profiles_artifact(vendor: Vendor, board: Board) -> None:
    other = Artifact(NEW.data, counter=2, profile="jetson-nano")
    refused(board, vendor.want(board, other, 2), "released for profile 'jetson-nano'")


@pytest.mark.attack("wrong device", "a content key sealed to another device opens nothing")
def test_another_devices_content_key(tmp_path: Path, vendor: Vendor, board: Board) -> None:
    other = Board(tmp_path / "other", vendor, name="pi-5")
    want = vendor.want(board, NEW, 2, public_key=other.public_key)
    refused(board, want, "not sealed to this device's key")


@pytest.mark.attack("replayed want", "a want with a counter that was passed is refused")
def test_a_replayed_want(vendor: Vendor, board: Board) -> None:
    first = vendor.want(board, Artifact(OLD.data, counter=2), 2)
    board.take(vendor.want(board, NEW, 3))
    refused(board, first, "but 3 was seen already: it is a replay", still=NEW)


@pytest.mark.attack("replayed want", "two wants with one counter: only the first counts")
def test_two_wants_with_one_counter(vendor: Vendor, board: Board) -> None:
    refused(board, vendor.want(board, NEW, 1), "two different wants have the counter 1")


# --- stolen director key ---------------------------------------------------------------------------------


def stolen(vendor: Vendor) -> Keys:
    """What a thief of the server's director key has; the release key is elsewhere."""
    return Keys(roots=vendor.keys.roots, director=vendor.keys.director, release=(vendor.keys.director,))


@pytest.mark.attack("stolen director key", "it can name released artifacts only")
def test_a_stolen_director_key_releases_nothing(vendor: Vendor, board: Board) -> None:
    statement = vendor.statement(UNRELEASED, stolen(vendor))
    want = vendor.want(board, UNRELEASED, 2, stolen(vendor), statement=statement)
    refused(board, want, "not signed by the release key")


@pytest.mark.attack("stolen director key", "it cannot go below the release that a device ran")
def test_a_stolen_director_key_rolls_nothing_back(vendor: Vendor, board: Board) -> None:
    board.take(vendor.want(board, NEW, 2))
    refused(board, vendor.want(board, OLD, 3, stolen(vendor)), "release counter 1 is below 2", still=NEW)


@pytest.mark.attack("stolen director key", "after the director was rotated its wants are refused")
def test_a_rotated_director_key_is_worth_nothing(vendor: Vendor, board: Board) -> None:
    thief = stolen(vendor)
    rotate(vendor.folder, "director")
    vendor.reload()
    board.follow_roots()
    refused(board, vendor.want(board, NEW, 9, thief), "not signed by the server's director key")
    assert board.take(vendor.want(board, NEW, 10)).reason is None
    assert board.running == NEW.digest


@pytest.mark.attack("stolen director key", "a counter and a time that it ran up bind nobody after rotation")
def test_a_director_key_that_ran_the_counter_up_is_recovered_from(vendor: Vendor, board: Board) -> None:
    board.take(vendor.want(board, None, 2**52, stolen(vendor), issued=timedelta(days=3000)))
    assert board.running is None
    rotate(vendor.folder, "director")
    vendor.reload()
    board.follow_roots()
    assert board.take(vendor.want(board, NEW, 3)).reason is None
    assert board.running == NEW.digest


@pytest.mark.attack("stolen director key", "a device that has not heard of the rotation follows when it does")
def test_a_want_of_the_new_director_comes_before_its_root(vendor: Vendor, board: Board) -> None:
    rotate(vendor.folder, "director")
    vendor.reload()
    assert "director key" in (board.take(vendor.want(board, NEW, 2)).reason or "")
    assert board.running == OLD.digest
    state = board.follow_roots()
    assert (board.running, state.reason, state.root) == (NEW.digest, None, 2)


# --- revoked release key ---------------------------------------------------------------------------------


@pytest.mark.attack("revoked release key", "what it signed is refused from then on; what runs keeps running")
def test_a_revoked_release_key(vendor: Vendor, board: Board) -> None:
    signed_before = vendor.statement(NEW)
    rotate(vendor.folder, "release")
    vendor.reload()
    board.follow_roots()
    assert board.running == OLD.digest
    refused(board, vendor.want(board, NEW, 2, statement=signed_before), "not signed by the release key")
    assert board.take(vendor.want(board, NEW, 3)).reason is None
    assert board.running == NEW.digest


@pytest.mark.attack("revoked release key", "a download under way that it signed is broken off")
def test_a_release_key_that_is_revoked_during_the_download(vendor: Vendor, board: Board) -> None:
    last = protocol.chunk_topic(NEW.digest, NEW.chunks - 1)
    held_back = board.retained.pop(last)
    assert board.take(vendor.want(board, NEW, 2)).step == "fetching"
    rotate(vendor.folder, "release")
    vendor.reload()
    state = board.follow_roots()
    assert (state.step, board.running) == ("rejected", OLD.digest)
    assert "not signed by the release key" in (state.reason or "")
    board.hear(last, held_back)
    board.settle()
    board.boot()
    board.settle()
    assert board.running == OLD.digest


@pytest.mark.attack("revoked release key", "a revoked key in a threshold of two does not count")
def test_one_of_two_release_keys_is_not_enough(vendor: Vendor, board: Board) -> None:
    pair = [new_private_key(), new_private_key()]
    rotate(vendor.folder, "release", new_keys=[signer.public_key for signer in pair], threshold=2)
    vendor.reload()
    board.follow_roots()
    both = Keys(vendor.keys.roots, vendor.keys.director, tuple(pair))
    one = json.loads(vendor.statement(NEW, both))
    one["signatures"] = one["signatures"][:1]
    refused(board, vendor.want(board, NEW, 2, statement=json.dumps(one)), "not signed by the release key")
    assert board.take(vendor.want(board, NEW, 3, statement=vendor.statement(NEW, both))).reason is None
    assert board.running == NEW.digest


# --- roots -----------------------------------------------------------------------------------------------


@pytest.mark.attack(
    "arbitrary artifact", "a TUF root that was not signed by the one before hands nothing over"
)
def test_a_root_of_a_thief(tmp_path: Path, vendor: Vendor, board: Board) -> None:
    thief = Vendor(tmp_path / "thief")
    rotate(thief.folder, "release")
    thief.reload()
    board.retained[protocol.root_topic(2)] = thief.keys.roots[1]
    state = board.hear_of_roots(2)
    assert state.root == 1
    assert "not signed by the root keys of version 1" in (state.reason or "")

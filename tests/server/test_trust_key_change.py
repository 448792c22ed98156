"""Who may sign changes by new TUF roots, each signed by the keys before it; a kill leaves the keys whole."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner

from edgepress_agent.root_chain import next_root
from edgepress_agent.trust import load_root
from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError, ServerError, StoreError
from edgepress_server.trust import key_change
from edgepress_server.trust.key_change import (
    add_root_signatures,
    cancel,
    encrypt_all,
    locked,
    pending_root,
    renew,
    revoke,
    rotate,
    set_threshold,
    take_offline,
)
from edgepress_server.trust.key_file import new_private_key, read_private_key, write_private_key
from edgepress_server.trust.key_state import read_state
from edgepress_server.trust.keys import Keys, create_keys_if_missing, load_keys
from edgepress_server.trust.passphrase import Passphrase
from edgepress_server.trust.roots import RoleName, role_keyids, role_threshold, write_root

CHOSEN = Passphrase(b"a stick in a safe")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    create_keys_if_missing(tmp_path / "keys")
    return tmp_path / "keys"


def a_device_follows(keys: Keys) -> None:
    """From the first root to the newest, with the agent's own code."""
    root = load_root(keys.roots[0])
    for payload in keys.roots[1:]:
        root = next_root(root, payload)
    assert root.signed.version == keys.version


@pytest.mark.parametrize("role", ["root", "release", "director"])
def test_a_rotated_role_has_a_new_key_and_the_old_one_is_gone(folder: Path, role: RoleName) -> None:
    before = role_keyids(load_keys(folder).root.signed, role)
    change = rotate(folder, role)
    assert (change.version, change.published) == (2, True)
    keys = load_keys(folder)
    after = role_keyids(keys.root.signed, role)
    assert len(after) == 1
    assert after != before
    assert [file.stem for file in folder.glob(f"{role}-*.pem")] == [f"{role}-{after[0][:12]}"]
    a_device_follows(keys)


def test_every_role_can_be_rotated_many_times_and_a_device_follows(folder: Path) -> None:
    roles: list[RoleName] = ["release", "root", "director", "root", "root", "release"]
    for role in roles:
        rotate(folder, role)
    keys = load_keys(folder)
    assert keys.version == 7
    a_device_follows(keys)


def test_two_of_three_release_keys_on_other_machines(folder: Path) -> None:
    three = [new_private_key() for _ in range(3)]
    rotate(folder, "release", new_keys=[signer.public_key for signer in three], threshold=2)
    keys = load_keys(folder)
    assert (keys.threshold("release"), keys.signs_releases) == (2, False)
    revoke(folder, three[0].public_key.keyid[:12])
    keys = load_keys(folder)
    assert role_keyids(keys.root.signed, "release") == [signer.public_key.keyid for signer in three[1:]]
    with pytest.raises(ConflictError, match="would have 1 keys and needs 2"):
        revoke(folder, three[1].public_key.keyid)
    rotate(folder, "release", old=three[1].public_key.keyid[:8])
    assert len(load_keys(folder).release) == 1  # the one made here


WRONG = [
    (
        "a director elsewhere",
        lambda f: rotate(f, "director", new_keys=[new_private_key().public_key]),
        "one key",
    ),
    ("two directors", lambda f: set_threshold(f, "director", 2), "threshold is 1"),
    (
        "a threshold above the keys",
        lambda f: set_threshold(f, "release", 2),
        "does not fit role release with 1",
    ),
    ("no such old key", lambda f: rotate(f, "release", old="ffffff"), "0 keys of role release begin with"),
    ("no such key to revoke", lambda f: revoke(f, "zz"), "0 keys begin with 'zz'"),
    ("revoking everything", lambda f: revoke(f, ""), "begin with ''"),
    (
        "revoking the only one",
        lambda f: revoke(f, role_keyids(load_keys(f).root.signed, "root")[0]),
        "Replace",
    ),
    (
        "the director taken offline",
        lambda f: take_offline(f, "director", f / "x", CHOSEN),
        "stays on the server",
    ),
    (
        "offline into the same folder",
        lambda f: take_offline(f, "release", f, CHOSEN),
        "the keys folder itself",
    ),
]


@pytest.mark.parametrize(("do", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_makes_no_sense_is_said_and_changes_nothing(
    folder: Path, do: Callable[[Path], object], words: str
) -> None:
    before = load_keys(folder)
    with pytest.raises(ServerError, match=words):
        do(folder)
    after = load_keys(folder)
    assert (after.roots, after.director.public_key) == (before.roots, before.director.public_key)
    assert pending_root(folder) is None


def test_a_role_with_several_keys_is_not_rotated_without_saying_which(folder: Path) -> None:
    rotate(folder, "release", new_keys=[new_private_key().public_key for _ in range(2)])
    with pytest.raises(InvalidInputError, match="Say which one goes with --old"):
        rotate(folder, "release")


# --- root keys elsewhere ----------------------------------------------------------------------------------


def offline_root(folder: Path) -> CryptoSigner:
    (file,) = take_offline(folder, "root", folder.parent / "stick", CHOSEN)
    return read_private_key(file, [CHOSEN])


def test_with_the_root_key_elsewhere_a_change_waits_for_its_signature(folder: Path) -> None:
    root_key = offline_root(folder)
    assert not list(folder.glob("root-*.pem"))
    old_director = load_keys(folder).director.public_key
    change = rotate(folder, "director")
    assert (change.published, change.missing_old, change.missing_new) == (False, 1, 1)
    assert load_keys(folder).director.public_key == old_director  # it goes on signing meanwhile
    draft = pending_root(folder)
    assert draft is not None
    draft.sign(root_key, append=True)
    assert add_root_signatures(folder, draft).published
    keys = load_keys(folder)
    assert keys.director.public_key != old_director
    assert pending_root(folder) is None
    assert len(list(folder.glob("director-*.pem"))) == 1
    a_device_follows(keys)


def test_changes_before_the_signature_go_into_one_root(folder: Path) -> None:
    root_key = offline_root(folder)
    rotate(folder, "director")
    rotate(folder, "release")
    draft = pending_root(folder)
    assert draft is not None
    draft.sign(root_key, append=True)
    assert add_root_signatures(folder, draft).version == 2
    assert len(load_keys(folder).release) == 1


def test_a_change_that_waits_can_be_dropped(folder: Path) -> None:
    offline_root(folder)
    before = sorted(file.name for file in folder.glob("*.pem"))
    rotate(folder, "director")
    assert cancel(folder)
    assert sorted(file.name for file in folder.glob("*.pem")) == before
    assert not cancel(folder)


def test_signatures_that_do_not_belong_are_refused(folder: Path) -> None:
    root_key = offline_root(folder)
    rotate(folder, "director")
    draft = pending_root(folder)
    assert draft is not None
    draft.sign(new_private_key(), append=True)
    with pytest.raises(InvalidInputError, match="is no root key"):
        add_root_signatures(folder, draft)
    draft.signatures.clear()
    draft.sign(root_key, append=True)
    signature = draft.signatures[root_key.public_key.keyid].signature
    draft.signatures[root_key.public_key.keyid].signature = "00" + signature[2:]
    with pytest.raises(InvalidInputError, match="is not good"):
        add_root_signatures(folder, draft)
    draft.signed.version += 1
    with pytest.raises(InvalidInputError, match="not the TUF root that waits"):
        add_root_signatures(folder, draft)
    assert load_keys(folder).version == 1


def test_root_keys_rotate_from_one_elsewhere_to_two_of_two(folder: Path) -> None:
    old = offline_root(folder)
    new = [new_private_key(), new_private_key()]
    change = rotate(folder, "root", new_keys=[signer.public_key for signer in new], threshold=2)
    assert (change.missing_old, change.missing_new) == (1, 2)
    for number, signer in enumerate((old, *new), 1):
        draft = pending_root(folder)
        assert draft is not None
        draft.sign(signer, append=True)
        assert add_root_signatures(folder, draft).published is (number == 3)
    assert role_threshold(load_keys(folder).root.signed, "root") == 2


# --- whole at any moment ----------------------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


class Fuse:
    """Lets ``writes`` changes of the disk through and kills before the next."""

    def __init__(self, writes: int) -> None:
        self.left = writes

    def before(self, act: Callable[..., object]) -> Callable[..., object]:
        def burn(*arguments: object, **named: object) -> object:
            if not self.left:
                raise Killed
            self.left -= 1
            return act(*arguments, **named)

        return burn


@pytest.mark.fault("kill -9", "a rotation that is killed at any write leaves the old keys or the new ones")
@pytest.mark.parametrize("role", ["root", "release", "director"])
def test_a_rotation_that_is_killed_leaves_usable_keys(
    tmp_path: Path, role: RoleName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before each of its writes and removals in turn, until it gets through."""
    for writes in range(20):
        folder = tmp_path / f"{role}{writes}"
        create_keys_if_missing(folder)
        fuse = Fuse(writes)
        with monkeypatch.context() as patch:
            patch.setattr(key_change, "write_private_key", fuse.before(write_private_key))
            patch.setattr(key_change, "write_root", fuse.before(write_root))
            patch.setattr(Path, "unlink", fuse.before(Path.unlink))
            try:
                rotate(folder, role)
                through = True
            except Killed:
                through = False
        keys = load_keys(folder)
        assert keys.version in (1, 2)
        assert keys.signs_releases
        assert rotate(folder, role).published
        a_device_follows(load_keys(folder))
        if through:
            assert writes >= 3  # a key, the root, the old key
            return
    raise AssertionError("it never got through")


def test_two_changes_at_once_are_not_possible(folder: Path) -> None:
    with locked(folder), pytest.raises(ConflictError, match="Another command is changing the keys"):
        renew(folder)


def test_a_draft_that_is_damaged_is_said_so(folder: Path) -> None:
    (folder / "pending.json").write_bytes(b"{")
    with pytest.raises(StoreError, match="Delete it and repeat"):
        renew(folder)


# --- at rest, and in time ---------------------------------------------------------------------------------


def test_old_keys_are_encrypted_with_the_next_change(folder: Path) -> None:
    for file in folder.glob("*.pem"):
        role = file.name.partition("-")[0]
        signer = read_private_key(file, [Passphrase((folder / "secret").read_bytes().strip(), chosen=False)])
        file.unlink()
        (folder / f"{role}.pem").write_bytes(signer.private_bytes)
    (folder / "secret").unlink()
    assert "3 private keys lie unencrypted" in " ".join(read_state(folder).warnings())
    renew(folder)
    assert read_state(folder).warnings() == []
    assert load_keys(folder).version == 2


def test_keys_protected_by_a_passphrase_open_with_it_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert encrypt_all(folder, CHOSEN, drop_secret=True) == 3
    with pytest.raises(StoreError, match="no passphrase given here"):
        load_keys(folder)
    monkeypatch.setenv("EDGEPRESS_KEYS_PASSPHRASE", CHOSEN.text.decode())
    assert load_keys(folder).signs_releases
    assert rotate(folder, "director").published


def test_a_root_that_ends_soon_is_warned_of_and_renewed(tmp_path: Path) -> None:
    now = datetime(2027, 1, 1, tzinfo=UTC)
    create_keys_if_missing(tmp_path, now)
    assert read_state(tmp_path).warnings(now + timedelta(days=300)) == []
    assert "in 29 days" in read_state(tmp_path).warnings(now + timedelta(days=335, hours=1))[0]
    assert "install nothing" in read_state(tmp_path).warnings(now + timedelta(days=366))[0]
    renew(tmp_path, now=now + timedelta(days=366))
    assert read_state(tmp_path).warnings(now + timedelta(days=400)) == []
    a_device_follows(load_keys(tmp_path))


def test_a_wrong_passphrase_is_said_so(tmp_path: Path) -> None:
    write_private_key(tmp_path / "key.pem", new_private_key(), "root", CHOSEN)
    assert b"scrypt 32768 8 1 " in (tmp_path / "key.pem").read_bytes()
    with pytest.raises(StoreError, match="no passphrase given here opens it"):
        read_private_key(tmp_path / "key.pem", [Passphrase(b"a stick in the safe")])


def test_no_such_key_is_told_apart(folder: Path) -> None:
    with pytest.raises(NotFoundError):
        revoke(folder, "nothing")

"""Keys: made once, whole or an error in a sentence, and never silently made again."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from edgepress_server.errors import ConflictError, StoreError
from edgepress_server.trust import create_keys_if_missing, keys_changed, load_keys, sign_statement


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def key_file(folder: Path, role: str) -> Path:
    (found,) = folder.glob(f"{role}-*.pem")
    return found


def test_the_first_start_makes_keys_that_only_the_owner_reads(tmp_path: Path) -> None:
    keys = create_keys_if_missing(tmp_path / "keys", datetime(2027, 1, 15, tzinfo=UTC))
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for file in (tmp_path / "keys").rglob("*"):
        assert stat.S_IMODE(file.stat().st_mode) == (0o700 if file.is_dir() else 0o600), file
    root = Metadata[Root].from_bytes(keys.root_json).signed
    assert root.expires == datetime(2028, 1, 15, tzinfo=UTC)
    assert root.roles["timestamp"].keyids == root.roles["snapshot"].keyids == [keys.director.public_key.keyid]
    assert root.roles["targets"].keyids == [key.public_key.keyid for key in keys.release]


def test_private_keys_are_encrypted_at_rest(tmp_path: Path) -> None:
    create_keys_if_missing(tmp_path)
    for file in tmp_path.glob("*.pem"):
        assert b"ENCRYPTED PRIVATE KEY" in file.read_bytes()
    (tmp_path / "secret").unlink()
    with pytest.raises(StoreError, match="put back the file `secret`"):
        load_keys(tmp_path)


def test_a_passphrase_from_outside_leaves_no_secret_beside_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "given").write_text("correct horse\n")
    monkeypatch.setenv("EDGEPRESS_KEYS_PASSPHRASE_FILE", str(tmp_path / "given"))
    first = create_keys_if_missing(tmp_path / "keys")
    assert not (tmp_path / "keys" / "secret").exists()
    assert load_keys(tmp_path / "keys").director.public_key == first.director.public_key
    monkeypatch.setenv("EDGEPRESS_KEYS_PASSPHRASE_FILE", "")
    monkeypatch.setenv("EDGEPRESS_KEYS_PASSPHRASE", "wrong horse")
    with pytest.raises(StoreError, match="no passphrase given here opens it"):
        load_keys(tmp_path / "keys")


def test_the_keys_of_an_earlier_edgepress_are_read_as_they_are(tmp_path: Path) -> None:
    new = create_keys_if_missing(tmp_path / "new")
    old = tmp_path / "old"
    old.mkdir()
    (old / "root.json").write_bytes(new.root_json)
    for role, signer in (("director", new.director), ("release", new.release[0])):
        (old / f"{role}.pem").write_bytes(signer.private_bytes)
    keys = load_keys(old)
    assert (keys.version, keys.signs_releases) == (1, True)
    assert create_keys_if_missing(old).root_json == new.root_json


def test_the_second_start_finds_the_same_keys(tmp_path: Path) -> None:
    first = create_keys_if_missing(tmp_path)
    again = create_keys_if_missing(tmp_path)
    assert again.root_json == first.root_json
    assert again.director.public_key == first.director.public_key


def test_a_change_of_the_files_is_seen(tmp_path: Path) -> None:
    keys = create_keys_if_missing(tmp_path)
    assert not keys_changed(tmp_path, keys)
    key_file(tmp_path, "release").unlink()
    assert keys_changed(tmp_path, keys)


@pytest.mark.parametrize("missing", [[], ["root"], ["director"]])
def test_a_first_start_that_was_killed_is_done_again(tmp_path: Path, missing: list[str]) -> None:
    create_keys_if_missing(tmp_path)
    (tmp_path / "roots" / "1.json").unlink()
    for role in missing:
        key_file(tmp_path, role).unlink()
    left = files(tmp_path)
    keys = create_keys_if_missing(tmp_path)
    Metadata[Root].from_bytes(keys.root_json)
    assert left.items() <= files(tmp_path).items()  # what was there is used


@pytest.mark.parametrize(
    ("what", "file", "content"),
    [
        ("the director key is missing", "director-*.pem", None),
        ("a key is no key", "director-*.pem", b"-----BEGIN NOTHING-----\n"),
        ("a key is no file of a key", "release-*.pem", b"hello"),
        ("the root is cut short", "roots/1.json", b'{"signatures": []'),
        ("the root is empty", "roots/1.json", b""),
        ("the root is too large", "roots/1.json", b" " * 40_000),
        ("the root is another kind", "roots/1.json", b"[]"),
    ],
)
def test_keys_that_are_not_whole_are_an_error_and_left_alone(
    tmp_path: Path, what: str, file: str, content: bytes | None
) -> None:
    create_keys_if_missing(tmp_path)
    (path,) = tmp_path.glob(file)
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    before = files(tmp_path)
    with pytest.raises(StoreError, match="Restore the keys folder"):
        create_keys_if_missing(tmp_path)
    assert files(tmp_path) == before, what


def test_release_keys_may_be_elsewhere(tmp_path: Path) -> None:
    create_keys_if_missing(tmp_path)
    key_file(tmp_path, "release").unlink()
    key_file(tmp_path, "root").unlink()
    keys = load_keys(tmp_path)
    assert keys.release == ()
    assert not keys.signs_releases
    with pytest.raises(ConflictError, match="edgepress keys export"):
        sign_statement(
            keys, digest="ab" * 32, size=1, chunks=1, profile="x86-pc", model="m", release_counter=1
        )


def test_another_servers_key_is_noticed(tmp_path: Path) -> None:
    create_keys_if_missing(tmp_path / "one")
    create_keys_if_missing(tmp_path / "two")
    other = key_file(tmp_path / "two", "director").read_bytes()
    (tmp_path / "one" / "secret").write_bytes((tmp_path / "two" / "secret").read_bytes())
    key_file(tmp_path / "one", "director").write_bytes(other)
    with pytest.raises(StoreError, match="not the key that the TUF root"):
        load_keys(tmp_path / "one")


def test_a_root_that_was_changed_is_noticed(tmp_path: Path) -> None:
    create_keys_if_missing(tmp_path)
    file = tmp_path / "roots" / "1.json"
    file.write_bytes(file.read_bytes().replace(b'"consistent_snapshot":false', b'"consistent_snapshot":true'))
    with pytest.raises(StoreError, match="not signed by a threshold of its own"):
        load_keys(tmp_path)

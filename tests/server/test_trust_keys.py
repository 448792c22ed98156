"""Keys: made once, whole or an error in a sentence, and never silently made again."""

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root

from edgepress_server.errors import StoreError
from edgepress_server.trust import create_keys_if_missing, load_keys


def test_the_first_start_makes_keys_that_only_the_owner_reads(tmp_path: Path) -> None:
    keys = create_keys_if_missing(tmp_path / "keys", datetime(2027, 1, 15, tzinfo=UTC))
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700
    for file in (tmp_path / "keys").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    root = Metadata[Root].from_bytes(keys.root_json).signed
    assert root.expires == datetime(2028, 1, 15, tzinfo=UTC)
    assert root.roles["timestamp"].keyids == root.roles["snapshot"].keyids == [keys.director.public_key.keyid]
    assert root.roles["targets"].keyids == [keys.release.public_key.keyid]
    assert root.roles["root"].keyids == [keys.root.public_key.keyid]
    assert len(root.keys) == 3


def test_the_second_start_finds_the_same_keys(tmp_path: Path) -> None:
    first = create_keys_if_missing(tmp_path)
    again = create_keys_if_missing(tmp_path)
    assert again.root_json == first.root_json
    assert again.director.public_key == first.director.public_key


@pytest.mark.parametrize("missing", [["root.json"], ["root.json", "root.pem"], ["root.json", "director.pem"]])
def test_a_first_start_that_was_killed_is_done_again(tmp_path: Path, missing: list[str]) -> None:
    create_keys_if_missing(tmp_path)
    for name in missing:
        (tmp_path / name).unlink()
    keys = create_keys_if_missing(tmp_path)
    Metadata[Root].from_bytes(keys.root_json)


@pytest.mark.parametrize(
    ("what", "file", "content"),
    [
        ("a key is missing", "release.pem", None),
        ("a key is no key", "director.pem", b"-----BEGIN NOTHING-----\n"),
        ("the root is cut short", "root.json", b'{"signatures": []'),
        ("the root is empty", "root.json", b""),
    ],
)
def test_keys_that_are_not_whole_are_an_error_and_left_alone(
    tmp_path: Path, what: str, file: str, content: bytes | None
) -> None:
    create_keys_if_missing(tmp_path)
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(content)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(StoreError, match="Restore the keys folder"):
        create_keys_if_missing(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before, what


def test_another_servers_key_is_noticed(tmp_path: Path) -> None:
    create_keys_if_missing(tmp_path / "one")
    create_keys_if_missing(tmp_path / "two")
    (tmp_path / "one" / "director.pem").write_bytes((tmp_path / "two" / "director.pem").read_bytes())
    with pytest.raises(StoreError, match="not the key that root"):
        load_keys(tmp_path / "one")


def test_a_root_that_was_changed_is_noticed(tmp_path: Path) -> None:
    create_keys_if_missing(tmp_path)
    file = tmp_path / "root.json"
    file.write_bytes(file.read_bytes().replace(b'"version":1', b'"version":2'))
    with pytest.raises(StoreError, match="damaged"):
        load_keys(tmp_path)

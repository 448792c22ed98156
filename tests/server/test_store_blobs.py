"""Content-addressed files: whole or absent."""

import errno
import hashlib
import os
from pathlib import Path

import pytest

from edgepress_server.errors import DiskFullError, NotFoundError, StoreError, TooLargeError
from edgepress_server.store.blobs import Blobs


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def files(blobs: Blobs) -> list[Path]:
    return [path for path in blobs.folder.rglob("*") if path.is_file()]


def test_what_is_put_comes_back(blobs: Blobs) -> None:
    digest = blobs.put(b"weights")
    assert digest == hashlib.sha256(b"weights").hexdigest()
    assert blobs.read(digest) == b"weights"
    assert files(blobs) == [blobs.folder / digest[:2] / digest]


def test_the_same_bytes_are_one_file(blobs: Blobs) -> None:
    assert blobs.put(b"weights") == blobs.put(b"weights")
    assert len(files(blobs)) == 1


def test_what_is_not_kept_leaves_nothing(blobs: Blobs) -> None:
    with blobs.writer() as writer:
        writer.write(b"half")
    assert files(blobs) == []


def test_a_stream_past_the_limit_is_refused_and_leaves_nothing(blobs: Blobs) -> None:
    with pytest.raises(TooLargeError, match="MiB"):
        blobs.put_stream([b"x" * 600, b"x" * 600], limit_bytes=1000)
    assert files(blobs) == []


def test_flipped_bits_are_found(blobs: Blobs) -> None:
    digest = blobs.put(b"weights")
    (blobs.folder / digest[:2] / digest).write_bytes(b"weighty")
    for look in (blobs.read, blobs.intact):
        with pytest.raises(StoreError, match="damaged on disk"):
            look(digest)


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "0" * 63, "A" * 64, "0" * 64])
def test_what_is_not_there_is_not_found(blobs: Blobs, digest: str) -> None:
    with pytest.raises(NotFoundError):
        blobs.path(digest)


def test_a_disk_that_fills_up_is_told_as_such(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError):
        blobs.put(b"weights")
    assert files(blobs) == []


def test_no_room_is_seen_before_anything_is_sent(blobs: Blobs) -> None:
    blobs.check_room(1)
    with pytest.raises(DiskFullError):
        blobs.check_room(2**62)


def test_the_sweep_removes_only_what_was_left_long_ago(blobs: Blobs) -> None:
    kept = blobs.put(b"kept")
    aside = blobs.folder / "aside"
    (aside / "old").write_bytes(b"")
    os.utime(aside / "old", (0, 0))
    (aside / "new").write_bytes(b"")
    (aside / "old-folder").mkdir()
    (aside / "old-folder" / "link").symlink_to(blobs.path(kept))
    os.utime(aside / "old-folder", (0, 0))
    assert blobs.sweep() == 2
    assert sorted(path.name for path in files(blobs)) == sorted(["new", kept])

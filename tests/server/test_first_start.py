"""Before a server starts: what is wrong with its folder is said in a sentence."""

import errno
import os
from pathlib import Path

import pytest

from edgepress_server.errors import ConflictError, DiskFullError
from edgepress_server.serve import first_start
from edgepress_server.settings import Settings


def full(*_args: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_start.os, "write", full)
    with pytest.raises(DiskFullError, match="Free some space"):
        first_start._lock(Settings(data_dir=tmp_path))
    monkeypatch.undo()
    os.close(first_start._lock(Settings(data_dir=tmp_path)))  # the lock was let go


def test_a_folder_that_a_server_uses_is_refused_with_its_process(tmp_path: Path) -> None:
    lock = first_start._lock(Settings(data_dir=tmp_path))
    with pytest.raises(ConflictError, match=f"process {os.getpid()}"):
        first_start._lock(Settings(data_dir=tmp_path))
    os.close(lock)


def test_an_empty_store_beside_old_keys_is_pointed_out(tmp_path: Path) -> None:
    said: list[str] = []
    store = first_start.open_store(tmp_path)
    settings = Settings(data_dir=tmp_path)
    first_start._first_login(settings, store, said.append, had_keys=True)
    assert "restore a back-up" in said[0] and "password" in said[1]
    first_start._first_login(settings, store, said.append, had_keys=True)
    assert len(said) == 2  # an ordinary start says nothing
    store.close()

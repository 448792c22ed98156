"""Copies of the store: made while it is written to, whole or not at all, and put back."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from edgepress_server.cli.main import edgepress
from edgepress_server.errors import InvalidInputError, ServerError, StoreError
from edgepress_server.serve.daily_backup import DailyBackup
from edgepress_server.serve.first_start import locked
from edgepress_server.settings import Settings
from edgepress_server.store import Store, open_store
from edgepress_server.store import backup as module
from edgepress_server.store.backup import backups, check_file, make_backup, restore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = open_store(tmp_path)
    yield made
    made.close()


def actions(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute("SELECT action FROM events ORDER BY id")]


def damage(path: Path) -> None:
    """Overwrite the middle of the file, as a failing disk does."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xa5" * 20_000)


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(edgepress, ["store", *map(str, words)])


def test_a_copy_is_of_one_moment_while_others_write(store: Store, tmp_path: Path) -> None:
    """Each transaction writes two rows: a copy never has one of them."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            with store.transaction():
                store.events.append("server", "a", f"first {number}")
                store.events.append("server", "a", f"second {number}")
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for n in range(5):
            made = make_backup(store.database.path, tmp_path / f"copy-{n}.db")
            found = actions(made.path)
            assert len(found) % 2 == 0
            check_file(made.path)
    finally:
        stop.set()
        writer.join()
    assert len(actions(store.database.path)) >= len(found)


def test_only_the_newest_copies_stay_and_they_are_private(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for second in range(4):
        monkeypatch.setattr(module.time, "strftime", lambda *_, s=second: f"20261122T04150{s}Z")
        made = make_backup(store.database.path)
    assert [each.made for each in backups(tmp_path)] == ["20261122T041503Z", "20261122T041502Z"]
    assert made.path.stat().st_mode & 0o777 == 0o600
    assert str(made).endswith(f"2026-11-22 04:15 UTC ({made.size_bytes / 1e6:,.1f} MB)")


@pytest.mark.fault(
    "corrupted SQLite file", "the start is refused, the newest back-up and the command are named"
)
def test_a_damaged_store_is_refused_with_the_newest_backup_named(store: Store, tmp_path: Path) -> None:
    for number in range(500):
        store.events.append("server", "a", f"event {number} " + "x" * 100)
    made = make_backup(store.database.path)
    store.close()
    damage(store.database.path)
    with pytest.raises(StoreError) as refusal:
        store.database.check()
    assert str(made.path) in refusal.value.message
    assert f"edgepress store restore --data {tmp_path}" in refusal.value.message


def test_without_a_backup_the_refusal_says_so(store: Store) -> None:
    store.close()
    store.database.path.write_bytes(b"no database " * 2000)
    with pytest.raises(StoreError, match=r"There is no back-up in .*edgepress store restore FILE"):
        open_store(store.data_dir)


@pytest.mark.fault("corrupted SQLite file", "a damaged store never takes the place of a good back-up")
def test_a_damaged_store_is_not_copied_over_a_good_one(store: Store, tmp_path: Path) -> None:
    for number in range(500):
        store.events.append("server", "a", f"event {number} " + "x" * 100)
    good = make_backup(store.database.path)
    store.close()
    damage(store.database.path)
    with pytest.raises(StoreError, match="damaged"):
        make_backup(store.database.path, kept=1)
    assert [each.path for each in backups(tmp_path)] == [good.path]
    assert list(good.path.parent.iterdir()) == [good.path]
    check_file(good.path)


@pytest.mark.fault("corrupted SQLite file", "a restore brings back what the back-up held; the old file stays")
def test_a_restore_brings_back_what_the_backup_held(store: Store, tmp_path: Path) -> None:
    store.events.append("server", "a", "before")
    make_backup(store.database.path)
    store.events.append("server", "a", "after")
    store.close()
    damage(store.database.path)
    result = run("restore", "--data", tmp_path)
    assert result.exit_code == 0, result.output
    again = open_store(tmp_path)
    again.database.check()
    assert [event.action for event in again.events.newest()] == ["before"]
    again.close()
    assert len(list(tmp_path.glob("edgepress.db.damaged-*Z"))) == 1


class KilledError(BaseException):
    pass


@pytest.mark.fault("kill -9", "a restore that is killed at any step leaves the old store or the restored one")
def test_a_restore_killed_at_any_step_leaves_a_whole_store(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.events.append("server", "a", "before")
    made = make_backup(store.database.path)
    store.events.append("server", "a", "after")
    store.close()
    killed = 0
    for step in range(20):
        left = [step]

        def counted(real: Callable[..., Any], left: list[int] = left) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                if left[0] == 0:
                    raise KilledError
                left[0] -= 1
                return real(*arguments, **named)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(module.shutil, "copyfile", counted(module.shutil.copyfile))
            patch.setattr(module.os, "link", counted(module.os.link))
            patch.setattr(module.os, "fsync", counted(module.os.fsync))
            patch.setattr(Path, "replace", counted(Path.replace))
            patch.setattr(Path, "unlink", counted(Path.unlink))
            try:
                restore(store.database.path, made.path)
            except KilledError:
                killed += 1
        left_there = open_store(tmp_path)
        left_there.database.check()
        found = [event.action for event in left_there.events.newest()]
        left_there.close()
        assert found in (["after", "before"], ["before"])
        if left[0] > 0:
            assert found == ["before"]
            break
    assert killed >= 5


def test_what_is_no_store_is_not_restored(store: Store, tmp_path: Path) -> None:
    store.close()
    other = tmp_path / "other.db"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE devices (name TEXT)")
    result = run("restore", other, "--data", tmp_path)
    assert result.exit_code == 1 and "is no edgepress store" in result.output
    result = run("restore", tmp_path / "nothing.db", "--data", tmp_path)
    assert result.exit_code == 1 and "nothing.db" in result.output
    result = run("restore", "--data", tmp_path)
    assert result.exit_code == 1 and "There is no back-up" in result.output


def test_a_store_in_use_is_not_replaced(store: Store, tmp_path: Path) -> None:
    make_backup(store.database.path)
    with locked(Settings(data_dir=tmp_path)):
        result = run("restore", "--data", tmp_path)
    assert result.exit_code == 1 and "A server runs on" in result.output


@pytest.mark.fault("full disk", "a back-up that has no room is not begun, and the message names the room")
def test_a_backup_without_room_is_not_begun(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = module.shutil.disk_usage(store.data_dir)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StoreError, match=r"needs .* MB and .* has 0 MB left"):
        make_backup(store.database.path)
    assert backups(store.data_dir) == []


def test_what_a_killed_backup_left_goes_with_the_next(store: Store, tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    torn = tmp_path / "backups" / ".edgepress-20261121T041500Z.db.new"
    torn.write_bytes(b"half")
    made = make_backup(store.database.path)
    assert list(made.path.parent.iterdir()) == [made.path]


def test_a_server_that_stops_breaks_a_backup_off(store: Store) -> None:
    with pytest.raises(StoreError, match="broken off"):
        make_backup(store.database.path, go_on=lambda: False)
    assert list((store.data_dir / "backups").iterdir()) == []


def test_one_backup_is_made_at_a_time(store: Store) -> None:
    refused: list[str] = []

    def another() -> bool:
        try:
            make_backup(store.database.path)
        except StoreError as error:
            refused.append(error.code)
        return True

    make_backup(store.database.path, go_on=another)
    assert set(refused) == {"backup_under_way"}
    assert len(backups(store.data_dir)) == 1


def test_a_copy_elsewhere_replaces_nothing(store: Store, tmp_path: Path) -> None:
    there = tmp_path / "there.db"
    there.write_bytes(b"mine")
    with pytest.raises(InvalidInputError, match="is there already"):
        make_backup(store.database.path, there)
    assert there.read_bytes() == b"mine"


def test_the_daily_backup_comes_when_it_is_due_and_tells_trouble_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    made = threading.Event()

    def failing(*_: Any, **__: Any) -> None:
        raise StoreError("no_room_for_backup", "no room")

    daily = DailyBackup(store.database.path, 2, threading.Event(), told.append)
    monkeypatch.setattr("edgepress_server.serve.daily_backup.make_backup", failing)
    daily.make()
    daily.make()
    assert told == ["Note: no daily back-up of the store: no room"]
    monkeypatch.undo()

    real = make_backup

    def noted(*arguments: Any, **named: Any) -> object:
        backup = real(*arguments, **named)
        made.set()
        return backup

    monkeypatch.setattr("edgepress_server.serve.daily_backup.make_backup", noted)
    stop = threading.Event()
    due = DailyBackup(store.database.path, 2, stop, told.append, every_s=0.05)
    due.start()
    assert made.wait(10.0)
    stop.set()
    due.join()
    assert len(backups(store.data_dir)) >= 1


def test_check_says_which_file_is_damaged(store: Store, tmp_path: Path) -> None:
    for number in range(500):
        store.events.append("server", "a", f"event {number} " + "x" * 100)
    made = make_backup(store.database.path)
    assert run("check", "--data", tmp_path).exit_code == 0
    store.close()
    damage(made.path)
    result = run("check", "--data", tmp_path)
    assert result.exit_code == 0 and "is damaged" in result.output  # the store itself is well
    damage(store.database.path)
    assert run("check", "--data", tmp_path).exit_code == 1


def test_a_store_whose_folder_has_odd_signs_in_its_name(tmp_path: Path) -> None:
    odd = open_store(tmp_path / "50% of #1?")
    made = make_backup(odd.database.path)
    check_file(made.path)
    odd.close()
    with pytest.raises(ServerError):
        check_file(tmp_path / "50% of #1?" / "missing.db")

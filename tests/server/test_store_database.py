"""The SQLite file: transactions, migrations, and what it says when the world fails."""

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import sqlite_utils

from edgepress_server.errors import ConflictError, DiskFullError, StoreError, StoreVersionError
from edgepress_server.store import Store, open_store
from edgepress_server.store import database as database_module
from edgepress_server.store.migrations import migrations


def test_a_transaction_that_raises_leaves_nothing(store: Store) -> None:
    with pytest.raises(ConflictError), store.transaction():
        store.events.append("server", "a", "one")
        raise ConflictError("no", "No.")
    assert store.events.newest() == []


def test_a_transaction_inside_another_commits_with_the_outer_one(store: Store) -> None:
    with pytest.raises(ConflictError), store.transaction():
        with store.transaction():
            store.events.append("server", "a", "inner")
        raise ConflictError("no", "No.")
    assert store.events.newest() == []


def test_a_transaction_reads_its_own_writes_and_others_do_not(store: Store) -> None:
    seen_elsewhere: list[int] = []
    with store.transaction():
        number = store.events.append("server", "a", "one")
        other = threading.Thread(target=lambda: seen_elsewhere.append(store.events.last_id()))
        other.start()
        other.join()
        assert store.events.last_id() == number
    assert seen_elsewhere == [0]


def test_a_snapshot_sees_one_moment(store: Store) -> None:
    with store.database.snapshot():
        before = store.events.last_id()
        other = threading.Thread(target=lambda: store.events.append("server", "a", "one"))
        other.start()
        other.join()
        assert store.events.last_id() == before
    assert store.events.last_id() == before + 1


def test_many_threads_write_and_none_is_lost(store: Store) -> None:
    def write() -> None:
        for _ in range(20):
            store.events.append("server", "a", "one")

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.events.last_id() == 160


def test_only_the_newest_events_are_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgepress_server.store.events.KEEP_EVENTS", 700)
    with store.transaction():
        for _ in range(1000):
            store.events.append("server", "a", "one")
    ids = [event.id for event in store.events.after(0, 5000)]
    assert ids == list(range(301, 1001))


def test_the_folder_and_the_file_are_private(tmp_path: Path) -> None:
    store = open_store(tmp_path / "fresh")
    assert (tmp_path / "fresh").stat().st_mode & 0o777 == 0o700
    assert store.database.path.stat().st_mode & 0o777 == 0o600


def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    open_store(tmp_path).events.append("server", "a", "one")
    assert open_store(tmp_path).events.last_id() == 1


class KilledError(BaseException):
    """Stands for kill -9 in the middle of a migration."""


@pytest.mark.parametrize("statement", range(3))
def test_a_migration_killed_anywhere_leaves_the_old_schema(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: int
) -> None:
    migration = next(m for m in migrations._migrations if m.name == "m003_models")
    whole = migration.fn

    def killed(db: sqlite_utils.Database) -> None:
        whole(db)
        for number in range(statement + 1):
            db.execute(f"CREATE TABLE extra_{number} (x)")
        raise KilledError

    monkeypatch.setattr(migration, "fn", killed)
    with pytest.raises(KilledError):
        open_store(tmp_path)
    with sqlite3.connect(tmp_path / "edgepress.db") as left:
        assert left.execute("SELECT name FROM sqlite_master").fetchall() == []
    monkeypatch.undo()
    assert open_store(tmp_path).models.list() == []


def test_a_store_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with store.transaction() as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) "
            "VALUES ('edgepress', 'm999', '')"
        )
    with pytest.raises(StoreVersionError, match="newer edgepress"):
        open_store(tmp_path)


def test_a_file_that_is_no_database_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "edgepress.db").write_bytes(b"hello" * 1000)
    with pytest.raises(StoreError, match="damaged or no edgepress store"):
        open_store(tmp_path)


def test_a_full_disk_is_told_as_such_and_changes_nothing(store: Store) -> None:
    store.events.append("server", "a", "before")
    connection = store.database.connect()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    with pytest.raises(DiskFullError, match="disk is full"), store.transaction() as inside:
        inside.execute(f"PRAGMA max_page_count = {pages}")  # SQLite then says SQLITE_FULL, as for a full disk
        for _ in range(1000):
            store.events.append("server", "a", "x" * 1000)
    assert [event.action for event in store.events.newest()] == ["before"]
    store.events.append("server", "a", "after")


def test_a_store_that_stays_locked_is_told_as_busy(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_S", 0.05)
    holder = store.database.connect()
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="busy"):
        store.events.append("server", "a", "one")
    holder.execute("ROLLBACK")
    holder.close()
    store.events.append("server", "a", "one")


OTHER_PROCESS = """
import pathlib, sys
from edgepress_server.store import open_store
store = open_store(pathlib.Path(sys.argv[1]))
store.events.append("server", "other", sys.argv[2])
print([event.action for event in store.events.after(0)])
store.close()
"""


def test_opening_a_store_twice_in_one_process_loses_no_commit(tmp_path: Path) -> None:
    """POSIX drops a process's locks on a file when it closes any descriptor of it.

    If opening did that, the other process here would take itself for the last one and remove the log that
    this process still writes to.
    """

    def other(action: str) -> str:
        command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path), action]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    first = open_store(tmp_path)
    first.events.append("server", "this", "one")
    open_store(tmp_path)
    assert other("two") == "['one', 'two']"
    first.events.append("server", "this", "three")
    assert other("four") == "['one', 'two', 'three', 'four']"


def test_a_damaged_page_is_found_before_it_is_needed(store: Store) -> None:
    for number in range(200):
        store.events.append("server", "a", f"event {number}")
    store.database.check()
    with sqlite3.connect(store.database.path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'events'").fetchone()
        (size_bytes,) = connection.execute("PRAGMA page_size").fetchone()
    connection.close()
    store.close()
    with store.database.path.open("r+b") as file:
        file.seek((page - 1) * size_bytes)
        file.write(b"\xa5" * 100)
    with pytest.raises(StoreError, match="back-up"):
        store.database.check()

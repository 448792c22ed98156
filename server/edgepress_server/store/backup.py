"""Copies of the store's file, made while it is in use, and put back in its place.

    DIR/backups/edgepress-20261122T041500Z.db    whole copies; the newest `KEPT` daily ones stay
    DIR/edgepress.db.damaged-20261122T041700Z    what a restore put aside; a person removes it

A copy is one state of the store, as at one moment: SQLite's backup API inside one read transaction, which
keeps nobody from writing. It is looked at page by page before it counts, so a damaged store never takes the
place of a good copy. Blobs are files of their own, named by what they hold, and are not in it.

Killed at any moment there is always an ``edgepress.db``: a restore first links the old file to its new name,
then drops the old log, then renames the copy over it. Killed between those the store is found damaged, or as
it was, and the restore is made again.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgepress_server.errors import DiskFullError, InvalidInputError, StoreError, is_disk_full
from edgepress_server.files import sync_folder

KEPT: Final = 2
FOLDER: Final = "backups"
ROOM: Final = 1.1  # a copy is as large as the store; some room must be left for the store itself
STEP_PAGES: Final = 2048  # 8 MB; between two steps others get the disk
STEP_PAUSE_S: Final = 0.005
_NAME: Final = re.compile(r"edgepress-(\d{8}T\d{6}Z)\.db")


@dataclass(frozen=True)
class Backup:
    path: Path
    made: str  # UTC, 20261122T041500Z
    size_bytes: int

    def __str__(self) -> str:
        day, clock = self.made[:8], self.made[9:13]
        when = f"{day[:4]}-{day[4:6]}-{day[6:]} {clock[:2]}:{clock[2:]} UTC"
        return f"{self.path} of {when} ({self.size_bytes / 1e6:,.1f} MB)"


def backups(data_dir: Path) -> list[Backup]:
    """Those there are, newest first."""
    found = []
    for path in (data_dir / FOLDER).glob("edgepress-*.db"):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            found.append(Backup(path, match[1], path.stat().st_size))
    return sorted(found, key=lambda backup: backup.made, reverse=True)


def make_backup(
    store: Path, to: Path | None = None, *, kept: int = KEPT, go_on: Callable[[], bool] = lambda: True
) -> Backup:
    """Copy the store, into its ``backups`` folder or to a file that is not there yet.

    ``kept``: how many stay in the folder. ``go_on`` is asked all the time; False breaks off. Raises
    StoreError (damaged, unreadable, broken off, another under way), DiskFullError, InvalidInputError (``to``
    is there).
    """
    made = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    folder = store.parent / FOLDER
    path = to or folder / f"edgepress-{made}.db"
    if to is not None and path.exists():
        raise InvalidInputError("file_exists", f"{path} is there already. Name another file.")
    aside = path.with_name(f".{path.name}.new")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        with _alone(store):
            for torn in folder.glob(".edgepress-*.db.new*"):  # of a backup that was killed
                torn.unlink()
            aside.unlink(missing_ok=True)
            _check_room(store, path.parent)
            try:
                os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))  # it holds secrets
                _copy(store, aside, go_on)
                _sync(aside)
                aside.replace(path)
                sync_folder(path.parent)
            finally:
                aside.unlink(missing_ok=True)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError() from error
        raise StoreError("backup_failed", f"{path} cannot be written: {error.strerror}.") from error
    if to is None:
        for old in backups(store.parent)[max(1, kept) :]:
            old.path.unlink(missing_ok=True)
    return Backup(path, made, path.stat().st_size)


@contextmanager
def _alone(store: Path) -> Iterator[None]:
    """One back-up at a time: the next removes what a killed one left."""
    handle = os.open(store.with_name("backup.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                "backup_under_way", f"A back-up of {store} is being made already. Wait for its end."
            ) from error
        yield
    finally:
        os.close(handle)


def _check_room(store: Path, folder: Path) -> None:
    need = int(ROOM * store.stat().st_size)
    free = shutil.disk_usage(folder).free
    if free < need:
        raise StoreError(
            "no_room_for_backup",
            f"A back-up of {store} needs {need / 1e6:,.0f} MB and {folder} has {free / 1e6:,.0f} MB left. "
            "Free space, or name a file on another disk: edgepress store backup --to FILE.",
        )


class _BrokenOffError(Exception):
    """The server stops; what was copied so far is dropped."""


def _copy(store: Path, aside: Path, go_on: Callable[[], bool]) -> None:
    def step(_status: int, _left: int, _pages: int) -> None:
        if not go_on():
            raise _BrokenOffError

    try:
        with (
            closing(sqlite3.connect(_read_only(store), uri=True, isolation_level=None)) as source,
            closing(sqlite3.connect(aside, isolation_level=None)) as copy,
        ):
            source.execute("PRAGMA busy_timeout = 10000")
            # One transaction around all steps: the copy is of one moment, and writers do not start it anew.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            copy.execute("PRAGMA synchronous = OFF")  # it is synced once, at the end
            source.backup(copy, pages=STEP_PAGES, progress=step, sleep=STEP_PAUSE_S)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
            _check(copy, store)
    except _BrokenOffError as error:
        raise StoreError("backup_broken_off", "The back-up was broken off; there is none of now.") from error
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise DiskFullError() from error
        raise StoreError(
            "backup_failed", f"{store} could not be copied ({error}). {what_to_do(store)}"
        ) from error


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreError("store_damaged", f"{path} is damaged ({found}). {what_to_do(path)}")


def check_file(path: Path) -> None:
    """Look at every page of a store or of a copy. Raises StoreError."""
    try:
        with closing(sqlite3.connect(_read_only(path), uri=True)) as connection:
            _check(connection, path)
            tables = connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE name IN ('devices', '_sqlite_migrations')"
            ).fetchone()[0]
    except sqlite3.DatabaseError as error:
        raise StoreError("store_damaged", f"{path} is damaged ({error}). {what_to_do(path)}") from error
    if tables < 2:
        raise StoreError("no_store", f"{path} is no edgepress store.")


def what_to_do(path: Path) -> str:
    """The sentence that follows "it is damaged": names the newest back-up."""
    kept = [backup for backup in backups(path.parent) if backup.path != path]
    if not kept:
        return (
            f"There is no back-up in {path.parent / FOLDER}. Stop the server and put a copy of yours in its "
            f"place: edgepress store restore FILE --data {path.parent}."
        )
    return (
        f"The newest back-up is {kept[0]}. Stop the server and put it in its place: edgepress store restore "
        f"--data {path.parent}."
    )


def restore(store: Path, backup: Path) -> Path | None:
    """Put a copy in the store's place; where the old file lies now (None: there was none).

    The caller holds the server's lock. Raises StoreError, DiskFullError.
    """
    check_file(backup)
    fresh = store.with_name(f".{store.name}.restored")
    moved = store.with_name(f"{store.name}.damaged-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    try:
        fresh.unlink(missing_ok=True)
        shutil.copyfile(backup, fresh)
        fresh.chmod(0o600)
        _sync(fresh)
        was_there = store.exists()
        if was_there:
            moved.unlink(missing_ok=True)
            os.link(store, moved)
        for log in ("-wal", "-shm"):  # of the old file: SQLite would write it into the new one
            if store.with_name(store.name + log).exists():
                store.with_name(store.name + log).replace(moved.with_name(moved.name + log))
        fresh.replace(store)
        sync_folder(store.parent)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        if is_disk_full(error):
            raise DiskFullError() from error
        raise StoreError("restore_failed", f"{store} cannot be replaced: {error.strerror}.") from error
    return moved if was_there else None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_only(path: Path) -> str:
    """As SQLite's URI; ?, # and % would end or change its path."""
    quoted = str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{quoted}?mode=ro"

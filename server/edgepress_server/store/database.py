"""The SQLite file: connections, transactions, migrations. The sub-stores of this package stand on it.

WAL: readers never wait for the one writer. Every write is one short ``BEGIN IMMEDIATE`` transaction, so that
waiting for the lock happens at its start (busy_timeout) and never as a deadlock between two readers that both
want to write. ``synchronous=FULL``: what was committed survives a power cut.

Connections are pooled: a thread holds one for the length of a transaction or a query, so threads may come and
go. A transaction inside a transaction of the same thread joins it: sub-stores call each other.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlite_utils

from edgepress_server.errors import DiskFullError, StoreError, StoreVersionError
from edgepress_server.store.backup import what_to_do
from edgepress_server.store.migrations import migrations

BUSY_TIMEOUT_S = 10.0
SYNCHRONOUS = "FULL"  # what was committed survives a power cut

Parameters = Sequence[Any] | Mapping[str, Any]


def unix_ms() -> int:
    """The server's clock: Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class Database:
    """One SQLite file, shared by threads and processes.

    ``now_ms`` is the clock every sub-store reads (Unix ms); tests hand in their own.
    """

    def __init__(self, path: Path, now_ms: Callable[[], int] = unix_ms) -> None:
        self.path = path
        self.now_ms = now_ms
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._local = threading.local()
        self._pid = os.getpid()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """``with database.transaction() as connection:`` commits at the end, rolls back on any exception.

        Raises StoreError (busy, broken) and DiskFullError.
        """
        outer: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if outer is not None:
            yield outer
            return
        with self._borrowed() as connection:
            connection.execute("BEGIN IMMEDIATE")
            self._local.connection = connection
            try:
                yield connection
                connection.execute("COMMIT")
            finally:
                self._local.connection = None
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    def rows(self, sql: str, parameters: Parameters = ()) -> list[sqlite3.Row]:
        """All rows of a query; inside a transaction it sees what the transaction wrote."""
        outer: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if outer is not None:
            return outer.execute(sql, parameters).fetchall()
        with self._borrowed() as connection:
            return connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, parameters: Parameters = ()) -> sqlite3.Row | None:
        """The first row of a query, or None."""
        rows = self.rows(sql, parameters)
        return rows[0] if rows else None

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Several reads that see one state of the store, as if at one moment."""
        if getattr(self._local, "connection", None) is not None:
            yield
            return
        with self._borrowed() as connection:
            connection.execute("BEGIN")
            self._local.connection = connection
            try:
                yield
            finally:
                self._local.connection = None
                connection.execute("ROLLBACK")

    def connect(self) -> sqlite3.Connection:
        """A connection of the caller's own, who closes it; for example to watch ``PRAGMA data_version``."""
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={SYNCHRONOUS}")
        connection.execute("PRAGMA foreign_keys=ON")
        return connection

    def check(self) -> None:
        """Look at every page of the file: damage shows at the start and not in the middle of a change.

        Raises StoreError. Reads the whole file: about a second for each GB in the disk's cache.
        """
        found = self.rows("PRAGMA quick_check(1)")
        if not found or found[0][0] != "ok":
            raise _damaged(self.path)

    def close(self) -> None:
        """Close the idle connections; a later call opens new ones."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    @contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        with _translated(self.path):
            connection = self._take()
            sound = False
            try:
                yield connection
                sound = True
            except sqlite3.Error:
                raise
            except BaseException:
                sound = not connection.in_transaction
                raise
            finally:
                if sound:
                    with self._lock:
                        self._idle.append(connection)
                else:
                    connection.close()  # whatever state it is in, nobody meets it again

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            if self._pid != os.getpid():
                self._idle = []  # SQLite connections must not cross a fork
                self._pid = os.getpid()
            if self._idle:
                return self._idle.pop()
        return self.connect()


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """SQLite's errors of the world (busy, full, broken) as sentences; programming errors pass unchanged."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        primary = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if primary == sqlite3.SQLITE_FULL:
            raise DiskFullError() from error
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreError(
                "store_busy", "The store is busy with another change. Try again in a moment."
            ) from error
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise _damaged(path) from error
        if primary in (
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PERM,
        ):
            raise StoreError(
                "store_unusable",
                f"{path} cannot be read or written ({error}). Check the disk and the rights.",
            ) from error
        raise


def _damaged(path: Path) -> StoreError:
    return StoreError("store_damaged", f"{path} is damaged or no edgepress store. {what_to_do(path)}")


def migrate(database: Database) -> None:
    """Bring the schema up to date in one transaction: killed anywhere, the file is as before.

    ``BEGIN IMMEDIATE`` comes before the look at what is pending, so of several processes that start together
    one migrates and the others find it done. Raises StoreVersionError when a newer edgepress wrote the store.
    """
    with _translated(database.path):
        connection = database.connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            utils = sqlite_utils.Database(connection)
            known = {migration.name for migration in migrations.pending(sqlite_utils.Database(memory=True))}
            unknown = {migration.name for migration in migrations.applied(utils)} - known
            if unknown:
                raise StoreVersionError(
                    "store_too_new",
                    f"{database.path} was written by a newer edgepress ({', '.join(sorted(unknown))}). "
                    "Install that version or newer.",
                )
            migrations.apply(utils)  # nested in our transaction: sqlite-utils uses savepoints there
            connection.execute("COMMIT")
        finally:
            connection.close()  # an open transaction is rolled back

"""What a start makes sure of before any process runs: folder, lock, ports, store, keys, certificates, login.

Each of them is found whole or made again, so a start that was killed is simply repeated.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import msgspec

from edgepress_server.broker.driver import driver
from edgepress_server.broker.ports import free_port, listen
from edgepress_server.errors import ConflictError, DiskFullError, InvalidInputError, is_disk_full
from edgepress_server.pki import ensure
from edgepress_server.settings import Settings, remember
from edgepress_server.store import Store, open_store
from edgepress_server.trust.keys import create_keys_if_missing

# A server that was killed leaves its roles a moment to end; only then its ports are free again.
AFTER_KILL_S: Final = 6.0


@dataclass
class Prepared:
    settings: Settings  # with the ports that were drawn
    store: Store
    web: socket.socket  # listening
    lock: int  # file descriptor; the lock lasts as long as it is open


def prepare(settings: Settings, tell: Callable[[str], None]) -> Prepared:
    """Raises ConflictError (already running, port in use), InvalidInputError, StoreError, DiskFullError."""
    _make_folder(settings)
    lock = _lock(settings)
    try:
        driver(settings).prepare(settings)
        settings, web = _ports(settings)
        is_new = not (settings.data_dir / "edgepress.db").exists()
        had_keys = settings.keys_dir.exists()
        store = open_store(settings.data_dir)
        if not is_new:
            store.database.check()
        create_keys_if_missing(settings.keys_dir)
        ensure(settings, store.devices.certificates.revoked())
        remember(settings)
        _first_login(settings, store, tell, had_keys)
    except BaseException:
        os.close(lock)
        raise
    return Prepared(settings, store, web, lock)


def _make_folder(settings: Settings) -> None:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings.log_dir.mkdir(exist_ok=True, mode=0o700)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError() from error
        raise InvalidInputError(
            "no_data_dir",
            f"The data folder {settings.data_dir} cannot be used ({error.strerror}). Choose one with --data.",
        ) from error


@contextmanager
def locked(settings: Settings) -> Iterator[None]:
    """While no server runs on the folder, and none can start. Raises ConflictError."""
    handle = _lock(settings)
    try:
        yield
    finally:
        os.close(handle)


def _lock(settings: Settings) -> int:
    path = settings.data_dir / "serve.lock"
    try:
        handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError() from error
        raise InvalidInputError(
            "no_data_dir", f"{path} cannot be used ({error.strerror}). Check who owns the data folder."
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = os.read(handle, 20).decode("ascii", "replace").strip()
        os.close(handle)
        raise ConflictError(
            "already_running",
            f"A server runs on {settings.data_dir} already (process {pid or 'unknown'}). Stop it first, or "
            "choose another folder with --data.",
        ) from error
    os.ftruncate(handle, 0)
    try:
        os.write(handle, f"{os.getpid()}\n".encode())
    except OSError as error:
        os.close(handle)
        if is_disk_full(error):
            raise DiskFullError() from error
        raise
    return handle


def _ports(settings: Settings) -> tuple[Settings, socket.socket]:
    ready = settings.data_dir / "ready.json"
    patience_s = AFTER_KILL_S if ready.exists() else 0.0
    ready.unlink(missing_ok=True)
    until = time.monotonic() + patience_s
    while True:
        try:
            mqtt_port = settings.mqtt_port
            if settings.broker != "external":
                mqtt_port = free_port(
                    settings.mqtt_host, settings.mqtt_port, "--mqtt-port", "the MQTT broker"
                )
            web = listen(settings.host, settings.port, "--port", "the web server")
        except ConflictError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            web.set_inheritable(True)
            return (
                msgspec.structs.replace(settings, mqtt_port=mqtt_port, port=web.getsockname()[1]),
                web,
            )


def _first_login(settings: Settings, store: Store, tell: Callable[[str], None], had_keys: bool) -> None:
    # Told before it is committed: killed between the two, the next start makes another one and tells that.
    with store.transaction():
        password = store.people.ensure_admin()
        if password is not None and had_keys:
            tell(
                f"Note: {settings.keys_dir} has keys of an earlier server, but its store is empty: devices, "
                "models and accounts start anew. If edgepress.db was lost, stop and restore a back-up of it."
            )
        if password is not None:
            tell(
                f"First start: everything is kept in {settings.data_dir}\n"
                f"Back up {settings.keys_dir} and {settings.pki_dir}: devices trust the keys in them and no "
                "others.\n"
                "\n"
                "Sign in with\n"
                "    name:     admin\n"
                f"    password: {password}\n"
                "This password is shown only now. Keep it; if it gets lost, run `edgepress password` here.\n"
            )

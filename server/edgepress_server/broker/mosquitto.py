"""Mosquitto as a child of the broker role, with a user per device and access to its own subtree only.

    DIR/broker/mosquitto.conf, acl    written at each start
    DIR/broker/passwords              users: the server, and every device that is enrolled and not revoked
    DIR/broker/server-password        the link's own password, drawn once
    DIR/broker/mosquitto.db           retained messages, by mosquitto

A device that enrols or is revoked changes the password file; SIGHUP makes mosquitto read it again and hang up
on whoever is no longer in it.
"""

from __future__ import annotations

import base64
import ctypes
import hashlib
import logging
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Final

from edgepress_devices.protocol import PREFIX, SERVER_STATE_TOPIC
from edgepress_server.errors import InvalidInputError, ServerError, StoreError
from edgepress_server.files import replace_file
from edgepress_server.settings import SERVER_USER, Settings
from edgepress_server.store import Store

log = logging.getLogger(__name__)

POLL_S: Final = 0.1  # a device that has just enrolled connects at once
EVENTS_READ: Final = 200  # more at once: look at the users without reading what happened
STOP_S: Final = 4.0
MAX_PACKET_BYTES: Final = 400_000
# PBKDF2 rounds of mosquitto_passwd. The secrets are 256 random bits: more would only cost time.
PBKDF2_ROUNDS: Final = 101
PR_SET_PDEATHSIG: Final = 1  # prctl(2)

ACCESS: Final = f"""\
user {SERVER_USER}
topic readwrite {PREFIX}/#

pattern write {PREFIX}/d/%u/up/#
pattern read {PREFIX}/d/%u/down/#
pattern read {PREFIX}/c/+/+
pattern read {SERVER_STATE_TOPIC}
"""


def find_mosquitto() -> Path:
    """The program. Raises InvalidInputError when it is not installed."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])  # Debian: sbin
    found = shutil.which("mosquitto", path=path)
    if found is None:
        raise InvalidInputError(
            "no_mosquitto",
            "mosquitto is not installed. Install it (Debian: apt-get install mosquitto), or use "
            "--broker embedded.",
        )
    return Path(found)


def server_password(settings: Settings) -> str:
    """The password of the server's own user, drawn at the first call."""
    file = settings.broker_dir / "server-password"
    try:
        return file.read_text(encoding="ascii")
    except FileNotFoundError:
        settings.broker_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        password = secrets.token_urlsafe(32)
        replace_file(file, password.encode("ascii"))
        return password
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            "no_password", f"{file} cannot be read ({error}). Delete it and start again."
        ) from error


def hash_password(password: str, salt: bytes) -> str:
    """mosquitto's ``$7$`` form: PBKDF2-HMAC-SHA512, rounds, salt (12 bytes) and hash (64 bytes) in base64."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode("utf-8"), salt, PBKDF2_ROUNDS, dklen=64)
    return f"$7${PBKDF2_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def configuration(settings: Settings) -> str:
    folder = settings.broker_dir
    user = pwd.getpwuid(
        os.getuid()
    ).pw_name  # started by root it would become another and see no file of ours
    return f"""\
# Written by edgepress at each start.
user {user}
listener {settings.mqtt_port} {settings.mqtt_host}
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl
persistence true
persistence_location {folder}/
persistence_file mosquitto.db
autosave_interval 30
max_packet_size {MAX_PACKET_BYTES}
max_inflight_messages 100
max_queued_messages 100000
max_queued_bytes 268435456
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
log_type notice
"""


class Mosquitto:
    """One mosquitto process and its files."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._secrets: dict[str, str] = {}
        self._lines: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._seen_event = 0

    def start(self) -> None:
        """Raises InvalidInputError when mosquitto is missing, StoreError when its files cannot be written."""
        program = find_mosquitto()
        folder = self._settings.broker_dir
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(folder / "mosquitto.conf", configuration(self._settings).encode())
        replace_file(folder / "acl", ACCESS.encode())
        self._seen_event = self._store.events.last_id()
        self.write_users()
        self._process = subprocess.Popen(
            [program, "-c", folder / "mosquitto.conf"],
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - the broker role has no threads yet
        )

    def poll(self) -> int | None:
        """The exit code once it has ended."""
        return None if self._process is None else self._process.poll()

    def reload_if_changed(self) -> bool:
        """Rewrite the password file when a device enrolled or was revoked, and tell mosquitto."""
        newest = self._store.events.last_id()
        if newest == self._seen_event or self._process is None:
            return False
        changed = self._concerns_users(newest) and self.write_users()
        if changed:
            self._process.send_signal(signal.SIGHUP)
        self._seen_event = newest
        return changed

    def _concerns_users(self, newest: int) -> bool:
        if newest - self._seen_event > EVENTS_READ:
            return True
        events = self._store.events.after(self._seen_event, EVENTS_READ)
        return any(event.kind == "device" and event.action in ("enrolled", "revoked") for event in events)

    def stop(self) -> None:
        """Ask it to save its retained messages and end; insist after a while."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def write_users(self) -> bool:
        """Write the password file; False when nothing changed since the last time."""
        users = {**self._store.devices.mqtt_secrets(), SERVER_USER: server_password(self._settings)}
        if users == self._secrets:
            return False
        # A line is made once: a new salt would look to mosquitto like a changed password.
        lines = {
            name: self._lines[name]
            if self._secrets.get(name) == secret and name in self._lines
            else hash_password(secret, secrets.token_bytes(12))
            for name, secret in users.items()
        }
        text = "".join(f"{name}:{line}\n" for name, line in sorted(lines.items()))
        replace_file(self._settings.broker_dir / "passwords", text.encode("ascii"))
        self._secrets, self._lines = users, lines
        return True


def run_mosquitto(settings: Settings, store: Store, stop: threading.Event) -> int:
    """Keep mosquitto running and its users current until told to stop; the exit code it ended with."""
    broker = Mosquitto(settings, store)
    broker.start()
    try:
        while not stop.wait(POLL_S):
            code = broker.poll()
            if code is not None:
                log.error("mosquitto ended with code %s", code)
                return code or 1
            try:
                if broker.reload_if_changed():
                    log.info("users changed; mosquitto reads them again")
            except ServerError as error:  # disk full, store busy: those who are in already stay served
                log.warning("mosquitto's users could not be renewed, trying again: %s", error)
        return 0
    finally:
        broker.stop()


def _die_with_parent() -> None:
    """In the child: end when the broker role is killed. Not on Linux the supervisor ends the group."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

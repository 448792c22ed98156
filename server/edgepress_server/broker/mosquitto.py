"""Mosquitto as a child of the broker role, with a user per device and access to its own subtree only.

    DIR/broker/mosquitto.conf          written at each start
    DIR/broker/dynamic-security.json   users and roles; passwords and acl where the plugin is missing
    DIR/broker/server-password         the link's own password, drawn once
    DIR/broker/reader-password        of Home Assistant's account, where that is on
    DIR/broker/control-password        of the user that drives the plugin
    DIR/broker/control.sock            where server and control connect: no network, no TLS, only this user
    DIR/broker/mosquitto.db            retained messages, by mosquitto

A device that enrols or is revoked changes the users at once; who is revoked is hung up on. A new list of
revoked certificates is read on SIGHUP.
"""

from __future__ import annotations

import ctypes
import logging
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

from edgepress_server.broker.dynsec_control import DynamicSecurity
from edgepress_server.broker.mosquitto_files import AccessFiles
from edgepress_server.broker.reader import PASSWORD_FILE, Reader
from edgepress_server.errors import InvalidInputError, ServerError, StoreError
from edgepress_server.files import replace_file
from edgepress_server.settings import Settings
from edgepress_server.store import Store

log = logging.getLogger(__name__)

POLL_S: Final = 0.1  # a device that has just enrolled connects at once
BUSY_S: Final = 0.02  # between two batches of changes: mosquitto serves everybody else
RETRY_S: Final = 1.0
EVENTS_READ: Final = 200  # more at once: look at the users without reading what happened
USER_ACTIONS: Final = ("enrolled", "revoked", "renewed", "removed")
STOP_S: Final = 4.0
MAX_PACKET_BYTES: Final = 400_000
SOCKET_PATH_MOST: Final = 100  # sun_path has 108 bytes on Linux, 104 on macOS
PR_SET_PDEATHSIG: Final = 1  # prctl(2)
PLUGIN_NAME: Final = "mosquitto_dynamic_security.so"
PLUGIN_FOLDERS: Final = ("/usr/lib/*/", "/usr/lib/", "/usr/local/lib/", "/usr/lib64/", "/opt/homebrew/lib/")


class Access(Protocol):
    """Who may connect and reach what: files, or the plugin."""

    @property
    def configuration(self) -> str: ...

    def begin(self, users: Mapping[str, str]) -> None: ...

    def update(self, users: Mapping[str, str]) -> bool: ...

    def close(self) -> None: ...


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


def find_plugin() -> Path | None:
    """The dynamic security plugin; EDGEPRESS_MOSQUITTO_PLUGIN names one elsewhere, or "none".

    Raises InvalidInputError when that variable names no file.
    """
    named = os.environ.get("EDGEPRESS_MOSQUITTO_PLUGIN", "")
    if named == "none":
        return None
    if named:
        if not Path(named).is_file():
            raise InvalidInputError(
                "no_plugin", f"EDGEPRESS_MOSQUITTO_PLUGIN={named!r} is no file. Correct it or leave it out."
            )
        return Path(named)
    for folder in PLUGIN_FOLDERS:
        found = sorted(Path("/").glob(f"{folder.lstrip('/')}{PLUGIN_NAME}"))
        if found:
            return found[0]
    return None


def server_password(settings: Settings) -> str:
    """The password of the server's own user, drawn at the first call."""
    return draw_once(settings.broker_dir / "server-password")


def reader_of(settings: Settings) -> Reader:
    """Home Assistant's account; its password is drawn when it is first asked for."""
    password = draw_once(settings.broker_dir / PASSWORD_FILE) if settings.home_assistant else None
    return Reader(settings.home_assistant_prefix, password)


def socket_path(settings: Settings) -> Path:
    """Where mosquitto listens for the server. Raises InvalidInputError when the system cannot name it."""
    path = settings.broker_dir / "control.sock"
    if len(os.fsencode(path)) > SOCKET_PATH_MOST:
        raise InvalidInputError(
            "path_too_long",
            f"{path} is too long a name for a socket ({SOCKET_PATH_MOST} bytes are allowed). Choose a data "
            "folder with a shorter path (--data).",
        )
    return path


def draw_once(file: Path) -> str:
    """A random text that is kept in a private file. Raises StoreError."""
    try:
        return file.read_text(encoding="ascii")
    except FileNotFoundError:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        password = secrets.token_urlsafe(32)
        replace_file(file, password.encode("ascii"))
        return password
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            "no_password", f"{file} cannot be read ({error}). Delete it and start again."
        ) from error


def configuration(settings: Settings, access: str) -> str:
    """mosquitto.conf; ``access``: the lines that name users and what they reach."""
    # Started by root it would become another user and see no file of ours.
    user = pwd.getpwuid(os.getuid()).pw_name
    folder = settings.broker_dir
    return f"""\
# Written by edgepress at each start.
user {user}
allow_anonymous false
{access}persistence true
persistence_location {folder}/
persistence_file mosquitto.db
autosave_interval 30
max_packet_size {MAX_PACKET_BYTES}
max_inflight_messages 100
max_queued_messages 100000
max_queued_bytes 67108864
set_tcp_nodelay true
log_dest stderr
log_type error
log_type warning
log_type notice
listener 0 {socket_path(settings)}
listener {settings.mqtt_port} {settings.mqtt_host}
{tls_lines(settings)}"""


def tls_lines(settings: Settings) -> str:
    """Of the listener for devices: TLS 1.2 at least, and their certificates where they have some."""
    if not settings.mqtt_tls:
        return ""
    folder = settings.pki_dir
    lines = [f"certfile {folder}/server.pem", f"keyfile {folder}/server.key", "tls_version tlsv1.2"]
    if settings.device_auth == "certificate":
        lines += [
            f"cafile {folder}/ca.pem",
            f"crlfile {folder}/crl.pem",
            "require_certificate true",
            "use_identity_as_username true",
        ]
    return "\n".join(lines) + "\n"


class Mosquitto:
    """One mosquitto process and its files."""

    def __init__(self, settings: Settings, store: Store) -> None:
        """Raises InvalidInputError when what the settings ask for cannot be had here."""
        self._settings = settings
        self._store = store
        self._process: subprocess.Popen[bytes] | None = None
        self._seen_event = 0
        self._settled = True
        self._certificates = self._certificate_stamps()
        self._access = self._make_access()

    def _make_access(self) -> Access:
        folder, plugin = self._settings.broker_dir, find_plugin()
        password = server_password(self._settings)
        if plugin is not None:
            return DynamicSecurity(
                folder, plugin, password, draw_once(folder / "control-password"), reader_of(self._settings)
            )
        if self._settings.device_auth == "certificate":
            raise InvalidInputError(
                "no_plugin",
                f"Devices with certificates need mosquitto's {PLUGIN_NAME}, which hangs up on those that are "
                "revoked. It is not in the usual places: name it with EDGEPRESS_MOSQUITTO_PLUGIN, or give "
                "devices secrets instead.",
            )
        log.warning("mosquitto's dynamic security plugin is not here; users are kept in its files instead")
        return AccessFiles(folder, password, self._reload, reader_of(self._settings))

    def start(self) -> None:
        """Raises InvalidInputError when mosquitto is missing, StoreError when its files cannot be written."""
        program = find_mosquitto()
        folder = self._settings.broker_dir
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        socket_path(self._settings).unlink(missing_ok=True)
        text = configuration(self._settings, self._access.configuration)
        replace_file(folder / "mosquitto.conf", text.encode())
        self._seen_event = self._store.events.last_id()
        self._access.begin(self._users())
        self._process = subprocess.Popen(
            [program, "-c", folder / "mosquitto.conf"],
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - the broker role has no threads yet
        )

    @property
    def is_settled(self) -> bool:
        """mosquitto knows everybody as the store does, as far as that was looked at."""
        return self._settled

    def poll(self) -> int | None:
        """The exit code once it has ended."""
        return None if self._process is None else self._process.poll()

    def renew_users(self) -> bool:
        """Tell mosquitto who enrolled and who was revoked; True when something was changed.

        Raises StoreError, DiskFullError: what is not done yet is done at the next call.
        """
        certificates = self._certificate_stamps()
        if certificates != self._certificates:
            self._certificates = certificates
            self._reload()
        newest = self._store.events.last_id()
        if newest == self._seen_event and self._settled:
            return False
        changed = not self._settled or self._concerns_users(newest)
        if changed:
            self._settled = False
            self._settled = self._access.update(self._users())
        self._seen_event = newest
        return changed

    def stop(self) -> None:
        """Ask it to save its retained messages and end; insist after a while."""
        self._access.close()
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _users(self) -> dict[str, str]:
        """device -> secret of those that may connect; "" where it shows a certificate."""
        return self._store.devices.mqtt_secrets()

    def _concerns_users(self, newest: int) -> bool:
        if newest - self._seen_event > EVENTS_READ:
            return True
        events = self._store.events.after(self._seen_event, EVENTS_READ)
        return any(event.kind == "device" and event.action in USER_ACTIONS for event in events)

    def _certificate_stamps(self) -> list[tuple[int, int]]:
        """Of files that mosquitto shows or checks; they change with a renewal or a revocation."""
        found = []
        for name in ("server.pem", "crl.pem"):
            try:
                status = (self._settings.pki_dir / name).stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime_ns, status.st_ino))
        return found

    def _reload(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)


def run_mosquitto(settings: Settings, store: Store, stop: threading.Event) -> int:
    """Keep mosquitto running and its users current until told to stop; the exit code it ended with."""
    broker = Mosquitto(settings, store)
    broker.start()
    try:
        while not stop.wait(POLL_S if broker.is_settled else BUSY_S):
            code = broker.poll()
            if code is not None:
                log.error("mosquitto ended with code %s", code)
                return code or 1
            try:
                if broker.renew_users():
                    log.info("mosquitto knows the users as they are now")
            except ServerError as error:  # disk full, store busy: those who are in already stay served
                log.warning("mosquitto's users could not be renewed, trying again: %s", error)
                stop.wait(RETRY_S)
        return 0
    finally:
        broker.stop()


def _die_with_parent() -> None:
    """In the child: end when the broker role is killed. Not on Linux the supervisor ends the group."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)

"""Mosquitto's own password and access files, for a mosquitto without the dynamic security plugin.

    DIR/broker/passwords   the server, and every device that is enrolled and not revoked
    DIR/broker/acl         a device reaches its own subtree and the chunks

A device that enrols or is revoked changes the password file; SIGHUP makes mosquitto read it again and hang up
on whoever is no longer in it. A forbidden subscription is granted here, and nothing ever comes over it.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from edgepress_devices.protocol import PREFIX
from edgepress_server.broker.reader import READER_USER, Reader
from edgepress_server.files import replace_file
from edgepress_server.settings import SERVER_USER

# PBKDF2 rounds of mosquitto_passwd. The secrets are 256 random bits: more would only cost time.
PBKDF2_ROUNDS: Final = 101

ACCESS: Final = f"""\
user {SERVER_USER}
topic readwrite {PREFIX}/#

pattern write {PREFIX}/d/%u/up/#
pattern read {PREFIX}/d/%u/down/#
pattern read {PREFIX}/c/+/+
pattern read {PREFIX}/server/#
"""


def access_text(reader: Reader) -> str:
    """ACCESS, what the server may announce to Home Assistant, and what its account hears."""
    server = f"user {SERVER_USER}\ntopic write {reader.prefix}/#\n"
    heard = "".join(f"topic read {topic}\n" for topic in reader.filters)
    return f"{ACCESS}\n{server}" + ("" if reader.password is None else f"\nuser {READER_USER}\n{heard}")


def pbkdf2(password: str, salt: bytes) -> bytes:
    """64 bytes, as mosquitto_passwd and the dynamic security plugin hash (PBKDF2-HMAC-SHA512)."""
    return hashlib.pbkdf2_hmac("sha512", password.encode("utf-8"), salt, PBKDF2_ROUNDS, dklen=64)


def hash_password(password: str, salt: bytes) -> str:
    """mosquitto's ``$7$`` form: rounds, salt (12 bytes) and hash (64 bytes) in base64."""
    digest = pbkdf2(password, salt)
    return f"$7${PBKDF2_ROUNDS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


class AccessFiles:
    """``reload`` tells mosquitto to read its files again."""

    def __init__(
        self,
        folder: Path,
        server_password: str,
        reload: Callable[[], None],
        reader: Reader | None = None,
    ) -> None:
        self._folder = folder
        self._server_password = server_password
        self._reload = reload
        self._reader = reader or Reader()
        self._secrets: dict[str, str] = {}
        self._lines: dict[str, str] = {}

    @property
    def configuration(self) -> str:
        return f"password_file {self._folder}/passwords\nacl_file {self._folder}/acl\n"

    def begin(self, users: Mapping[str, str]) -> None:
        """Before mosquitto starts."""
        replace_file(self._folder / "acl", access_text(self._reader).encode())
        self._write(users)

    def update(self, users: Mapping[str, str]) -> bool:
        """True when everything is as ``users`` (device -> secret) says. Raises StoreError, DiskFullError."""
        if self._write(users):
            self._reload()
        return True

    def close(self) -> None:
        """Nothing is kept open."""

    def _write(self, users: Mapping[str, str]) -> bool:
        """Write the password file; False when nothing changed since the last time."""
        everyone = {**users, SERVER_USER: self._server_password}
        if self._reader.password is not None:
            everyone[READER_USER] = self._reader.password
        if everyone == self._secrets:
            return False
        # A line is made once: a new salt would look to mosquitto like a changed password.
        lines = {
            name: self._lines[name]
            if self._secrets.get(name) == secret and name in self._lines
            else hash_password(secret, secrets.token_bytes(12))
            for name, secret in everyone.items()
        }
        text = "".join(f"{name}:{line}\n" for name, line in sorted(lines.items()))
        replace_file(self._folder / "passwords", text.encode("ascii"))
        self._secrets, self._lines = everyone, lines
        return True

"""Devices: registered by a person, enrolled with a code, heard from over MQTT, revoked.

registered --code--> enrolled (online | offline) --revoke--> revoked --new code--> enrolled again

An enrolment code works once and until it expires. A new code for an enrolled device leaves its old
credentials good until the new code is used. Revoking drops the credentials and the codes at once; the row
stays. A board that was re-flashed comes back with a new code under its old name: new keys, same labels, and
its orders are sealed anew. Renewing credentials is in `edgepress_server.store.renewals`.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import sqlite3
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from edgepress_devices.protocol import DEVICE_NAME, Hardware, State
from edgepress_server.errors import ConflictError, GoneError, InvalidInputError, NotFoundError
from edgepress_server.pki.devices import DeviceCertificate
from edgepress_server.store.certificates import DeviceCertificates
from edgepress_server.store.database import Database
from edgepress_server.store.events import Events

CODE_MS = 24 * 3600 * 1000  # how long a code works, unless it is made for longer
CODE_MAX_MS = 90 * CODE_MS
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: no I, L, O, U
_CODE_SYMBOLS = 16  # 80 bits
RESERVED_NAMES: Final = frozenset({"page"})  # /devices/page is the list of them
_LABEL_KEY = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?")
MAX_LABELS, MAX_LABEL_VALUE = 32, 120

Status = Literal["registered", "online", "offline", "revoked"]


@dataclass(frozen=True)
class Device:
    name: str
    profile: str
    labels: dict[str, str]
    created_at: int  # Unix ms, as all *_at
    enrolled_at: int | None
    revoked_at: int | None
    public_key: str | None  # X25519, base64 of the raw key
    mqtt_secret: str | None
    agent_version: str | None
    hardware: Hardware | None
    online: bool
    seen_at: int | None
    state: State | None  # the last full up/state message
    want_counter: int
    credentials_at: int | None = None  # when what it shows to the broker was made
    next_secret: str | None = None  # renewed; takes over when the device has shown it
    cloned_at: int | None = None  # two boards were last seen with this identity

    @property
    def status(self) -> Status:
        if self.revoked_at is not None:
            return "revoked"
        if self.enrolled_at is None:
            return "registered"
        return "online" if self.online else "offline"


class Devices:
    def __init__(self, database: Database, events: Events) -> None:
        self._database = database
        self._events = events
        self.certificates = DeviceCertificates(database)

    def register(self, name: str, profile: str, labels: dict[str, str], *, actor: str | None) -> Device:
        """Raises InvalidInputError for a bad name or label, ConflictError when the name is taken."""
        check_name(name)
        check_labels(labels)
        with self._database.transaction() as connection:
            old = self.find(name)
            if old is not None:
                raise ConflictError("device_exists", taken(name, was_revoked=old.revoked_at is not None))
            connection.execute(
                "INSERT INTO devices (name, profile, labels, created_at) VALUES (?, ?, ?, ?)",
                (name, profile, json.dumps(labels, sort_keys=True), self._database.now_ms()),
            )
            self._events.append("device", name, "registered", actor=actor, data={"profile": profile})
            return self.get(name)

    def find(self, name: str) -> Device | None:
        row = self._database.row("SELECT * FROM devices WHERE name = ?", (name,))
        return None if row is None else _device(row)

    def get(self, name: str) -> Device:
        """Raises NotFoundError."""
        device = self.find(name)
        if device is None:
            raise NotFoundError(
                "device_unknown", f"There is no device {name[:80]!r}. `edgepress device list` shows them."
            )
        return device

    def list(self) -> list[Device]:
        """All devices, by name, revoked ones too."""
        return [_device(row) for row in self._database.rows("SELECT * FROM devices ORDER BY name")]

    def change(
        self,
        name: str,
        *,
        labels: dict[str, str] | None = None,
        profile: str | None = None,
        actor: str | None,
    ) -> Device:
        """Replace the labels and, or, the profile. Raises NotFoundError, InvalidInputError."""
        if labels is not None:
            check_labels(labels)
        with self._database.transaction() as connection:
            old = self.get(name)
            connection.execute(
                "UPDATE devices SET labels = ?, profile = ? WHERE name = ?",
                (
                    json.dumps(old.labels if labels is None else labels, sort_keys=True),
                    old.profile if profile is None else profile,
                    name,
                ),
            )
            self._events.append("device", name, "changed", actor=actor)
            return self.get(name)

    def revoke(self, name: str, *, actor: str | None) -> Device:
        """Its credentials and codes die at once; revoking twice is no error. Raises NotFoundError.

        Its certificates are revoked too; whoever calls this writes the revocation list anew.
        """
        with self._database.transaction() as connection:
            self.get(name)
            connection.execute(
                "UPDATE devices SET revoked_at = coalesce(revoked_at, ?), mqtt_secret = NULL, "
                "next_secret = NULL, credentials_at = NULL, public_key = NULL, cloned_at = NULL, online = 0 "
                "WHERE name = ?",
                (self._database.now_ms(), name),
            )
            self.certificates.revoke_all(name)
            connection.execute("DELETE FROM enrolment_codes WHERE device = ? AND used_at IS NULL", (name,))
            self._events.append("device", name, "revoked", actor=actor)
            return self.get(name)

    def revoke_all(self, names: Collection[str], *, actor: str | None) -> tuple[Device, ...]:
        """Revoke these or, when one is unknown, none. Raises NotFoundError."""
        with self._database.transaction():
            return tuple(self.revoke(name, actor=actor) for name in dict.fromkeys(names))

    # --- enrolment ------------------------------------------------------------------------------------

    def new_code(self, name: str, *, actor: str | None, life_ms: int = CODE_MS) -> tuple[str, int]:
        """A fresh code and when it expires (Unix ms); unused older ones die. Raises NotFoundError."""
        code, now = draw_code(), self._database.now_ms()
        with self._database.transaction() as connection:
            self.get(name)
            connection.execute("DELETE FROM enrolment_codes WHERE device = ? AND used_at IS NULL", (name,))
            connection.execute(
                "INSERT INTO enrolment_codes (hash, device, created_at, expires_at, actor) "
                "VALUES (?, ?, ?, ?, ?)",
                (code_hash(code), name, now, now + life_ms, actor),
            )
            self._events.append("device", name, "code", actor=actor)
        return code, now + life_ms

    def enrol(
        self,
        code: str,
        public_key: str,
        hardware: Hardware,
        agent_version: str,
        certify: Callable[[str], DeviceCertificate] | None = None,
    ) -> Device:
        """Trade a code for credentials; a code works once.

        ``mqtt_secret`` is always drawn; with ``certify``, which is told the device's name and signs, the
        device also gets a certificate (``certificates.find``). What it had before is worth nothing then.

        Raises NotFoundError for an unknown code, GoneError for a used or expired one.
        """
        now = self._database.now_ms()
        with self._database.transaction() as connection:
            row = self._database.row("SELECT * FROM enrolment_codes WHERE hash = ?", (code_hash(code),))
            if row is None:
                raise NotFoundError(
                    "code_unknown",
                    "This enrolment code is not known here. Check it for typing errors, or make a new one "
                    "with "
                    "`edgepress device code NAME`.",
                )
            if row["used_at"] is not None:
                raise GoneError(
                    "code_used",
                    f"This enrolment code was used already. Make a new one with `edgepress device code "
                    f"{row['device']}`.",
                )
            if row["expires_at"] <= now:
                raise GoneError(
                    "code_expired",
                    f"This enrolment code has expired. Make a new one with `edgepress device code "
                    f"{row['device']}`.",
                )
            connection.execute("UPDATE enrolment_codes SET used_at = ? WHERE hash = ?", (now, row["hash"]))
            connection.execute(
                "UPDATE devices SET enrolled_at = ?, credentials_at = ?, revoked_at = NULL, public_key = ?, "
                "mqtt_secret = ?, next_secret = NULL, cloned_at = NULL, hardware = ?, agent_version = ?, "
                "online = 0, state = NULL WHERE name = ?",
                (now, now, public_key, draw_secret(), _json(hardware), agent_version, row["device"]),
            )
            self.certificates.revoke_all(row["device"])
            if certify is not None:
                self.certificates.add(row["device"], certify(row["device"]), "current")
            self._events.append("device", row["device"], "enrolled")
            return self.get(row["device"])

    def mqtt_secrets(self) -> dict[str, str]:
        """Broker passwords by device, of those that may connect: enrolled and not revoked."""
        rows = self._database.rows(
            "SELECT name, mqtt_secret FROM devices WHERE mqtt_secret IS NOT NULL AND revoked_at IS NULL"
        )
        return {row["name"]: row["mqtt_secret"] for row in rows}


def taken(name: str, *, was_revoked: bool) -> str:
    """Why a name cannot be given again, and what to do."""
    again = f"make a new code with `edgepress device code {name}`, or register it again with --replace"
    why = "It was revoked; to let it in again" if was_revoked else "For a board that was re-flashed,"
    return f"There is already a device {name!r}. {why} {again}. Or take another name."


def draw_secret() -> str:
    """A password for the broker: 256 random bits."""
    return secrets.token_urlsafe(32)


def draw_code() -> str:
    """An enrolment code as people see it: ``ABCD-EFGH-JKMN-PQRS``, 80 random bits."""
    symbols = "".join(secrets.choice(_ALPHABET) for _ in range(_CODE_SYMBOLS))
    return "-".join(symbols[i : i + 4] for i in range(0, _CODE_SYMBOLS, 4))


def check_name(name: str) -> str:
    if not DEVICE_NAME.fullmatch(name):
        raise InvalidInputError(
            "device_name",
            f"{name[:80]!r} is no device name: use 1 to 63 of a-z, 0-9 and '-', not '-' at either end.",
        )
    if name in RESERVED_NAMES:
        raise InvalidInputError("device_name", f"{name!r} is an address of the API: choose another name.")
    return name


def check_labels(labels: dict[str, str]) -> dict[str, str]:
    if len(labels) > MAX_LABELS:
        raise InvalidInputError("labels", f"A device carries at most {MAX_LABELS} labels.")
    for key, value in labels.items():
        if not _LABEL_KEY.fullmatch(key):
            raise InvalidInputError(
                "labels", f"{key[:80]!r} is no label: use 1 to 63 of a-z, 0-9, '.', '_' and '-'."
            )
        if len(value) > MAX_LABEL_VALUE or not value.isprintable():
            raise InvalidInputError(
                "labels",
                f"The value of label {key!r} must be at most {MAX_LABEL_VALUE} printable characters.",
            )
    return labels


def code_hash(code: str) -> str:
    """SHA-256 of the code as a person may type it: case, blanks, hyphens, look-alikes are forgiven."""
    symbols = re.sub(r"[\s-]", "", code.upper()).translate(str.maketrans("OIL", "011"))
    return hashlib.sha256(symbols.encode()).hexdigest()


def _device(row: sqlite3.Row) -> Device:
    columns: dict[str, Any] = dict(row)
    columns["labels"] = json.loads(row["labels"])
    columns["online"] = bool(row["online"])
    columns["hardware"] = msgspec.json.decode(row["hardware"], type=Hardware) if row["hardware"] else None
    columns["state"] = _state(row["state"])
    return Device(**columns)


def _state(text: str | None) -> State | None:
    """What the device last reported; None also when another version of the protocol wrote it."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=State)
    except msgspec.ValidationError:
        return None


def _json(message: msgspec.Struct) -> str:
    return msgspec.json.encode(message).decode()

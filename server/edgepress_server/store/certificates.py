"""Certificates of devices.

    next --shown by the device--> current --renewed, revoked, enrolled anew--> revoked --expires--> forgotten
    next --asked for again--> revoked

At most one of a device is current, at most one is next. All changes happen inside the caller's transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgepress_server.pki.crl import Revoked
from edgepress_server.pki.devices import DeviceCertificate
from edgepress_server.store.database import Database

CertificateState = Literal["next", "current"]


@dataclass(frozen=True)
class StoredCertificate:
    serial: str
    pem: str
    created_at: int  # Unix ms, as all *_at
    expires_at: int


class DeviceCertificates:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, device: str, made: DeviceCertificate, state: CertificateState) -> None:
        """The one that had this state before is revoked."""
        with self._database.transaction() as connection:
            self._revoke(device, state)
            connection.execute(
                "INSERT INTO device_certificates (serial, device, pem, state, created_at, expires_at) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (made.serial, device, made.pem, state, self._database.now_ms(), made.expires_at),
            )

    def find(self, device: str, state: CertificateState) -> StoredCertificate | None:
        row = self._database.row(
            "SELECT serial, pem, created_at, expires_at FROM device_certificates "
            "WHERE device = ? AND state = ?",
            (device, state),
        )
        return None if row is None else StoredCertificate(**dict(row))

    def expiries(self) -> dict[str, int]:
        """When the current certificate of each device that has one expires (Unix ms)."""
        rows = self._database.rows(
            "SELECT device, expires_at FROM device_certificates WHERE state = 'current'"
        )
        return {row["device"]: row["expires_at"] for row in rows}

    def promote(self, device: str) -> bool:
        """The renewed one takes over; False when there is none."""
        with self._database.transaction() as connection:
            if self.find(device, "next") is None:
                return False
            self._revoke(device, "current")
            connection.execute(
                "UPDATE device_certificates SET state = 'current' WHERE device = ? AND state = 'next'",
                (device,),
            )
            return True

    def withdraw(self, device: str) -> None:
        """One that was offered and never shown is revoked."""
        with self._database.transaction():
            self._revoke(device, "next")

    def revoke_all(self, device: str) -> None:
        with self._database.transaction():
            self._revoke(device, "current")
            self._revoke(device, "next")

    def revoked(self) -> list[Revoked]:
        """What belongs on the revocation list: revoked, and not expired (nobody takes those anyway)."""
        rows = self._database.rows(
            "SELECT serial, revoked_at FROM device_certificates WHERE state = 'revoked' AND expires_at > ? "
            "ORDER BY serial",
            (self._database.now_ms(),),
        )
        return [Revoked(row["serial"], row["revoked_at"]) for row in rows]

    def _revoke(self, device: str, state: CertificateState) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE device_certificates SET state = 'revoked', revoked_at = ? WHERE device = ? "
                "AND state = ?",
                (self._database.now_ms(), device, state),
            )

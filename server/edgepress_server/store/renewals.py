"""New credentials for a device that has good ones.

    good --renew--> good + next --shown by the device--> next is good, the old are worth nothing
                    good + next --renew--> good + another next

A device that loses power at any point still has credentials that work: the old ones count until it has shown
the new ones. Both steps may be repeated.
"""

from __future__ import annotations

from collections.abc import Callable

from edgepress_server.errors import ConflictError
from edgepress_server.pki.devices import DeviceCertificate
from edgepress_server.store.certificates import StoredCertificate
from edgepress_server.store.database import Database
from edgepress_server.store.devices import Device, Devices, draw_secret
from edgepress_server.store.events import Events


class Renewals:
    def __init__(self, database: Database, events: Events, devices: Devices) -> None:
        self._database = database
        self._events = events
        self._devices = devices

    def offer(
        self, name: str, certify: Callable[[str], DeviceCertificate] | None
    ) -> tuple[str, StoredCertificate | None]:
        """(new secret, new certificate): they take over with `take_over`.

        ``certify`` is told the device's name and signs; None: this server gives out secrets only.
        Raises NotFoundError, ConflictError (not enrolled, or revoked).
        """
        with self._database.transaction() as connection:
            self.enrolled(name)
            secret = draw_secret()
            connection.execute("UPDATE devices SET next_secret = ? WHERE name = ?", (secret, name))
            self._devices.certificates.withdraw(name)
            if certify is None:
                return secret, None
            self._devices.certificates.add(name, certify(name), "next")
            return secret, self._devices.certificates.find(name, "next")

    def take_over(self, name: str) -> Device:
        """The device has shown its new credentials: the old ones are worth nothing from now on.

        Raises NotFoundError, ConflictError (not enrolled, or nothing was offered).
        """
        with self._database.transaction() as connection:
            device = self.enrolled(name)
            if device.next_secret is None:
                raise ConflictError(
                    "nothing_offered", f"{name} was offered no new credentials. Ask for some first."
                )
            connection.execute(
                "UPDATE devices SET mqtt_secret = next_secret, next_secret = NULL, credentials_at = ? "
                "WHERE name = ?",
                (self._database.now_ms(), name),
            )
            if not self._devices.certificates.promote(name):
                self._devices.certificates.revoke_all(name)  # it shows a secret from now on
            self._events.append("device", name, "renewed")
            return self._devices.get(name)

    def enrolled(self, name: str) -> Device:
        """Raises NotFoundError, ConflictError unless the device is enrolled and not revoked."""
        device = self._devices.get(name)
        if device.status in ("registered", "revoked"):
            raise ConflictError(
                "not_enrolled",
                f"{name} is {'revoked' if device.revoked_at is not None else 'not enrolled'}: it needs a new "
                f"enrolment code (`edgepress device code {name}`).",
            )
        return device

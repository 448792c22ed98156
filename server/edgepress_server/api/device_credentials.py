"""What a device is given to speak MQTT with, at its enrolment and when it renews."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from pydantic import Field

from edgepress_server.api.answers import Answer
from edgepress_server.api.context import context
from edgepress_server.errors import InvalidInputError, StoreError
from edgepress_server.pki import (
    DeviceCertificate,
    crl_is_due,
    load_authority,
    sign_device_request,
    trusted_pem,
    write_crl,
)
from edgepress_server.store.certificates import StoredCertificate

SECRET_LIFE_MS: Final = 90 * 24 * 3600 * 1000  # as certificates


class Mqtt(Answer):
    host: str
    port: int
    tls: bool
    username: str
    password: str
    ca: str | None = Field(description="The broker's CA certificate to pin; null: the system's own")


def mqtt(device: str, secret: str) -> Mqtt:
    """Raises StoreError when the broker's CA certificate cannot be read."""
    settings = context().settings
    return Mqtt(
        host=settings.device_mqtt_host,
        port=settings.mqtt_port,
        tls=settings.mqtt_tls,
        username=device,
        password=secret,
        ca=_broker_ca(),
    )


def certifier(csr: str | None) -> Callable[[str], DeviceCertificate] | None:
    """What signs the request for a device that is known by then; None: secrets are given out here.

    Raises InvalidInputError when there has to be a request and there is none.
    """
    settings = context().settings
    if settings.device_auth != "certificate":
        return None
    if csr is None:
        raise InvalidInputError(
            "csr_missing",
            "This server gives its devices certificates, and this agent asked for none: it is too old. "
            "Update edgepress on the device and try again; the code has not been used.",
        )
    authority, request = load_authority(settings.pki_dir), csr
    return lambda device: sign_device_request(authority, device, request)


def renew_at_s(certificate: StoredCertificate | None) -> int:
    """Unix seconds: when two thirds of the life of these credentials are over."""
    now = context().store.now_ms()
    end = certificate.expires_at if certificate is not None else now + SECRET_LIFE_MS
    return (now + (end - now) * 2 // 3) // 1000


def renew_revocations() -> None:
    """Put what the store knows as revoked on the revocation list, if it is not there yet.

    After the change is committed: were this process killed before, the supervisor does it within the hour.
    """
    here = context()
    revoked = here.store.devices.certificates.revoked()
    if here.settings.device_auth == "certificate" and crl_is_due(here.settings.pki_dir, revoked):
        write_crl(here.settings.pki_dir, load_authority(here.settings.pki_dir), revoked)


def _broker_ca() -> str | None:
    settings = context().settings
    if settings.broker != "external":
        return trusted_pem(settings) if settings.mqtt_tls else None
    if settings.mqtt_ca is None:
        return None
    try:
        return settings.mqtt_ca.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(
            "no_ca",
            f"The broker's CA certificate {settings.mqtt_ca} cannot be read. Put it back and try again.",
        ) from error

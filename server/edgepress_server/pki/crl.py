"""The list of revoked device certificates (RFC 5280, section 5), made whole from what the store knows."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from edgepress_server.files import replace_file
from edgepress_server.pki.authority import EARLY, Authority

CRL_LIFE: Final = dt.timedelta(
    days=30
)  # a server that is off that long signs a new one before its broker starts
CRL_RENEW: Final = dt.timedelta(days=29)  # before its end: every day


@dataclass(frozen=True)
class Revoked:
    serial: str  # hexadecimal
    revoked_at: int  # Unix ms


def write_crl(folder: Path, authority: Authority, revoked: Iterable[Revoked]) -> None:
    """Replace ``crl.pem``. Raises StoreError, DiskFullError."""
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(now - EARLY)
        .next_update(now + CRL_LIFE)
        .add_extension(x509.CRLNumber(int(now.timestamp() * 1000)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False
        )
    )
    for one in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(int(one.serial, 16))
            .revocation_date(dt.datetime.fromtimestamp(one.revoked_at / 1000, dt.UTC))
            .build()
        )
    signed = builder.sign(authority.key, hashes.SHA256())
    replace_file(folder / "crl.pem", signed.public_bytes(Encoding.PEM), 0o644)


def crl_is_due(folder: Path, revoked: Iterable[Revoked]) -> bool:
    """Whether the list is missing, not this one, or a day old."""
    try:
        listed = x509.load_pem_x509_crl((folder / "crl.pem").read_bytes())
    except (OSError, ValueError):
        return True
    end = listed.next_update_utc
    if end is None or end - dt.datetime.now(dt.UTC) < CRL_RENEW:
        return True
    return {one.serial_number for one in listed} != {int(one.serial, 16) for one in revoked}

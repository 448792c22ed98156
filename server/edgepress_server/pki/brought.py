"""A server certificate that a person brought along: checked before anything trusts it."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from edgepress_server.errors import InvalidInputError
from edgepress_server.pki.issue import names_of

FILE_MAX_BYTES: Final = 1 << 20


def read_pair(certificate_file: Path, key_file: Path, host: str) -> tuple[bytes, bytes]:
    """(chain, key), both PEM, after seeing that they fit, are valid now, and are for ``host``.

    Raises InvalidInputError.
    """
    chain, key_pem = _read(certificate_file, "--tls-cert"), _read(key_file, "--tls-key")
    certificate = read_certificates(chain, f"--tls-cert {certificate_file}")[0]
    try:
        key = load_pem_private_key(key_pem, None)
    except (ValueError, TypeError) as error:
        raise InvalidInputError(
            "tls_key", f"--tls-key {key_file} is no private key in PEM without a password ({error})."
        ) from error
    kind = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*kind) != certificate.public_key().public_bytes(*kind):
        raise InvalidInputError(
            "tls_pair",
            f"--tls-key {key_file} is not the key of --tls-cert {certificate_file} (the server's own "
            "certificate comes first in the file, then its chain).",
        )
    _check_dates(certificate, certificate_file)
    if not _fits(certificate, host):
        named = ", ".join(sorted(names_of(certificate))) or "nobody"
        raise InvalidInputError(
            "tls_names",
            f"--tls-cert {certificate_file} is for {named}, and people and devices come to {host}. Name an "
            "address that the certificate is for, with --public-url https://..., or bring another one.",
        )
    return chain, key_pem


def read_ca(file: Path, chain: bytes, *, is_checked: bool) -> bytes:
    """The authority's certificate (PEM). ``is_checked``: it must be the one that ``chain`` leads to.

    Raises InvalidInputError.
    """
    pem = _read(file, "--tls-ca")
    authority = read_certificates(pem, f"--tls-ca {file}")[0]
    _check_dates(authority, file)
    if is_checked:
        last = read_certificates(chain, "--tls-cert")[-1]
        try:
            last.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature) as error:
            if last != authority:
                raise InvalidInputError(
                    "tls_ca",
                    f"--tls-ca {file} did not sign the last certificate of --tls-cert: give the whole chain "
                    "in --tls-cert, and the authority at its end in --tls-ca.",
                ) from error
    return pem


def read_certificates(pem: bytes, what: str) -> list[x509.Certificate]:
    """At least one. Raises InvalidInputError."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise InvalidInputError("tls_cert", f"{what} holds no certificate in PEM ({error}).") from error
    return found


def _check_dates(certificate: x509.Certificate, file: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    if certificate.not_valid_after_utc <= now:
        raise InvalidInputError(
            "tls_expired", f"{file} expired on {certificate.not_valid_after_utc:%Y-%m-%d}. Bring a new one."
        )
    if certificate.not_valid_before_utc > now:
        raise InvalidInputError(
            "tls_early",
            f"{file} is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC. Is this "
            "machine's clock right?",
        )


def _fits(certificate: x509.Certificate, host: str) -> bool:
    """As clients compare: exact, or one wildcard in place of the first label (RFC 6125, 6.4.3)."""
    names = {name.lower() for name in names_of(certificate)}
    _, _, parent = host.lower().partition(".")
    return host.lower() in names or (bool(parent) and f"*.{parent}" in names)


def _read(file: Path, option: str) -> bytes:
    try:
        with file.open("rb") as opened:
            data = opened.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(
            "no_tls_file", f"{option} {file} cannot be read ({error.strerror})."
        ) from error
    if len(data) > FILE_MAX_BYTES:
        raise InvalidInputError("no_tls_file", f"{option} {file} is too large to be a certificate.")
    return data

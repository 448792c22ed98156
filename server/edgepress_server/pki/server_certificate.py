"""What the server shows: made, renewed in time, or brought along; and what its devices pin.

A renewed certificate keeps its key, so there is no moment at which the two files do not belong together.
"""

from __future__ import annotations

import datetime as dt
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from edgepress_server.addresses import is_wildcard, own_addresses
from edgepress_server.errors import InvalidInputError, StoreError
from edgepress_server.files import replace_file
from edgepress_server.pki.authority import (
    Authority,
    fingerprint,
    load_authority,
    public_der,
    read_key,
    write_key,
)
from edgepress_server.pki.brought import read_ca, read_certificates, read_pair
from edgepress_server.pki.crl import Revoked, crl_is_due, write_crl
from edgepress_server.pki.issue import issue, names_of
from edgepress_server.settings import SERVER_USER, Settings

LIFE: Final = dt.timedelta(days=365)
RENEW: Final = dt.timedelta(days=30)  # before its end


def ensure(settings: Settings, revoked: Sequence[Revoked] = ()) -> list[str]:
    """Make what is missing and renew what is due; the names of the files that changed.

    ``revoked``: the device certificates that the store knows as revoked.

    Raises StoreError (files that are not whole), InvalidInputError (what was brought along), DiskFullError.
    """
    folder = settings.pki_dir
    authority = load_authority(folder)
    changed = []
    if settings.tls_cert is not None and settings.tls_key is not None:
        changed += _take_over(settings, settings.tls_cert, settings.tls_key)
    else:
        if settings.tls_ca is not None:
            read_ca(settings.tls_ca, b"", is_checked=False)
        changed += _own(authority, folder, "server", common_name="edgepress server", names=_names(settings))
    changed += _own(authority, folder, "link", common_name=SERVER_USER, names=())
    if crl_is_due(folder, revoked):
        write_crl(folder, authority, revoked)
        changed.append("crl.pem")
    return changed


def trusted_pem(settings: Settings) -> str | None:
    """The certificate that devices pin; None: what their system trusts, or there is no TLS here."""
    file = _trusted_file(settings)
    if file is None:
        return None
    try:
        found = read_certificates(file.read_bytes(), str(file))
    except (OSError, InvalidInputError) as error:
        raise StoreError(
            "no_ca", f"The authority's certificate {file} cannot be read. Put it back and try again."
        ) from error
    return found[0].public_bytes(Encoding.PEM).decode("ascii")  # the one whose fingerprint is told


def trusted_fingerprint(settings: Settings) -> str | None:
    """What enrolment addresses carry of `trusted_pem`."""
    pem = trusted_pem(settings)
    return None if pem is None else fingerprint(read_certificates(pem.encode("ascii"), "the authority")[0])


def _trusted_file(settings: Settings) -> Path | None:
    if settings.tls_ca is not None:  # also that of a proxy in front
        return settings.tls_ca
    if settings.tls and settings.tls_cert is None:
        return settings.pki_dir / "ca.pem"
    return None


def _take_over(settings: Settings, certificate_file: Path, key_file: Path) -> list[str]:
    host = urlsplit(settings.url).hostname or settings.host
    chain, key = read_pair(certificate_file, key_file, host)
    if settings.tls_ca is not None:
        read_ca(settings.tls_ca, chain, is_checked=True)
    changed = []
    for name, data, mode in (("server.key", key, 0o600), ("server.pem", chain, 0o644)):
        target = settings.pki_dir / name
        if not target.exists() or target.read_bytes() != data:
            replace_file(target, data, mode)
            changed.append(name)
    return changed


def _own(
    authority: Authority, folder: Path, what: str, *, common_name: str, names: tuple[str, ...]
) -> list[str]:
    certificate_file, key_file = folder / f"{what}.pem", folder / f"{what}.key"
    changed = []
    key = read_key(key_file)
    if key is None:
        key = ec.generate_private_key(ec.SECP256R1())
        write_key(key_file, key)
        changed.append(key_file.name)
    if not _is_good(authority, certificate_file, key, names):
        made = issue(authority, key.public_key(), common_name, life=LIFE, names=names)
        # The chain's end comes along, for clients that pin the authority by what is shown to them.
        replace_file(certificate_file, made.public_bytes(Encoding.PEM) + authority.pem, 0o644)
        changed.append(certificate_file.name)
    return changed


def _is_good(
    authority: Authority, file: Path, key: ec.EllipticCurvePrivateKey, names: tuple[str, ...]
) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        certificate.verify_directly_issued_by(authority.certificate)
    except (OSError, ValueError, TypeError, InvalidSignature):
        return False
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    # Addresses that the machine had before stay in it: a cable that is out for a moment changes nothing.
    return left > RENEW and public_der(certificate) == public_der(key) and set(names) <= names_of(certificate)


def _names(settings: Settings) -> tuple[str, ...]:
    """Everything that this server may be called by."""
    host_name = socket.gethostname()
    found = {"localhost", "127.0.0.1", "::1", *own_addresses(), *settings.tls_names}
    found |= {host_name, socket.getfqdn(), f"{host_name.partition('.')[0]}.local"}
    found |= {urlsplit(settings.url).hostname or settings.host, settings.host}
    if settings.broker == "mosquitto":
        found.add(settings.mqtt_host)
    return tuple(sorted(name for name in found if _can_be_named(name)))


def _can_be_named(name: str) -> bool:
    """Certificates hold ASCII names; a wildcard address is nobody's."""
    return bool(name) and name.isascii() and not is_wildcard(name) and len(name) <= 253 and " " not in name

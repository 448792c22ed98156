"""The server's own certificate authority: made once, read whole, or said to be damaged."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from edgepress_devices.enrolment_rules import authority_fingerprint
from edgepress_server.errors import DiskFullError, InvalidInputError, StoreError, is_disk_full
from edgepress_server.files import replace_file

CA_LIFE: Final = dt.timedelta(days=3650)
EARLY: Final = dt.timedelta(days=1)  # clocks of boards are behind


@dataclass(frozen=True)
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)


def load_authority(folder: Path) -> Authority:
    """The authority in ``folder``, made when there is none yet.

    Raises StoreError when its files are not whole, DiskFullError.
    """
    certificate_file, key_file = folder / "ca.pem", folder / "ca.key"
    make_folder(folder)
    if not key_file.exists():
        if certificate_file.exists():
            raise _damaged(folder, "ca.key is missing")
        write_key(key_file, ec.generate_private_key(ec.SECP256R1()))
    key = read_key(key_file)
    if key is None:
        raise _damaged(folder, "ca.key is no key of an authority")
    if not certificate_file.exists():  # the first start, or one that was killed between the two files
        replace_file(certificate_file, _self_signed(key).public_bytes(Encoding.PEM), 0o644)
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        certificate.verify_directly_issued_by(certificate)
    except (OSError, ValueError, TypeError, InvalidSignature) as error:
        raise _damaged(folder, f"ca.pem cannot be used ({error})") from error
    if public_der(certificate) != public_der(key):
        raise _damaged(folder, "ca.key and ca.pem do not belong together")
    return Authority(certificate, key)


def _damaged(folder: Path, what: str) -> StoreError:
    return StoreError(
        "pki_damaged",
        f"The certificates in {folder} are not whole: {what}. Devices trust this authority and no other: "
        "restore the folder from a back-up. Only when there are no devices yet, remove it and start again.",
    )


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    # A name of its own for each authority: who trusts several finds the right one by it.
    which = hashlib.sha256(public_der(key)).hexdigest()[:8]
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "edgepress"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"edgepress authority {which}"),
        ]
    )
    own = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLY)
        .not_valid_after(now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(own, critical=False)
        .sign(key, hashes.SHA256())
    )


def fingerprint(certificate: x509.Certificate) -> str:
    """As enrolment addresses carry it: 32 symbols."""
    return authority_fingerprint(certificate.public_bytes(Encoding.DER))


def key_usage(*, signs_certificates: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def public_der(holder: x509.Certificate | ec.EllipticCurvePrivateKey) -> bytes:
    return holder.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    replace_file(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def read_key(path: Path) -> ec.EllipticCurvePrivateKey | None:
    """None when it is missing or no P-256 key."""
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return None
    return key if isinstance(key, ec.EllipticCurvePrivateKey) else None


def make_folder(folder: Path) -> None:
    """Raises DiskFullError, InvalidInputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        if is_disk_full(error):
            raise DiskFullError() from error
        raise InvalidInputError(
            "no_data_dir", f"{folder} cannot be made ({error.strerror}). Check who owns the data folder."
        ) from error

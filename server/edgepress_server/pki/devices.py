"""Certificates of devices: the device makes its key and asks; the name is what the server knows it by.

Nothing that a request says counts but its public key: a device cannot ask for another one's name.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from edgepress_server.errors import InvalidInputError
from edgepress_server.pki.authority import Authority
from edgepress_server.pki.issue import issue

DEVICE_LIFE: Final = dt.timedelta(days=90)  # renewed by the agent when two thirds are over
REQUEST_MAX_CHARS: Final = 4096  # one for P-256 has about 500


@dataclass(frozen=True)
class DeviceCertificate:
    pem: str
    serial: str  # hexadecimal, lower case
    expires_at: int  # Unix ms


def sign_device_request(
    authority: Authority, device: str, request_pem: str, life: dt.timedelta = DEVICE_LIFE
) -> DeviceCertificate:
    """A client certificate for ``device`` and the key of this PKCS #10 request (PEM, ECDSA P-256).

    Raises InvalidInputError when the request is none, or its sender does not have the key.
    """
    if len(request_pem) > REQUEST_MAX_CHARS:
        raise InvalidInputError("csr", f"A certificate request has at most {REQUEST_MAX_CHARS} characters.")
    try:
        request = x509.load_pem_x509_csr(request_pem.encode("ascii"))
        key = request.public_key()
        is_whole = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature) as error:
        raise InvalidInputError("csr", "csr is no certificate request (PKCS #10, PEM).") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInputError("csr", "A device's key must be ECDSA P-256.")
    if not is_whole:
        raise InvalidInputError("csr", "The certificate request is not signed by its own key.")
    made = issue(authority, key, device, life=life)
    return DeviceCertificate(
        pem=made.public_bytes(Encoding.PEM).decode("ascii"),
        serial=f"{made.serial_number:x}",
        expires_at=int(made.not_valid_after_utc.timestamp() * 1000),
    )

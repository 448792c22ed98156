"""What a device and its server agree on about joining, apart from the messages.

An enrolment address is ``https://HOST:PORT/enroll#CODE.FINGERPRINT``. CODE is the single-use code.
FINGERPRINT, which may be missing with its dot, is that of the authority that signed the server's certificate:
the first 20 to 32 bytes of the SHA-256 of the authority's certificate (DER), in base 32 without padding
(RFC 4648). What follows ``#`` is never sent to a server by a browser.

Renewing: the device shows that it has its credentials by a proof over `renewal_transcript`. Without a
certificate the proof is HMAC-SHA256 keyed with the broker password (UTF-8); with one it is an ECDSA signature
(P-256, SHA-256, DER) by its key. Both travel as base64. The challenge is the server's, for one use.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final, Literal

FINGERPRINT_BYTES: Final = 20  # 160 bits: 32 symbols, which still fit a small QR code
_FINGERPRINT = re.compile(r"[A-Z2-7]{32,52}")

Purpose = Literal["renew", "confirm"]
"""``renew`` asks for new credentials and is proven with the present ones, ``confirm`` with the new ones."""


@dataclass(frozen=True)
class Invitation:
    """What an enrolment address says."""

    server: str  # URL, without a slash at its end
    code: str
    fingerprint: str | None = None


def authority_fingerprint(certificate_der: bytes) -> str:
    """32 symbols of A-Z and 2-7."""
    digest = hashlib.sha256(certificate_der).digest()
    return base64.b32encode(digest[:FINGERPRINT_BYTES]).decode("ascii").rstrip("=")


def is_fingerprint(text: str) -> bool:
    return _FINGERPRINT.fullmatch(text) is not None


def fingerprint_fits(fingerprint: str, certificate_der: bytes) -> bool:
    """Whether ``fingerprint`` (20 bytes or more) is the beginning of this certificate's."""
    whole = base64.b32encode(hashlib.sha256(certificate_der).digest()).decode("ascii").rstrip("=")
    return is_fingerprint(fingerprint) and hmac.compare_digest(whole[: len(fingerprint)], fingerprint)


def enrolment_address(server: str, code: str, fingerprint: str | None) -> str:
    return f"{server}/enroll#{code}" + (f".{fingerprint}" if fingerprint else "")


def renewal_transcript(purpose: Purpose, device: str, challenge: str, request_pem: str) -> bytes:
    """The bytes that a proof is over; ``request_pem``: the certificate request sent along, or ""."""
    asked = hashlib.sha256(request_pem.encode("utf-8")).hexdigest()
    return "\0".join((f"edgepress {purpose} v1", device, challenge, asked)).encode("utf-8")


def secret_proof(secret: str, transcript: bytes) -> str:
    """Base64 of HMAC-SHA256."""
    return base64.b64encode(hmac.digest(secret.encode("utf-8"), transcript, "sha256")).decode("ascii")

"""The content key of an artifact: chunks are encrypted with it, and it is sealed to each device's own key."""

from __future__ import annotations

import base64
import binascii
import secrets
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from edgepress_devices.protocol import chunk_aad, chunk_nonce, seal_info
from edgepress_server.errors import InvalidInputError

CONTENT_KEY_BYTES: Final = 32
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def new_content_key() -> bytes:
    return secrets.token_bytes(CONTENT_KEY_BYTES)


def read_public_key(text: str) -> X25519PublicKey:
    """A device's X25519 public key, base64 of 32 raw bytes. Raises InvalidInputError."""
    try:
        return X25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error) as error:
        raise InvalidInputError(
            "bad_public_key", "The device's public key must be base64 of an X25519 key of 32 bytes."
        ) from error


def seal_content_key(content_key: bytes, *, public_key: str, device: str, digest: str) -> str:
    """Base64 of HPKE for the device (RFC 9180, base mode). Raises InvalidInputError for a bad public key."""
    sealed = _SUITE.encrypt(content_key, read_public_key(public_key), info=seal_info(device, digest))
    return base64.b64encode(sealed).decode("ascii")


def encrypt_chunk(content_key: bytes, *, digest: str, n: int, chunks: int, plaintext: bytes) -> bytes:
    """AES-256-GCM: ciphertext and tag. The same input gives the same bytes, so a repair changes nothing."""
    return AESGCM(content_key).encrypt(chunk_nonce(n), plaintext, chunk_aad(digest, n, chunks))

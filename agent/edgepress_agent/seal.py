"""The device's side of the two byte formats in ``protocol``'s head: the sealed content key and a chunk."""

import base64
import binascii
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgepress_agent.errors import ChunkDamagedError, EnrolmentError, WantError
from edgepress_devices import protocol

_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_KEY_BYTES: Final = 32
_SEALED_BYTES: Final = 32 + _KEY_BYTES + 16  # encapsulated key, ciphertext, tag


def new_device_key() -> X25519PrivateKey:
    return X25519PrivateKey.generate()


def device_key_bytes(key: X25519PrivateKey) -> bytes:
    """The 32 raw bytes of the private key, as the file ``key`` holds them."""
    return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


def read_device_key(path: Path) -> X25519PrivateKey:
    """Raises EnrolmentError."""
    try:
        return X25519PrivateKey.from_private_bytes(path.read_bytes()[: _KEY_BYTES + 1])
    except (OSError, ValueError) as error:
        raise EnrolmentError(
            f"the device key {path} cannot be read ({error}); enrol this device again with --force"
        ) from error


def open_content_key(sealed: str, key: X25519PrivateKey, *, device: str, digest: str) -> bytes:
    """The 32-byte content key (AES-256) of an artifact. Raises WantError when it was sealed to another
    key.
    """
    try:
        raw = base64.b64decode(sealed, validate=True)
        if len(raw) != _SEALED_BYTES:
            raise WantError(f"the sealed content key has {len(raw)} bytes instead of {_SEALED_BYTES}")
        opened: bytes = _SUITE.decrypt(raw, key, protocol.seal_info(device, digest))
    except (binascii.Error, InvalidTag, ValueError) as error:
        raise WantError(
            "the content key is not sealed to this device's key; enrol this device again if it was restored"
            " from a copy"
        ) from error
    if len(opened) != _KEY_BYTES:
        raise WantError(f"the content key has {len(opened)} bytes instead of {_KEY_BYTES}")
    return opened


def open_chunk(payload: bytes, *, key: bytes, digest: str, n: int, chunks: int, artifact_bytes: int) -> bytes:
    """The plaintext of chunk ``n``. Raises ChunkDamagedError."""
    last = artifact_bytes - (chunks - 1) * protocol.CHUNK_PLAIN_BYTES
    expected = (protocol.CHUNK_PLAIN_BYTES if n < chunks - 1 else last) + protocol.GCM_TAG_BYTES
    if len(payload) != expected:
        raise ChunkDamagedError(f"chunk {n} came with {len(payload)} bytes instead of {expected}")
    try:
        return AESGCM(key).decrypt(protocol.chunk_nonce(n), payload, protocol.chunk_aad(digest, n, chunks))
    except InvalidTag as error:
        raise ChunkDamagedError(f"chunk {n} came damaged") from error

"""One Ed25519 private key in a file: PKCS#8 in PEM, encrypted.

::

    edgepress private key release 5d41402abc4b...          role and key id, for people
    scrypt 32768 8 1 mYbeVYbLRBbJQ0HVBC5WHw==              only for a passphrase that a person chose
    -----BEGIN ENCRYPTED PRIVATE KEY-----                  PBES2, AES-256-CBC (RFC 8018)
    ...

PKCS#8 as OpenSSL writes it hashes the passphrase 2,048 times, which is little against guessing. So a
passphrase of a person first goes through scrypt (RFC 7914; 32 MiB, about 0.1 s), and its hexadecimal result
is the password of the PEM. Random bits need no such help: then there is no such line, and the text is the
password.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from edgepress_server.errors import InvalidInputError, StoreError
from edgepress_server.files import replace_file
from edgepress_server.trust.passphrase import Passphrase

FILE_MAX_BYTES: Final = 16_384
RESTORE: Final = "Restore the keys folder from a back-up: devices trust only these keys."
_SCRYPT: Final = re.compile(rb"^scrypt (32768) (8) (1) ([A-Za-z0-9+/=]{24})$", re.MULTILINE)
_BEGIN: Final = b"-----BEGIN "


def new_private_key() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


def write_private_key(file: Path, signer: CryptoSigner, role: str, passphrase: Passphrase) -> None:
    """Mode 0600, encrypted. Raises StoreError, DiskFullError."""
    head = f"edgepress private key {role} {signer.public_key.keyid}\n".encode("ascii")
    password = passphrase.text
    if passphrase.chosen:
        salt = secrets.token_bytes(16)
        password = _stretched(passphrase.text, salt)
        head += b"scrypt 32768 8 1 " + base64.b64encode(salt) + b"\n"
    private = load_pem_private_key(signer.private_bytes, password=None)
    replace_file(
        file,
        head + private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password)),
    )


def is_encrypted(file: Path) -> bool:
    """Raises StoreError where the file cannot be read."""
    return b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in _read(file)


def read_private_key(file: Path, passphrases: Sequence[Passphrase]) -> CryptoSigner:
    """The key, opened with the first passphrase that fits. Raises StoreError."""
    data = _read(file)
    at = data.find(_BEGIN)
    if at < 0:
        raise StoreError("keys_damaged", f"{file} is no private key. {RESTORE}")
    if b"BEGIN ENCRYPTED" not in data[at : at + 32]:
        return _opened(file, data[at:], None)
    stretch = _SCRYPT.search(data[:at])
    for passphrase in passphrases:
        if (stretch is not None) != passphrase.chosen:
            continue
        password = passphrase.text
        if stretch is not None:
            password = _stretched(password, base64.b64decode(stretch[4]))
        try:
            return _opened(file, data[at:], password)
        except _WrongPassphraseError:
            continue
    raise StoreError(
        "keys_locked",
        f"{file} is encrypted, and no passphrase given here opens it. Set EDGEPRESS_KEYS_PASSPHRASE or "
        "EDGEPRESS_KEYS_PASSPHRASE_FILE to the passphrase of the keys"
        + ("." if passphrases else ", or put back the file `secret` of the keys folder."),
    )


def read_public_key(file: Path) -> SSlibKey:
    """A public key in PEM that `edgepress keys init` wrote. Raises InvalidInputError."""
    try:
        public = load_pem_public_key(_read(file))
    except (ValueError, StoreError) as error:
        raise InvalidInputError(
            "bad_public_key", f"{file} is no public key in PEM; give the .pub.pem that `keys init` wrote."
        ) from error
    if not isinstance(public, Ed25519PublicKey):
        raise InvalidInputError("bad_public_key", f"{file} is not an Ed25519 key; devices verify only those.")
    return SSlibKey.from_crypto(public)


def public_pem(key: SSlibKey) -> bytes:
    """The form that `read_public_key` reads."""
    public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.keyval["public"]))
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class _WrongPassphraseError(Exception):
    """This passphrase does not open the file."""


def _opened(file: Path, pem: bytes, password: bytes | None) -> CryptoSigner:
    try:
        private = load_pem_private_key(pem, password=password)
    except (ValueError, TypeError) as error:
        if password is not None:
            raise _WrongPassphraseError from error
        raise StoreError("keys_damaged", f"{file} is no private key ({error}). {RESTORE}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise StoreError("keys_damaged", f"{file} is not an Ed25519 key. {RESTORE}")
    return CryptoSigner(private)


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(FILE_MAX_BYTES)
    except OSError as error:
        raise StoreError("no_keys", f"{file} cannot be read ({error.strerror}). {RESTORE}") from error


def _stretched(text: bytes, salt: bytes) -> bytes:
    key = hashlib.scrypt(text, salt=salt, n=32_768, r=8, p=1, maxmem=64 << 20, dklen=32)
    return key.hex().encode("ascii")

"""The server's three Ed25519 keys and the TUF root that names them.

    DIR/keys/root.pem       role root                  signs root.json, nothing else
    DIR/keys/release.pem    role targets               signs what may run at all
    DIR/keys/director.pem   roles snapshot, timestamp  signs each device's want
    DIR/keys/root.json      Metadata[Root], version 1  what a device pins at enrolment

Made at the first start, root.json last: while it is missing nobody can have pinned it, so a first start that
was killed is simply done again with the keys that are there. Once it exists, a key that is missing or that it
does not name is an error: silently making a new one would lock every device out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization.json import JSONSerializer

from edgepress_server.errors import StoreError
from edgepress_server.files import replace_file

ROOT_LIFETIME: Final = timedelta(days=365)
ROLES: Final = {"root": ("root",), "release": ("targets",), "director": ("snapshot", "timestamp")}


@dataclass(frozen=True)
class Keys:
    root: CryptoSigner
    release: CryptoSigner
    director: CryptoSigner
    root_json: bytes  # Metadata[Root]

    @property
    def root_metadata(self) -> dict[str, Any]:
        """The TUF root as JSON, for the answer to an enrolment."""
        metadata: dict[str, Any] = json.loads(self.root_json)
        return metadata


def create_keys_if_missing(folder: Path, now: datetime | None = None) -> Keys:
    """The keys in ``folder`` (mode 0700, files 0600), made where this is the first start.

    Raises StoreError, DiskFullError.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    root_file = folder / "root.json"
    if root_file.exists():
        return load_keys(folder)
    signers = {name: _load_or_create(folder / f"{name}.pem") for name in ROLES}
    root = Root(version=1, expires=utc_seconds(now) + ROOT_LIFETIME, consistent_snapshot=False)
    for name, roles in ROLES.items():
        for role in roles:
            root.add_key(signers[name].public_key, role)
    metadata = Metadata(root)
    metadata.sign(signers["root"])
    replace_file(root_file, metadata.to_bytes(JSONSerializer(compact=True)))
    return load_keys(folder)


def load_keys(folder: Path) -> Keys:
    """The keys of a server that was started before. Raises StoreError when they are not whole."""
    try:
        root_json = (folder / "root.json").read_bytes()
        metadata = Metadata[Root].from_bytes(root_json)
        metadata.verify_delegate("root", metadata)
    except OSError as error:
        raise StoreError("no_keys", f"{folder}/root.json cannot be read ({error}). {_RESTORE}") from error
    except RepositoryError as error:
        raise StoreError("keys_damaged", f"{folder}/root.json is damaged ({error}). {_RESTORE}") from error
    signers = {name: _load(folder / f"{name}.pem") for name in ROLES}
    for name, roles in ROLES.items():
        for role in roles:
            if signers[name].public_key.keyid not in metadata.signed.roles[role].keyids:
                raise StoreError(
                    "keys_mixed_up", f"{folder}/{name}.pem is not the key that root.json names. {_RESTORE}"
                )
    return Keys(signers["root"], signers["release"], signers["director"], root_json)


_RESTORE: Final = "Restore the keys folder from a back-up: devices trust only these keys."


def utc_seconds(now: datetime | None = None) -> datetime:
    """TUF's times have whole seconds."""
    return (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)


def _load_or_create(file: Path) -> CryptoSigner:
    if not file.exists():
        pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        replace_file(file, pem)
    return _load(file)


def _load(file: Path) -> CryptoSigner:
    try:
        private = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise StoreError("no_keys", f"{file} cannot be read ({error}). {_RESTORE}") from error
    except (ValueError, TypeError) as error:
        raise StoreError("keys_damaged", f"{file} is no private key ({error}). {_RESTORE}") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise StoreError("keys_damaged", f"{file} is not an Ed25519 key. {_RESTORE}")
    return CryptoSigner(private)

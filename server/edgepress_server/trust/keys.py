"""The keys that this server signs with, and the TUF roots that name them.

    DIR/keys/root-{id}.pem       role root                  signs roots, nothing else
    DIR/keys/release-{id}.pem    role targets               signs what may run at all
    DIR/keys/director-{id}.pem   roles snapshot, timestamp  signs each device's want
    DIR/keys/roots/{n}.json      the roots, see roots.py
    DIR/keys/secret              see passphrase.py

``{id}`` is the start of the TUF key id. (An earlier edgepress wrote root.pem, release.pem, director.pem and
root.json, unencrypted; they are read as they are, and encrypted with the next change to the keys.)

Keys are made at the first start, the root last: while it is missing nobody can have pinned it, so a first
start that was killed is simply done again with the keys that are there. Once it exists, a director key that
is missing is an error: silently making a new one would lock every device out. Root and release keys may be
missing: they are then on another machine (`edgepress keys take-offline`), and what they have to sign waits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from edgepress_server.errors import StoreError
from edgepress_server.trust.key_file import RESTORE, new_private_key, read_private_key, write_private_key
from edgepress_server.trust.passphrase import Passphrase, known_passphrases, preferred_passphrase
from edgepress_server.trust.roots import (
    ROLES,
    ROOT_LIFETIME,
    RoleName,
    read_root,
    read_roots,
    role_keyids,
    role_threshold,
    root_path,
    utc_seconds,
    write_root,
)

__all__ = ["Keys", "create_keys_if_missing", "keys_changed", "load_keys", "utc_seconds"]

KEYID_CHARS: Final = 12  # of a key's id, in file names and for people


@dataclass(frozen=True)
class Keys:
    roots: tuple[bytes, ...]  # Metadata[Root], versions 1 to n
    director: CryptoSigner
    release: tuple[CryptoSigner, ...]  # those on this machine
    stamp: tuple[int, ...] = field(default=(), compare=False)  # of the files they were read from

    @property
    def version(self) -> int:
        """Of the newest root."""
        return len(self.roots)

    @property
    def root_json(self) -> bytes:
        return self.roots[-1]

    @cached_property
    def root(self) -> Metadata[Root]:
        """The newest root."""
        return read_root(self.roots[-1])

    @property
    def root_metadata(self) -> dict[str, Any]:
        """The newest TUF root as JSON, for the answer to an enrolment."""
        metadata: dict[str, Any] = json.loads(self.root_json)
        return metadata

    def threshold(self, role: RoleName) -> int:
        """How many keys of a role must sign."""
        return role_threshold(self.root.signed, role)

    @property
    def signs_releases(self) -> bool:
        """Whether enough release keys are on this machine to sign without another one."""
        return len(self.release) >= self.threshold("release")


def create_keys_if_missing(folder: Path, now: datetime | None = None) -> Keys:
    """The keys in ``folder`` (mode 0700, files 0600), made where this is the first start.

    Raises StoreError, DiskFullError.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if root_path(folder, 1).exists():
        return load_keys(folder)
    passphrase = preferred_passphrase(folder)
    signers = {role: _left_or_new(folder, role, passphrase) for role in ROLES}
    root = Root(version=1, expires=utc_seconds(now) + ROOT_LIFETIME, consistent_snapshot=False)
    for name, roles in ROLES.items():
        for role in roles:
            root.add_key(signers[name].public_key, role)
    metadata = Metadata(root)
    metadata.sign(signers["root"])
    write_root(folder, metadata)
    return load_keys(folder)


def load_keys(folder: Path) -> Keys:
    """The keys of a server that was started before. Raises StoreError when they are not whole."""
    stamp = _stamp(folder)
    roots = read_roots(folder)
    root = read_root(roots[-1]).signed
    passphrases = known_passphrases(folder)
    director = read_role(folder, root, "director", passphrases)
    if not director:
        raise StoreError("no_keys", f"{folder} does not hold the director key. {RESTORE}")
    return Keys(roots, director[0], tuple(read_role(folder, root, "release", passphrases)), stamp)


def keys_changed(folder: Path, keys: Keys) -> bool:
    """Whether the keys should be loaded again: some file of theirs came, went or was replaced since."""
    return _stamp(folder) != keys.stamp


def key_path(folder: Path, role: RoleName, keyid: str) -> Path:
    return folder / f"{role}-{keyid[:KEYID_CHARS]}.pem"


def find_key(folder: Path, role: RoleName, keyid: str) -> Path | None:
    """The file of a private key, if it is here, by its name or the one that an earlier edgepress gave it."""
    paths = [key_path(folder, role, keyid), folder / f"{role}.pem"]
    return next((path for path in paths if path.exists()), None)


def read_role(folder: Path, root: Root, role: RoleName, passphrases: list[Passphrase]) -> list[CryptoSigner]:
    """The private keys of a role that are here. Raises StoreError."""
    found: list[CryptoSigner] = []
    keyids = role_keyids(root, role)
    for keyid in keyids:
        path = find_key(folder, role, keyid)
        if path is None:
            continue
        signer = read_private_key(path, passphrases)
        if signer.public_key.keyid == keyid:
            found.append(signer)
        elif path != folder / f"{role}.pem" or len(keyids) == 1:
            raise StoreError("keys_mixed_up", f"{path} is not the key that the TUF root names. {RESTORE}")
    return found


def _left_or_new(folder: Path, role: RoleName, passphrase: Passphrase) -> CryptoSigner:
    """A first start that was killed left keys behind: they are as good as new ones."""
    for path in sorted((*folder.glob(f"{role}-*.pem"), *folder.glob(f"{role}.pem"))):
        return read_private_key(path, known_passphrases(folder))
    signer = new_private_key()
    write_private_key(key_path(folder, role, signer.public_key.keyid), signer, role, passphrase)
    return signer


def _stamp(folder: Path) -> tuple[int, ...]:
    """Changes with every file that is replaced in the folder or among the roots."""
    found: list[int] = []
    for path in (folder, folder / "roots"):
        try:
            found.append(path.stat().st_mtime_ns)
        except OSError:  # what is missing is load_keys' to say
            found.append(0)
    return tuple(found)

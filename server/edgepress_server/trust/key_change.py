"""Changes to who may sign: each makes the next version of the TUF root.

::

    newest root --rotate, revoke, threshold, renew--> draft --enough root keys--> published, the newest root
                                                        |
                                                        +--root keys elsewhere--> pending.json --signatures
                                                                                  imported--> published

A root needs a threshold of the root keys of its predecessor and of its own. Those on this machine sign at
once. Further changes before that is enough go into the same draft, which is then signed anew.

Order of the writes, so that a kill leaves a whole folder: new private keys, then the root that names them,
then the draft goes, then the private keys that no role names any more.
"""

from __future__ import annotations

import copy
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from securesystemslib.exceptions import UnverifiedSignatureError, VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, Root

from edgepress_server.errors import ConflictError, InvalidInputError, NotFoundError, StoreError
from edgepress_server.files import replace_file
from edgepress_server.trust.key_file import (
    is_encrypted,
    new_private_key,
    read_private_key,
    write_private_key,
)
from edgepress_server.trust.keys import KEYID_CHARS, find_key, key_path, read_role
from edgepress_server.trust.passphrase import Passphrase, known_passphrases, preferred_passphrase
from edgepress_server.trust.roots import (
    ROLES,
    ROOT_LIFETIME,
    ROOT_MAX_BYTES,
    RoleName,
    check_successor,
    encode,
    read_root,
    read_roots,
    role_keyids,
    role_threshold,
    utc_seconds,
    write_root,
)

PENDING: Final = "pending.json"
RELEASE_THRESHOLD_MAX: Final = 3  # every signature travels in each want, which has 4,096 bytes


@dataclass(frozen=True)
class Change:
    """What became of a change."""

    version: int  # of the root that it makes
    published: bool
    missing_old: int = 0  # signatures by root keys of the newest root that the draft still lacks
    missing_new: int = 0  # and by its own root keys


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One change at a time, by whatever process. Raises StoreError, ConflictError."""
    try:
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError("no_keys", f"The keys folder {folder} cannot be used ({error.strerror}).") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(
                "keys_busy", f"Another command is changing the keys in {folder}; try again when it is done."
            ) from error
        yield
    finally:
        os.close(handle)


def newest_root(folder: Path) -> Metadata[Root]:
    """Raises StoreError."""
    return read_root(read_roots(folder)[-1])


def pending_root(folder: Path) -> Metadata[Root] | None:
    """The draft that waits for root keys, where there is one. Raises StoreError."""
    file = folder / PENDING
    try:
        with file.open("rb") as stream:
            draft = read_root(stream.read(ROOT_MAX_BYTES + 1))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StoreError(
            "keys_damaged", f"{file} is damaged ({error}). Delete it and repeat the change."
        ) from error
    # Published already: a kill came before its draft was removed.
    return draft if draft.signed.version == newest_root(folder).signed.version + 1 else None


def rotate(
    folder: Path,
    role: RoleName,
    *,
    old: str | None = None,
    new_keys: Sequence[SSlibKey] = (),
    threshold: int | None = None,
    now: datetime | None = None,
) -> Change:
    """Replace the keys of a role, or the one that begins with ``old``, by ``new_keys``.

    None given: a new one is made here. Raises InvalidInputError, NotFoundError, StoreError, DiskFullError.
    """
    with locked(folder):
        draft = _draft(folder, now)
        keyids = role_keyids(draft.signed, role)
        if role == "director" and (new_keys or threshold not in (None, 1)):
            raise InvalidInputError(
                "director_is_online",
                "The director signs every order alone and at once: it has one key, which is made on "
                "the server.",
            )
        leaving = keyids if old is None else [_find_keyid(keyids, old, role)]
        if old is None and not new_keys and len(keyids) > 1:
            raise InvalidInputError(
                "which_key",
                f"Role {role} has {len(keyids)} keys. Say which one goes with --old, or give all new "
                "ones with --key.",
            )
        keys = list(new_keys)
        if not keys:
            signer = new_private_key()
            path = key_path(folder, role, signer.public_key.keyid)
            write_private_key(path, signer, role, preferred_passphrase(folder))
            keys = [signer.public_key]
        for keyid in leaving:
            _remove(draft.signed, keyid, role)
        for key in keys:
            _add(draft.signed, key, role)
        _set_threshold(draft.signed, role, threshold or role_threshold(draft.signed, role))
        return _publish(folder, draft)


def revoke(folder: Path, keyid: str, *, now: datetime | None = None) -> Change:
    """Take a key away from its role without a new one. Raises as `rotate`, and where too few would "
    "be left."""
    with locked(folder):
        draft = _draft(folder, now)
        named = [
            (role, found)
            for role in ROLES
            for found in role_keyids(draft.signed, role)
            if found.startswith(keyid)
        ]
        if not keyid or len({found for _, found in named}) != 1:
            raise NotFoundError(
                "no_such_key", f"{len(named)} keys begin with {keyid!r}; `edgepress keys show` lists them."
            )
        for role, found in named:
            left = len(role_keyids(draft.signed, role)) - 1
            needed = role_threshold(draft.signed, role)
            if left < needed:
                raise ConflictError(
                    "too_few_keys",
                    f"Role {role} would have {left} keys and needs {needed}. Replace the key instead: "
                    f"edgepress keys rotate {role} --old {found[:KEYID_CHARS]}",
                )
            _remove(draft.signed, found, role)
        return _publish(folder, draft)


def set_threshold(folder: Path, role: RoleName, threshold: int, *, now: datetime | None = None) -> Change:
    """How many keys of a role must sign. Raises as `rotate`."""
    with locked(folder):
        draft = _draft(folder, now)
        if role == "director" and threshold != 1:
            raise InvalidInputError(
                "director_is_online", "The director has one key, on the server: its threshold is 1."
            )
        _set_threshold(draft.signed, role, threshold)
        return _publish(folder, draft)


def renew(folder: Path, *, now: datetime | None = None) -> Change:
    """The same keys for another year. Raises StoreError, DiskFullError, ConflictError."""
    with locked(folder):
        return _publish(folder, _draft(folder, now))


def cancel(folder: Path) -> bool:
    """Forget the draft that waits for signatures; False: there was none. Raises StoreError, ConflictError."""
    with locked(folder):
        waiting = (folder / PENDING).exists()
        _forget_pending(folder)
        if waiting:
            _remove_unnamed(folder, newest_root(folder).signed)
        return waiting


def add_root_signatures(folder: Path, signed: Metadata[Root]) -> Change:
    """Signatures for the draft that came from other machines.

    Raises ConflictError (no draft waits), InvalidInputError (it is not this draft, or a signature is no
    root key's).
    """
    with locked(folder):
        draft = pending_root(folder)
        if draft is None:
            raise ConflictError("nothing_pending", "No change of the keys waits for signatures here.")
        if draft.signed_bytes != signed.signed_bytes:
            raise InvalidInputError(
                "another_root", "This is not the TUF root that waits here; export it again and sign that."
            )
        newest = newest_root(folder)
        for keyid, signature in signed.signatures.items():
            key = newest.signed.keys.get(keyid) or draft.signed.keys.get(keyid)
            allowed = {*role_keyids(newest.signed, "root"), *role_keyids(draft.signed, "root")}
            try:
                if key is None or keyid not in allowed:
                    raise InvalidInputError(
                        "not_a_root_key",
                        f"Key {keyid[:KEYID_CHARS]} is no root key, neither of now nor of the draft.",
                    )
                key.verify_signature(signature, draft.signed_bytes)
            except (UnverifiedSignatureError, VerificationError) as error:
                raise InvalidInputError(
                    "bad_signature", f"The signature of root key {keyid[:KEYID_CHARS]} is not good."
                ) from error
            draft.signatures[keyid] = signature
        return _publish(folder, draft)


def take_offline(folder: Path, role: RoleName, target: Path, passphrase: Passphrase) -> list[Path]:
    """Move the private keys of a role into ``target``, encrypted with ``passphrase``; the files written.

    The copy is read back before the one here goes. Raises InvalidInputError, ConflictError, StoreError.
    """
    if role == "director":
        raise InvalidInputError(
            "director_is_online", "The director signs every order of a device: its key stays on the server."
        )
    with locked(folder):
        if pending_root(folder) is not None:
            raise ConflictError(
                "pending", "A change of the keys waits for signatures; finish or cancel it first."
            )
        signers = read_role(folder, newest_root(folder).signed, role, known_passphrases(folder))
        if not signers:
            raise ConflictError(
                "not_here", f"No key of role {role} is on this machine; `keys show` says where."
            )
        if target.resolve() == folder.resolve():
            raise InvalidInputError("same_folder", f"{target} is the keys folder itself; name another place.")
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = []
        for signer in signers:
            keyid = signer.public_key.keyid
            copied = key_path(target, role, keyid)
            write_private_key(copied, signer, role, passphrase)
            if read_private_key(copied, [passphrase]).public_key.keyid != keyid:
                raise StoreError("not_written", f"{copied} does not hold the key; nothing was removed here.")
            written.append(copied)
        for signer in signers:
            path = find_key(folder, role, signer.public_key.keyid)
            if path is not None:
                path.unlink()
        return written


def encrypt_all(folder: Path, passphrase: Passphrase, *, drop_secret: bool = False) -> int:
    """Encrypt every private key here anew with this passphrase; how many. Raises StoreError, "
    "DiskFullError."""
    with locked(folder):
        known = [passphrase, *known_passphrases(folder)]
        files = sorted(folder.glob("*.pem"))
        for file in files:
            signer = read_private_key(file, known)
            write_private_key(file, signer, file.stem.partition("-")[0], passphrase)
        if drop_secret:
            (folder / "secret").unlink(missing_ok=True)
        return len(files)


# --- inside -----------------------------------------------------------------------------------------------


def _draft(folder: Path, now: datetime | None) -> Metadata[Root]:
    draft = pending_root(folder)
    if draft is None:
        draft = copy.deepcopy(newest_root(folder))
        draft.signed.version += 1
    draft.signed.expires = utc_seconds(now) + ROOT_LIFETIME
    draft.signatures.clear()
    return draft


def _publish(folder: Path, draft: Metadata[Root]) -> Change:
    """Sign with what is here; write the root if that is enough, else the draft."""
    newest = newest_root(folder)
    passphrases = known_passphrases(folder)
    for named_by in (newest.signed, draft.signed):
        for signer in _root_signers(folder, named_by, passphrases):
            if signer.public_key.keyid not in draft.signatures:
                draft.sign(signer, append=True)
    if len(encode(draft)) > ROOT_MAX_BYTES:
        raise InvalidInputError(
            "root_too_large",
            f"A TUF root of more than {ROOT_MAX_BYTES} bytes is read by no device; use fewer keys.",
        )
    old = newest.signed.get_verification_result(Root.type, draft.signed_bytes, draft.signatures)
    new = draft.signed.get_verification_result(Root.type, draft.signed_bytes, draft.signatures)
    _encrypt_plain(folder, passphrases)
    if not (old and new):
        replace_file(folder / PENDING, encode(draft))
        return Change(draft.signed.version, False, old.missing, new.missing)
    check_successor(newest, draft)
    write_root(folder, draft)
    _forget_pending(folder)
    _remove_unnamed(folder, draft.signed)
    return Change(draft.signed.version, True)


def _root_signers(folder: Path, root: Root, passphrases: list[Passphrase]) -> list[CryptoSigner]:
    return read_role(folder, root, "root", passphrases)


def _forget_pending(folder: Path) -> None:
    (folder / PENDING).unlink(missing_ok=True)


def _remove_unnamed(folder: Path, root: Root) -> None:
    """Private keys that sign nothing any more."""
    for role in ROLES:
        kept = {find_key(folder, role, keyid) for keyid in role_keyids(root, role)}
        for file in (*folder.glob(f"{role}-*.pem"), *folder.glob(f"{role}.pem")):
            if file not in kept:
                file.unlink()


def _encrypt_plain(folder: Path, passphrases: list[Passphrase]) -> None:
    """An earlier edgepress wrote keys without encryption."""
    for file in folder.glob("*.pem"):
        if not is_encrypted(file):
            role = file.stem.partition("-")[0]
            write_private_key(file, read_private_key(file, passphrases), role, preferred_passphrase(folder))


def _find_keyid(keyids: Sequence[str], start: str, role: RoleName) -> str:
    found = [keyid for keyid in keyids if start and keyid.startswith(start)]
    if len(found) != 1:
        raise NotFoundError(
            "no_such_key",
            f"{len(found)} keys of role {role} begin with {start!r}; `edgepress keys show` lists them.",
        )
    return found[0]


def _remove(root: Root, keyid: str, role: RoleName) -> None:
    for name in ROLES[role]:
        root.revoke_key(keyid, name)


def _add(root: Root, key: SSlibKey, role: RoleName) -> None:
    for name in ROLES[role]:
        root.add_key(key, name)


def _set_threshold(root: Root, role: RoleName, threshold: int) -> None:
    have = len(role_keyids(root, role))
    if not 1 <= threshold <= have:
        raise InvalidInputError(
            "bad_threshold",
            f"A threshold of {threshold} does not fit role {role} with {have} keys: 1 to {have}. "
            "Give --threshold, or more keys.",
        )
    if role == "release" and threshold > RELEASE_THRESHOLD_MAX:
        raise InvalidInputError(
            "bad_threshold",
            f"At most {RELEASE_THRESHOLD_MAX} release keys may have to sign: devices read orders of "
            "4,096 bytes, "
            "and every signature is in each. There may be more keys than that.",
        )
    for name in ROLES[role]:
        root.roles[name].threshold = threshold

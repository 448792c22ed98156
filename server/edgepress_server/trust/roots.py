"""The TUF roots of this installation: which keys each role has, from the first version to the newest.

    DIR/keys/roots/{n}.json   Metadata[Root], version n, signed by the root keys of n - 1 and of n
    DIR/keys/root.json        version 1, as an earlier edgepress wrote it
    DIR/keys/pending.json     version n + 1, for as long as root keys that are not here have to sign it

What is published is never changed: devices follow the chain from the version they pinned.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError
from tuf.api.serialization.json import JSONSerializer

from edgepress_server.errors import StoreError
from edgepress_server.files import replace_file
from edgepress_server.trust.key_file import RESTORE

RoleName = Literal["root", "release", "director"]
ROLES: Final[dict[RoleName, tuple[str, ...]]] = {
    "root": ("root",),
    "release": ("targets",),
    "director": ("snapshot", "timestamp"),
}
ROOT_LIFETIME: Final = timedelta(days=365)
ROOT_WARNING: Final = timedelta(days=30)
ROOT_MAX_BYTES: Final = 32_768  # what devices read
MALFORMED: Final = (KeyError, ValueError, TypeError, AttributeError, DeserializationError, RecursionError)


def utc_seconds(now: datetime | None = None) -> datetime:
    """TUF's times have whole seconds."""
    return (now or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0)


def encode(metadata: Metadata[Root]) -> bytes:
    return metadata.to_bytes(JSONSerializer(compact=True))


def read_root(data: bytes) -> Metadata[Root]:
    """Raises ValueError with what is wrong with it."""
    if len(data) > ROOT_MAX_BYTES:
        raise ValueError(f"{len(data)} bytes; at most {ROOT_MAX_BYTES} are read")
    try:
        metadata = Metadata[Root].from_bytes(data)
    except MALFORMED as error:
        raise ValueError(str(error)[:200] or type(error).__name__) from error
    if not isinstance(metadata.signed, Root):
        raise ValueError(f"it is metadata of type {metadata.signed.type}")
    return metadata


def root_path(folder: Path, version: int) -> Path:
    path = folder / "roots" / f"{version}.json"
    before = folder / "root.json"
    return before if version == 1 and not path.exists() and before.exists() else path


def check_successor(before: Metadata[Root] | None, root: Metadata[Root]) -> None:
    """The rules of TUF 5.3 that do not ask the time. ``before`` None: the first. Raises ValueError."""
    expected = 1 if before is None else before.signed.version + 1
    if root.signed.version != expected:
        raise ValueError(f"it has version {root.signed.version} instead of {expected}")
    for signed_by, whose in ((before, "its predecessor"), (root, "its own")):
        if signed_by is None:
            continue
        try:
            signed_by.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
        except RepositoryError as error:
            raise ValueError(f"it is not signed by a threshold of {whose} root keys") from error


def read_roots(folder: Path) -> tuple[bytes, ...]:
    """All versions, each checked against the one before. Raises StoreError."""
    found: list[bytes] = []
    newest: Metadata[Root] | None = None
    while True:
        file = root_path(folder, len(found) + 1)
        try:
            with file.open("rb") as stream:
                data = stream.read(ROOT_MAX_BYTES + 1)
        except FileNotFoundError:
            break
        except OSError as error:
            raise StoreError("no_keys", f"{file} cannot be read ({error.strerror}). {RESTORE}") from error
        try:
            root = read_root(data)
            check_successor(newest, root)
        except ValueError as error:
            raise StoreError("keys_damaged", f"{file} is damaged: {error}. {RESTORE}") from error
        found.append(data)
        newest = root
    if not found:
        raise StoreError("no_keys", f"{folder} holds no TUF root. {RESTORE}")
    return tuple(found)


def write_root(folder: Path, metadata: Metadata[Root]) -> None:
    """Publish a version that was checked. Raises StoreError, DiskFullError."""
    (folder / "roots").mkdir(mode=0o700, exist_ok=True)
    replace_file(root_path(folder, metadata.signed.version), encode(metadata))


def role_keyids(root: Root, role: RoleName) -> list[str]:
    return list(root.roles[ROLES[role][-1]].keyids)


def role_threshold(root: Root, role: RoleName) -> int:
    threshold: int = root.roles[ROLES[role][-1]].threshold
    return threshold

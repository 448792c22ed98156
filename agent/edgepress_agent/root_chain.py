"""The chain of TUF roots from the pinned one to the newest, and how the next one is believed.

::

    root.json        the anchor: what enrolment pinned. Never changes, and says whose device this is.
    roots/{n}.json   the successors, each written whole before it counts

A successor is believed (TUF specification 1.0.33, section 5.3) when it

 1. has at most ROOT_MAX_BYTES, before anything is parsed
 2. is ``Metadata[Root]``
 3. is signed by a threshold of the root keys of the newest root here, so that nobody else can hand over
 4. is signed by a threshold of its own root keys, so that the handover went to keys that somebody holds
 5. has exactly the next version: an older one is a rollback, a later one would skip a handover

Its time is not checked here: a device that slept for two years follows the chain through roots that have long
expired. Only the newest must not have (``trust.verify_want``). A file of the chain that is damaged ends it
there; the broker has the rest.
"""

import hashlib
import logging
from pathlib import Path
from typing import Final

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from edgepress_agent.durable import Disk
from edgepress_agent.errors import RootError

ROOT_MAX_BYTES: Final = 32_768
FOLDER: Final = "roots"
_MALFORMED = (KeyError, ValueError, TypeError, AttributeError, DeserializationError, RecursionError)

log = logging.getLogger(__name__)


def next_root(newest: Metadata[Root], payload: bytes) -> Metadata[Root]:
    """The successor of ``newest``, when the checks above hold. Raises RootError."""
    if len(payload) > ROOT_MAX_BYTES:
        raise RootError(f"TUF root of {len(payload)} bytes; at most {ROOT_MAX_BYTES} are read")
    try:
        root = Metadata[Root].from_bytes(payload)
        if not isinstance(root.signed, Root):
            raise RootError("what came as the TUF root is metadata of another kind")
    except _MALFORMED as error:
        raise RootError(
            f"the TUF root cannot be read: {(str(error) or type(error).__name__)[:200]}"
        ) from error
    version, known = root.signed.version, newest.signed.version
    if version <= known:
        raise RootError(f"the TUF root has version {version}, but {known} is known already: it is a rollback")
    if version != known + 1:
        raise RootError(f"the TUF root has version {version}; after {known} only {known + 1} can be believed")
    try:
        newest.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
    except (ValueError, RepositoryError) as error:
        raise RootError(f"TUF root {version} is not signed by the root keys of version {known}") from error
    try:
        root.signed.verify_delegate(Root.type, root.signed_bytes, root.signatures)
    except (ValueError, RepositoryError) as error:
        raise RootError(f"TUF root {version} is not signed by its own root keys") from error
    return root


class RootChain:
    """The roots of one device's state folder. ``newest`` is what everything is checked against."""

    def __init__(self, folder: Path, anchor: Metadata[Root], disk: Disk) -> None:
        self._folder = folder / FOLDER
        self._disk = disk
        self.newest = anchor
        while (payload := self._read(self.newest.signed.version + 1)) is not None:
            try:
                self.newest = next_root(self.newest, payload)
            except RootError as error:
                log.warning("%s is left aside: %s", self._path(self.newest.signed.version + 1), error)
                break

    @property
    def version(self) -> int:
        version: int = self.newest.signed.version
        return version

    def append(self, payload: bytes) -> None:
        """Follow one handover: on disk first, then believed. Raises RootError, OSError."""
        root = next_root(self.newest, payload)
        self._disk.make_folder(self._folder)
        self._disk.write_whole(self._path(root.signed.version), payload)
        self.newest = root

    def _path(self, version: int) -> Path:
        return self._folder / f"{version}.json"

    def _read(self, version: int) -> bytes | None:
        try:
            with self._path(version).open("rb") as file:
                return file.read(ROOT_MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("%s cannot be read: %s", self._path(version), error.strerror)
            return None


def director_id(root: Metadata[Root]) -> str:
    """Names the director's keys. Where it changes, counters and times that the old ones signed are void."""
    keyids = sorted(root.signed.roles["timestamp"].keyids)
    return hashlib.sha256("\n".join(keyids).encode("utf-8")).hexdigest()[:16]

"""Chunks of an artifact as they go over the wire: read from the blob, encrypted with the content key.

The same chunk always has the same bytes, so nothing is kept: a chunk that is asked for again is made again,
in less time than it takes to send.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from edgepress_devices.protocol import CHUNK_PLAIN_BYTES, chunk_count
from edgepress_server.errors import NotFoundError, StoreError
from edgepress_server.trust.seal import encrypt_chunk

READ_BYTES: Final = 1 << 20


class ArtifactChunks:
    """One artifact, checked once against its digest before anything of it is sent."""

    def __init__(self, digest: str, path: Path, content_key: bytes) -> None:
        """Raises NotFoundError (no such file), StoreError (its bytes are not those of the digest)."""
        self.digest = digest
        self._path = path
        self._key = content_key
        size, found = _measure(path)
        if found != digest:
            raise StoreError(
                "artifact_damaged", f"The file of artifact {digest[:12]} is damaged on the server's disk."
            )
        self.count = chunk_count(size)

    def payload(self, n: int) -> bytes:
        """Chunk ``n`` as it is published. Raises NotFoundError, StoreError."""
        try:
            with self._path.open("rb") as file:
                file.seek(n * CHUNK_PLAIN_BYTES)
                plaintext = file.read(CHUNK_PLAIN_BYTES)
        except OSError as error:
            raise StoreError("artifact_unreadable", f"{self._path} cannot be read: {error}.") from error
        return encrypt_chunk(self._key, digest=self.digest, n=n, chunks=self.count, plaintext=plaintext)


def _measure(path: Path) -> tuple[int, str]:
    sha256, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while part := file.read(READ_BYTES):
                sha256.update(part)
                size += len(part)
    except FileNotFoundError as error:
        raise NotFoundError("artifact_gone", f"The artifact's file {path} is not there any more.") from error
    except OSError as error:
        raise StoreError("artifact_unreadable", f"{path} cannot be read: {error}.") from error
    return size, sha256.hexdigest()

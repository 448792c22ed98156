"""Puts wants and chunks on the broker, retained, no faster than it takes them.

    wants     each whose counter differs from what this connection has published; first in line
    repairs   chunks that a device asked for
    chunks    of artifacts that rollouts need, each once per connection
    clearing  of artifacts that nobody needs any more: an empty retained message each

``pump`` sends while fewer than WINDOW messages wait for their acknowledgement, and is called again when one
comes. A connection that breaks forgets what was published: a broker may have lost it, and republishing is
harmless.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from edgepress_devices.protocol import chunk_topic, down_topic
from edgepress_server.errors import NotFoundError, StoreError
from edgepress_server.link.chunks import ArtifactChunks

log = logging.getLogger(__name__)

WINDOW: Final = 32  # at 64 KB: 2 MB under way

Publish = Callable[[str, bytes], int | None]  # topic, payload -> message id; None: not connected
Chunk = tuple[str, int]


class Publisher:
    """Single-threaded: the link calls it. ``settled(digest)`` is told when an artifact is wholly cleared."""

    def __init__(self, publish: Publish, settled: Callable[[str], None]) -> None:
        self._publish = publish
        self._settled = settled
        self._waiting: dict[int, str | None] = {}  # message id -> digest that it clears a chunk of
        self._wants: dict[str, bytes] = {}  # in line
        self._wanted: dict[str, int] = {}  # device -> counter published on this connection; 0: cleared
        self._repairs: deque[Chunk] = deque()
        self._chunks: deque[Chunk] = deque()
        self._clearing: deque[Chunk] = deque()
        self._artifacts: dict[str, ArtifactChunks] = {}
        self._whole: set[str] = set()  # of these every chunk was put in line
        self._to_clear: dict[str, int] = {}  # digest -> messages still to be acknowledged

    def forget(self) -> None:
        """A new connection: nothing is under way, nothing counts as published."""
        for table in (self._waiting, self._wants, self._wanted, self._artifacts, self._to_clear):
            table.clear()
        self._whole.clear()
        for line in (self._repairs, self._chunks, self._clearing):
            line.clear()

    # --- what is wanted on the broker -----------------------------------------------------------------------

    def put_wants(self, counters: Mapping[str, int], read: Callable[[str], bytes | None]) -> None:
        """Publish every want whose counter is not the published one; counter 0: clear it."""
        for device, counter in counters.items():
            if self._wanted.get(device) != counter:
                payload = read(device) if counter else b""
                if payload is not None:
                    self._wants[device] = payload
                    self._wanted[device] = counter

    def has(self, digest: str) -> bool:
        """Chunks of it can be published on this connection."""
        return digest in self._artifacts

    def has_whole(self, digest: str) -> bool:
        """All of its chunks were published on this connection, or are in line."""
        return digest in self._whole

    def add(self, artifact: ArtifactChunks, *, whole: bool) -> None:
        """Publish its chunks, all of them or only those that `repair` names."""
        self._artifacts[artifact.digest] = artifact
        self._clearing = deque(c for c in self._clearing if c[0] != artifact.digest)
        self._to_clear.pop(artifact.digest, None)
        if whole and artifact.digest not in self._whole:
            self._whole.add(artifact.digest)
            self._chunks.extend((artifact.digest, n) for n in range(artifact.count))

    def repair(self, digest: str, n: int) -> None:
        self._repairs.append((digest, n))

    def chunk_count(self, digest: str) -> int | None:
        artifact = self._artifacts.get(digest)
        return None if artifact is None else artifact.count

    def clear(self, digest: str, chunks: int) -> None:
        """Take an artifact off the broker."""
        if digest in self._to_clear:
            return
        self._artifacts.pop(digest, None)
        self._whole.discard(digest)
        self._chunks = deque(c for c in self._chunks if c[0] != digest)
        self._repairs = deque(c for c in self._repairs if c[0] != digest)
        self._to_clear[digest] = chunks
        self._clearing.extend((digest, n) for n in range(chunks))

    # --- sending --------------------------------------------------------------------------------------------

    def acknowledged(self, mid: int) -> None:
        digest = self._waiting.pop(mid, None)
        if digest is not None and digest in self._to_clear:
            self._to_clear[digest] -= 1
            if self._to_clear[digest] == 0:
                del self._to_clear[digest]
                self._settled(digest)

    def pump(self) -> None:
        """Send what is in line, as far as the window allows."""
        while len(self._waiting) < WINDOW and self._send_next():
            pass

    def _send_next(self) -> bool:
        if self._wants:
            device, payload = next(iter(self._wants.items()))
            sent = self._send(down_topic(device, "want"), payload, None)
            if sent:
                del self._wants[device]
            return sent
        for line in (self._repairs, self._chunks):
            if line:
                sent = self._send_chunk(*line[0])
                if sent and line:
                    line.popleft()
                return sent
        if self._clearing:
            digest, n = self._clearing[0]
            sent = self._send(chunk_topic(digest, n), b"", digest)
            if sent:
                self._clearing.popleft()
            return sent
        return False

    def _send_chunk(self, digest: str, n: int) -> bool:
        artifact = self._artifacts[digest]
        try:
            payload = artifact.payload(n)
        except (StoreError, NotFoundError) as error:
            log.error("a chunk cannot be published: %s", error)
            return True  # given up; a device that misses it asks, and the file is looked at again
        return self._send(chunk_topic(digest, n), payload, None)

    def _send(self, topic: str, payload: bytes, clears: str | None) -> bool:
        mid = self._publish(topic, payload)
        if mid is None:
            return False
        self._waiting[mid] = clears
        return True

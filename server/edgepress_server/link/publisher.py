"""Puts wants and chunks on the broker, retained, no faster than it takes them.

    versions  wants and roots whose version differs from what the broker holds
    repairs   chunks that a device asked for
    chunks    of artifacts that rollouts need, each once
    clearing  of artifacts that nobody needs any more: an empty retained message each

Versions and chunks take turns: ten thousand wants must not keep the first who were told from their chunks.

``pump`` sends while fewer than WINDOW messages wait for their acknowledgement, and is called again when one
comes. What was acknowledged is told by ``take_acknowledged``, so that somebody can note it; a new connection
begins with what was noted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from edgepress_devices.protocol import chunk_topic, down_topic
from edgepress_server.errors import NotFoundError, StoreError
from edgepress_server.link.chunks import ArtifactChunks

log = logging.getLogger(__name__)

WINDOW: Final = 32  # at 64 KB: 2 MB under way

Publish = Callable[[str, bytes], int | None]  # topic, payload -> message id; None: not connected
Chunk = tuple[str, int]


@dataclass(frozen=True)
class _Sent:
    key: str  # a topic with a version, or the digest that a chunk is of
    version: int | None = None
    clears: bool = False
    is_repair: bool = False


class Publisher:
    """Single-threaded: the link calls it. ``settled(digest)`` is told when an artifact is wholly cleared."""

    def __init__(self, publish: Publish, settled: Callable[[str], None]) -> None:
        self._publish = publish
        self._settled = settled
        self._waiting: dict[int, _Sent] = {}  # message id -> what it was
        self._line: dict[str, tuple[int, bytes]] = {}  # topic -> version and payload, in line
        self._versions: dict[str, int] = {}  # topic -> version on the broker or on its way; 0: cleared
        self._counters: dict[str, int] = {}  # device -> of its want; ten thousand are looked through often
        self._acknowledged: dict[str, int] = {}  # topic -> version that nobody has noted yet
        self._repairs: deque[Chunk] = deque()
        self._chunks: deque[Chunk] = deque()
        self._clearing: deque[Chunk] = deque()
        self._artifacts: dict[str, ArtifactChunks] = {}
        self._whole: set[str] = set()  # of these every chunk was put in line
        self._left: dict[str, int] = {}  # digest -> chunks of a whole artifact still to be acknowledged
        self._done: set[str] = set()  # whole artifacts that were acknowledged and that nobody has noted yet
        self._chunks_turn = True  # the last was; where versions are in line, too
        self.sends_chunks = True  # off while the broker takes none
        self._to_clear: dict[str, int] = {}  # digest -> messages still to be acknowledged

    def forget(self, versions: Mapping[str, int] | None = None, whole: Collection[str] = ()) -> None:
        """A new connection: nothing is under way, and the broker holds these versions and whole artifacts."""
        for table in (
            self._waiting,
            self._line,
            self._acknowledged,
            self._artifacts,
            self._to_clear,
            self._left,
        ):
            table.clear()
        self._versions = dict(versions or {})
        self._counters.clear()
        self._whole = set(whole)
        self._done.clear()
        for line in (self._repairs, self._chunks, self._clearing):
            line.clear()

    # --- what is wanted on the broker -----------------------------------------------------------------------

    def put_wants(self, counters: Mapping[str, int], read: Callable[[str], bytes | None]) -> None:
        """Publish every want whose counter is not the published one; counter 0: clear it."""
        for device, counter in counters.items():
            if self._counters.get(device) == counter:
                continue
            topic = down_topic(device, "want")
            if self._versions.get(topic) != counter:
                payload = read(device) if counter else b""
                if payload is None:
                    continue
                self._put(topic, counter, payload)
            self._counters[device] = counter

    def put(self, topic: str, version: int, payload: bytes) -> None:
        """Publish it unless the broker holds this version."""
        if self._versions.get(topic) != version:
            self._put(topic, version, payload)

    def _put(self, topic: str, version: int, payload: bytes) -> None:
        self._line[topic] = (version, payload)
        self._versions[topic] = version
        self._acknowledged.pop(topic, None)

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
            self._left[artifact.digest] = artifact.count
            self._chunks.extend((artifact.digest, n) for n in range(artifact.count))

    def repair(self, digest: str, n: int) -> None:
        self._repairs.append((digest, n))

    def artifact(self, digest: str) -> ArtifactChunks | None:
        return self._artifacts.get(digest)

    def chunk_count(self, digest: str) -> int | None:
        artifact = self._artifacts.get(digest)
        return None if artifact is None else artifact.count

    def clear(self, digest: str, chunks: int) -> None:
        """Take an artifact off the broker."""
        if digest in self._to_clear:
            return
        self._artifacts.pop(digest, None)
        self._drop(digest)
        self._to_clear[digest] = chunks
        self._clearing.extend((digest, n) for n in range(chunks))

    # --- sending --------------------------------------------------------------------------------------------

    def acknowledged(self, mid: int) -> bool:
        """True when it was a chunk."""
        sent = self._waiting.pop(mid, None)
        if sent is None:
            return False
        if sent.version is not None:
            if self._versions.get(sent.key) == sent.version and sent.key not in self._line:
                self._acknowledged[sent.key] = sent.version
        elif sent.clears:
            self._count_down(self._to_clear, sent.key, self._settled)
        elif not sent.is_repair:
            self._count_down(self._left, sent.key, self._done.add)
        return sent.version is None and not sent.clears

    def take_acknowledged(self) -> tuple[dict[str, int], set[str]]:
        """(topic -> version, whole artifacts) that the broker holds now; each is told once."""
        versions, done = self._acknowledged, self._done
        self._acknowledged, self._done = {}, set()
        return versions, done

    @property
    def is_idle(self) -> bool:
        """Nothing under way, and nothing in line that could be sent."""
        if self._waiting or self._line or self._clearing:
            return False
        return not (self.sends_chunks and (self._repairs or self._chunks))

    @property
    def chunk_under_way(self) -> bool:
        return any(sent.version is None and not sent.clears for sent in self._waiting.values())

    def pump(self) -> None:
        """Send what is in line, as far as the window allows."""
        while len(self._waiting) < WINDOW and self._send_next():
            pass

    def _send_next(self) -> bool:
        chunks_wait = self.sends_chunks and bool(self._repairs or self._chunks)
        self._chunks_turn = chunks_wait and not self._chunks_turn
        if self._line and not self._chunks_turn:
            topic, (version, payload) = next(iter(self._line.items()))
            sent = self._send(topic, payload, _Sent(topic, version=version))
            if sent:
                del self._line[topic]
            return sent
        for line in (self._repairs, self._chunks):
            if line and self.sends_chunks:
                sent = self._send_chunk(*line[0], is_repair=line is self._repairs)
                if sent and line:
                    line.popleft()
                return sent
        if self._clearing:
            digest, n = self._clearing[0]
            sent = self._send(chunk_topic(digest, n), b"", _Sent(digest, clears=True))
            if sent:
                self._clearing.popleft()
            return sent
        return False

    def _send_chunk(self, digest: str, n: int, *, is_repair: bool) -> bool:
        artifact = self._artifacts[digest]
        try:
            payload = artifact.payload(n)
        except (StoreError, NotFoundError) as error:
            log.error("a chunk cannot be published: %s", error)
            self._artifacts.pop(digest)
            self._drop(digest)  # it is looked at from the beginning, and found damaged
            return bool(self._repairs or self._chunks)
        return self._send(chunk_topic(digest, n), payload, _Sent(digest, is_repair=is_repair))

    def _send(self, topic: str, payload: bytes, what: _Sent) -> bool:
        mid = self._publish(topic, payload)
        if mid is None:
            return False
        self._waiting[mid] = what
        return True

    def _drop(self, digest: str) -> None:
        self._whole.discard(digest)
        self._done.discard(digest)
        self._left.pop(digest, None)
        self._chunks = deque(c for c in self._chunks if c[0] != digest)
        self._repairs = deque(c for c in self._repairs if c[0] != digest)

    @staticmethod
    def _count_down(table: dict[str, int], digest: str, tell: Callable[[str], None]) -> None:
        if digest in table:
            table[digest] -= 1
            if table[digest] == 0:
                del table[digest]
                tell(digest)

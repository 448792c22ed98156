"""What belongs on the broker is put there, noted once it is, and taken off when nobody needs it.

    put there --acknowledged--> noted under a mark (`store.broker_contents`) --sample read back--> verified

A new connection begins with what the mark on the broker vouches for; the rest is published again.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from typing import Final

import msgspec

from edgepress_devices.protocol import Need, chunk_topic, parse_chunk_topic, root_topic
from edgepress_server.errors import ConflictError, NotFoundError, StoreError
from edgepress_server.link.chunk_limits import ChunkLimits
from edgepress_server.link.chunks import ArtifactChunks
from edgepress_server.link.connection import Connection
from edgepress_server.link.handshake import MARK_TOPIC, Mark
from edgepress_server.link.publisher import Publisher
from edgepress_server.link.repairs import Repairs, missing_chunks
from edgepress_server.link.verify import Verifier
from edgepress_server.store import Store

log = logging.getLogger(__name__)

CLEAR_AFTER_S: Final = 5.0  # the last device has it and others may want it soon: the next wave, a late joiner
MARK_EVERY_S: Final = 1.0
RETRY_ARTIFACT_S: Final = 10.0
WANTS_EVERY_S: Final = 1.0  # who was revoked, or has a new key; new wants are seen at once


class Contents:
    """Called by the link's loop only; ``now`` is a monotonic clock in seconds."""

    def __init__(self, store: Store, connection: Connection, identity: str) -> None:
        self._store = store
        self._connection = connection
        self._identity = identity
        self._cleared: list[str] = []  # artifacts that are off the broker, to be noted in the store
        self._publisher = Publisher(
            lambda topic, payload: connection.publish(topic, payload, retain=True), self._cleared.append
        )
        self._repairs = Repairs()
        self._limits = ChunkLimits()
        self._verifier = Verifier(
            lambda digest, chunks: connection.subscribe(*(chunk_topic(digest, n) for n in chunks)),
            lambda digest, chunks: connection.unsubscribe(*(chunk_topic(digest, n) for n in chunks)),
        )
        self._unneeded_since: dict[str, float] = {}
        self._damaged_until: dict[str, float] = {}
        self._to_verify: set[str] = set()
        self._mark_due = 0.0
        self._wants_seen: tuple[int, int] | None = None
        self._wants_due = 0.0

    @property
    def problems(self) -> list[str]:
        """What is wrong with the broker, for people."""
        return [text for text in (self._limits.problem, self._verifier.problem) if text is not None]

    # --- the connection -------------------------------------------------------------------------------------

    def connected(self, packet_max_bytes: int | None, now: float) -> None:
        self._limits.connected(packet_max_bytes, now)

    def lost(self, reason: str | None, now: float) -> None:
        self._limits.lost(chunk_under_way=self._publisher.chunk_under_way, reason=reason, now=now)

    def begin(self, mark: int) -> None:
        """This server is alone on the broker, which shows this mark of it (0: none)."""
        newest = self._store.broker_contents.last_mark()
        versions, whole = self._store.broker_contents.held(mark)
        self._publisher.forget(versions, whole)
        self._cleared.clear()
        self._to_verify.clear()
        self._verifier.forget()
        self._wants_seen = None
        if newest and mark < newest:
            log.warning(
                "the broker lost what it held (it shows mark %s of %s): publishing the rest again",
                mark,
                newest,
            )

    def acknowledged(self, mid: int, refusal: str | None, now: float) -> None:
        if self._publisher.acknowledged(mid):
            if refusal is None:
                self._limits.acknowledged()
            else:
                self._limits.refused(refusal, now)

    def heard_chunk(self, topic: str, payload: bytes) -> None:
        """Read back. Raises ProtocolError."""
        digest, n = parse_chunk_topic(topic)
        self._verifier.heard(digest, n, payload)

    # --- what goes out --------------------------------------------------------------------------------------

    def put(self, now: float, roots: Sequence[bytes]) -> None:
        """Bring wants, roots and chunks in line. Raises StoreError."""
        for version, payload in enumerate(roots, start=1):
            self._publisher.put(root_topic(version), zlib.crc32(payload) or 1, payload)
        newest = self._store.wants.newest()
        if newest != self._wants_seen or now >= self._wants_due:  # ten thousand take a while to go through
            self._publisher.put_wants(self._store.wants.counters(), self._read_want)
            self._wants_seen, self._wants_due = newest, now + WANTS_EVERY_S
        needed = self._store.rollouts.digests_in_use() | self._store.deltas.in_use()
        if self._limits.allowed(now):
            for digest in needed:
                if not self._publisher.has_whole(digest):
                    self._add(digest, now, whole=True)
        self._clear_unneeded(needed | self._repairs.kept(self._store.now_ms()), now)

    def send(self, now: float) -> None:
        """What is in line, as far as it may be on its way; the mark for what has arrived."""
        self._publisher.sends_chunks = self._limits.allowed(now)
        self._publisher.pump()
        self._look_at_samples(now)
        if now >= self._mark_due and self._publisher.is_idle:
            self._vouch(now)

    def repair(self, device: str, need: Need, now: float) -> None:
        """What a device misses is published again. Raises ProtocolError (it is not about this artifact)."""
        want = self._store.wants.find(device)
        if want is None or need.digest not in (want.digest, want.delta):
            log.debug("%s asks for chunks of %s, which it is not to run", device, need.digest[:12])
            return
        if not self._publisher.has(need.digest) and not self._add(need.digest, now, whole=False):
            return
        now_ms = self._store.now_ms()
        asked = [
            n
            for n in missing_chunks(need, self._publisher.chunk_count(need.digest) or 0)
            if self._repairs.allow(device, need.digest, n, now_ms)
        ]
        for n in asked:
            self._publisher.repair(need.digest, n)
        if asked:
            log.info("%s misses %s chunks of %s; publishing them again", device, len(asked), need.digest[:12])

    def _read_want(self, device: str) -> bytes | None:
        want = self._store.wants.find(device)
        return None if want is None else want.payload

    def _add(self, digest: str, now: float, *, whole: bool) -> bool:
        if now < self._damaged_until.get(digest, 0.0):
            return False
        artifact = self._read(digest, now)
        if artifact is None:
            return False
        if not self._publisher.has_whole(digest):
            self._store.broker_contents.begin(digest, artifact.count)
        self._publisher.add(artifact, whole=whole)
        return True

    def _read(self, digest: str, now: float) -> ArtifactChunks | None:
        try:
            return ArtifactChunks(
                digest, self._store.blobs.path(digest), self._store.releases.content_key(digest)
            )
        except (StoreError, NotFoundError) as error:
            log.error("artifact %s cannot be published: %s", digest[:12], error)
            self._damaged_until[digest] = now + RETRY_ARTIFACT_S
            self._pause_rollouts_of(digest, str(error))
            return None

    def _pause_rollouts_of(self, digest: str, reason: str) -> None:
        for rollout_id in self._store.rollouts.active_with(digest):
            try:
                self._store.rollouts.pause(
                    rollout_id, reason=f"{reason} Compress again and make a new release."
                )
            except ConflictError:  # paused already, or being rolled back
                continue

    def _clear_unneeded(self, needed: set[str], now: float) -> None:
        published = self._store.broker_contents.published()
        for digest in needed & published.keys():
            self._unneeded_since.pop(digest, None)
        # What was cleared is off already, and noted with the next mark.
        unneeded = published.keys() - needed - set(self._cleared)
        wanted = self._store.broker_contents.wanted() if unneeded else set()
        for digest in unneeded:
            # Nobody is told to run it any more, as after an abort: at once.
            patience_s = CLEAR_AFTER_S if digest in wanted else 0.0
            if now - self._unneeded_since.setdefault(digest, now) >= patience_s:
                self._verifier.drop(digest)
                self._to_verify.discard(digest)
                self._publisher.clear(digest, published[digest])

    # --- what has arrived -----------------------------------------------------------------------------------

    def _vouch(self, now: float) -> None:
        versions, whole = self._publisher.take_acknowledged()
        cleared, self._cleared[:] = list(self._cleared), []
        if not (versions or whole or cleared):
            return
        mark = self._store.broker_contents.vouch(versions=versions, whole=whole, cleared=cleared)
        self._connection.publish(MARK_TOPIC, msgspec.json.encode(Mark(self._identity, mark)), retain=True)
        self._to_verify |= whole
        self._mark_due = now + MARK_EVERY_S

    def _look_at_samples(self, now: float) -> None:
        for digest in list(self._to_verify):
            self._to_verify.discard(digest)
            artifact = self._publisher.artifact(digest)
            if artifact is not None:
                self._verifier.begin(digest, artifact.count, artifact.payload, now)
        _, missing = self._verifier.look(now)
        for digest, chunks in missing.items():
            log.warning("the broker did not keep %s of the chunks that were read back", len(chunks))
            if self._publisher.has(digest) and self._verifier.wants_another_round(digest):
                for n in chunks:
                    self._publisher.repair(digest, n)
                self._to_verify.add(digest)

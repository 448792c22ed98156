"""What devices ask for again, and how often it is sent: plain values, no clock of its own."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Final

from edgepress_devices.protocol import Need, ProtocolError

# One repair reaches every device that waits for the chunk, and the rest find it retained: so a fleet that
# asks all at once costs one sending.
CHUNK_EVERY_MS: Final = 2_000
KEEP_MS: Final = 600_000  # a repaired artifact stays on the broker this long after the last question


def missing_chunks(need: Need, chunks: int) -> Iterator[int]:
    """The chunk numbers whose bits are set. Raises ProtocolError when it is not about ``chunks`` chunks."""
    if need.chunks != chunks:
        raise ProtocolError(f"asks for chunks of {need.chunks}; the artifact has {chunks}")
    try:
        bitmap = base64.b64decode(need.missing, validate=True)
    except (ValueError, binascii.Error) as error:
        raise ProtocolError("the bitmap of missing chunks is no base64") from error
    if len(bitmap) != -(-chunks // 8):
        raise ProtocolError(f"the bitmap of missing chunks has {len(bitmap)} bytes for {chunks} chunks")
    return (n for n in range(chunks) if bitmap[n >> 3] & (0x80 >> (n & 7)))


class Repairs:
    """When each chunk was last sent again, and until when its artifact is kept on the broker for that."""

    def __init__(self) -> None:
        self._sent_at: dict[str, dict[int, int]] = {}
        self._until: dict[str, int] = {}

    def allow(self, digest: str, n: int, now_ms: int) -> bool:
        """True, and noted, when this chunk may be sent again now."""
        sent = self._sent_at.setdefault(digest, {})
        if now_ms - sent.get(n, -CHUNK_EVERY_MS) < CHUNK_EVERY_MS:
            return False
        sent[n] = now_ms
        self._until[digest] = now_ms + KEEP_MS
        return True

    def kept(self, now_ms: int) -> set[str]:
        """Artifacts that devices asked for lately."""
        for digest in [d for d, until in self._until.items() if until <= now_ms]:
            del self._until[digest], self._sent_at[digest]
        return set(self._until)

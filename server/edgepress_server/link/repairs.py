"""What devices ask for again, and how often it is sent: plain values, no clock of its own."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Final

from edgepress_devices.protocol import Need, ProtocolError

# A device that loses a fifth of a large artifact stays below; one that asks all the time gets no more, and
# all together no more than the fleet's.
DEVICE_BURST: Final = 64  # chunks: 4 MB
DEVICE_PER_S: Final = 16.0
FLEET_BURST: Final = 1024
FLEET_PER_S: Final = 128.0
DEVICES_REMEMBERED: Final = 10_000

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


class _Bucket:
    """A token bucket (as in RFC 2698): ``burst`` at once, then ``per_s``."""

    def __init__(self, burst: int, per_s: float) -> None:
        self._burst, self._per_s = burst, per_s
        self._level, self._at_ms = float(burst), 0

    def has(self, now_ms: int) -> bool:
        passed_s = max(0, now_ms - self._at_ms) / 1000
        self._level = min(self._burst, self._level + passed_s * self._per_s)
        self._at_ms = now_ms
        return self._level >= 1

    def take(self) -> None:
        self._level -= 1


class Repairs:
    """When each chunk was last sent again, and until when its artifact is kept on the broker for that."""

    def __init__(self) -> None:
        self._devices: dict[str, _Bucket] = {}
        self._fleet = _Bucket(FLEET_BURST, FLEET_PER_S)
        self._sent_at: dict[str, dict[int, int]] = {}
        self._until: dict[str, int] = {}

    def allow(self, device: str, digest: str, n: int, now_ms: int) -> bool:
        """True, and noted, when this chunk may be sent again now because this device asks."""
        sent = self._sent_at.setdefault(digest, {})
        if now_ms - sent.get(n, -CHUNK_EVERY_MS) < CHUNK_EVERY_MS:
            return False
        if not self._bucket(device, now_ms).has(now_ms) or not self._fleet.has(now_ms):
            return False
        self._bucket(device, now_ms).take()
        self._fleet.take()
        sent[n] = now_ms
        self._until[digest] = now_ms + KEEP_MS
        return True

    def kept(self, now_ms: int) -> set[str]:
        """Artifacts that devices asked for lately."""
        for digest in [d for d, until in self._until.items() if until <= now_ms]:
            del self._until[digest], self._sent_at[digest]
        return set(self._until)

    def _bucket(self, device: str, now_ms: int) -> _Bucket:
        bucket = self._devices.pop(device, None)
        if bucket is None:
            bucket = _Bucket(DEVICE_BURST, DEVICE_PER_S)
            bucket.has(now_ms)
            if len(self._devices) >= DEVICES_REMEMBERED:
                del self._devices[next(iter(self._devices))]  # who has asked for nothing the longest
        self._devices[device] = bucket
        return bucket

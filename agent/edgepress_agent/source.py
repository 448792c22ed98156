"""What is fetched to get the wanted model: the whole artifact, or a delta against one that lies here.

Rules
-----
1. A delta is used where the want offers one, its base lies trusted in a slot, and it was not found useless
   here before (``refused``: the digest of one that was).
2. Otherwise the whole artifact, unless the want offers a delta and says that the whole one must not be
   fetched.
3. Of a download that has begun the rest may be smaller than the delta: then it goes on. Facts on the disk
   decide this, so after a restart the choice is the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

from edgepress_agent.slots import Slot, Slots
from edgepress_agent.trust import Accepted
from edgepress_devices.protocol import CHUNK_PLAIN_BYTES


@dataclass(frozen=True)
class Source:
    """An artifact file on the broker: its chunks are those of ``digest``, opened with its own content key."""

    digest: str  # of the file that is fetched
    size_bytes: int
    chunks: int
    sealed_key: str  # base64, as ``Want.sealed_key``
    is_delta: bool = False


def full_source(accepted: Accepted) -> Source:
    """The whole artifact of a want that has one."""
    want = accepted.want
    return Source(want.digest or "", want.size, want.chunks, want.sealed_key)


def delta_source(accepted: Accepted) -> Source | None:
    delta = accepted.delta
    if delta is None:
        return None
    return Source(delta.digest, delta.size_bytes, delta.chunks, delta.sealed_key, is_delta=True)


def choose_source(
    accepted: Accepted,
    slots: Slots,
    *,
    refused: str | None = None,
    chunks_here: Callable[[Source], int] = lambda _source: 0,
) -> Source:
    """What to fetch, by the rules above. ``chunks_here(source)``: how many of its chunks lie on the disk.

    Raises OSError.
    """
    full, delta = full_source(accepted), delta_source(accepted)
    if delta is None or no_delta(accepted, slots, refused=refused) is not None:
        return full
    if _left_bytes(full, chunks_here(full)) < _left_bytes(delta, chunks_here(delta)):
        return full
    return delta


def no_delta(accepted: Accepted, slots: Slots, *, refused: str | None = None) -> str | None:
    """Why the delta that the want offers cannot be used here; None when it can. Raises OSError."""
    delta = accepted.delta
    if delta is None:
        return "none is offered"
    if delta.digest == refused:
        return "it could not be applied here"
    if base_slot(accepted, slots) is None:
        return f"the model {delta.base[:12]} that it builds on is not here"
    return None


def base_slot(accepted: Accepted, slots: Slots) -> Slot | None:
    """The slot with the delta's base, if that model passed its trial here. Raises OSError."""
    if accepted.delta is None:
        return None
    slot = slots.find(accepted.delta.base)
    info = slots.info(slot) if slot else None
    return slot if info is not None and info.trusted else None


def _left_bytes(source: Source, chunks: int) -> int:
    return max(0, source.size_bytes - chunks * CHUNK_PLAIN_BYTES)

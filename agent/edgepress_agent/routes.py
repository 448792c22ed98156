"""What a message from the broker is for the job thread."""

from edgepress_agent.events import Chunk, Event, RootCame, Wanted
from edgepress_agent.root_chain import ROOT_MAX_BYTES
from edgepress_devices import protocol
from edgepress_devices.protocol import ProtocolError

_ROOT_PREFIX = protocol.root_topic(1).removesuffix("1")


def route(device: str, topic: str, payload: bytes) -> Event | None:
    """None when it is not for it, or too large to be what it claims."""
    if topic == protocol.down_topic(device, "want"):
        return Wanted(payload) if payload else None
    if topic.startswith(_ROOT_PREFIX):
        version = topic.removeprefix(_ROOT_PREFIX)
        known = version.isascii() and version.isdigit() and len(version) <= 7
        return RootCame(int(version), payload) if known and 0 < len(payload) <= ROOT_MAX_BYTES else None
    try:
        digest, n = protocol.parse_chunk_topic(topic)
    except ProtocolError:
        return None
    return Chunk(digest, n, payload) if len(payload) <= protocol.CHUNK_MAX_BYTES else None

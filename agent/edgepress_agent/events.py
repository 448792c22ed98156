"""What reaches the job thread, and the queue that it comes through."""

import queue
from dataclasses import dataclass
from typing import Final

INBOX_EVENTS: Final = 1000
INBOX_CHUNKS: Final = 64  # four windows: more is a flood, and 64,000 bytes each


@dataclass(frozen=True)
class Connected:
    """The connection to the broker is new."""


@dataclass(frozen=True)
class Wanted:
    payload: bytes


@dataclass(frozen=True, slots=True)
class Chunk:
    digest: str
    n: int
    payload: bytes


@dataclass(frozen=True)
class HttpsEnded:
    """A range that HTTPS was asked for came (``reason`` None), or did not."""

    mark: object  # whose
    reason: str | None
    busy: bool = False  # the server is there, and asked to wait


@dataclass(frozen=True)
class ServerRoots:
    """The newest version of the TUF root that the server speaks of."""

    version: int


@dataclass(frozen=True)
class RootCame:
    version: int
    payload: bytes


@dataclass(frozen=True)
class Stop:
    """Wake up and look at the stop flag."""


Event = Connected | Wanted | Chunk | HttpsEnded | ServerRoots | RootCame | Stop


class Inbox(queue.Queue[Event]):
    """Bounded, and chunks more narrowly: those past the bound are dropped, and missed and asked for later."""

    def __init__(self) -> None:
        super().__init__(maxsize=INBOX_EVENTS)
        self.dropped_chunks = 0

    def put_nowait(self, item: Event) -> None:
        """Raises queue.Full, but not for a chunk."""
        if isinstance(item, Chunk) and self.qsize() >= INBOX_CHUNKS:
            self.dropped_chunks += 1
            return
        super().put_nowait(item)

"""Which telemetry batches to send when: at most a few unacknowledged, again when no answer comes. Pure."""

from collections.abc import Sequence
from typing import Final

from edgepress_agent.outbox import BatchName

IN_FLIGHT: Final = 8
ANSWER_FIRST_S: Final = 10.0
ANSWER_MAX_S: Final = 300.0


class Post:
    """Clocks are passed in (any that only grows, in seconds)."""

    def __init__(self) -> None:
        self._sent: dict[BatchName, float] = {}  # -> when to send it again
        self._patience_s = ANSWER_FIRST_S
        self.connected = False
        self.server_online = True  # until it says otherwise

    @property
    def listening(self) -> bool:
        return self.connected and self.server_online

    def began(self) -> None:
        """The connection, or the server, is new: what was sent before may be lost."""
        self._sent.clear()
        self._patience_s = ANSWER_FIRST_S

    def acknowledged(self, kept: Sequence[BatchName]) -> None:
        """An answer came; ``kept`` are the batches that still wait."""
        remaining = set(kept)
        self._sent = {name: due_s for name, due_s in self._sent.items() if name in remaining}
        self._patience_s = ANSWER_FIRST_S

    def has_room(self) -> bool:
        return self.listening and len(self._sent) < IN_FLIGHT

    def due(self, batches: Sequence[BatchName], now_s: float) -> list[BatchName]:
        """Batches to send now, oldest first; they count as sent."""
        if not self.listening:
            return []
        again = [name for name, due_s in self._sent.items() if due_s <= now_s]
        if again:
            self._patience_s = min(ANSWER_MAX_S, 2 * self._patience_s)
        new = [name for name in batches if name not in self._sent][: max(0, IN_FLIGHT - len(self._sent))]
        for name in (*again, *new):
            self._sent[name] = now_s + self._patience_s
        return [name for name in batches if name in again or name in new]

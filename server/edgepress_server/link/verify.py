"""Reads back a sample of what was published: brokers exist that acknowledge and do not keep.

After all chunks of an artifact were acknowledged, at most SAMPLE of their topics are subscribed to once and
what comes is compared. It costs the server no egress, and the broker a megabyte for each artifact. What is
missing is published again and looked at once more; what is missing then is a problem for people, and left to
devices' own questions.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

SAMPLE: Final = 16
WAIT_S: Final = 5.0
ROUNDS: Final = 2


@dataclass
class _Reading:
    since: float
    round: int
    expected: dict[int, bytes] = field(default_factory=dict)  # chunk -> SHA-256


class Verifier:
    """``subscribe`` and ``unsubscribe`` take (digest, chunk numbers)."""

    def __init__(
        self,
        subscribe: Callable[[str, list[int]], None],
        unsubscribe: Callable[[str, list[int]], None],
    ) -> None:
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._readings: dict[str, _Reading] = {}
        self._rounds: dict[str, int] = {}
        self.problem: str | None = None

    def forget(self) -> None:
        """A new connection has no subscriptions."""
        self._readings.clear()
        self._rounds.clear()

    def begin(self, digest: str, chunks: int, payload: Callable[[int], bytes], now: float) -> None:
        """Raises what ``payload`` raises."""
        if digest in self._readings:
            return
        asked = sorted(random.sample(range(chunks), min(SAMPLE, chunks)))
        expected = {n: hashlib.sha256(payload(n)).digest() for n in asked}
        self._readings[digest] = _Reading(now, self._rounds.get(digest, 0) + 1, expected)
        self._subscribe(digest, asked)

    def heard(self, digest: str, n: int, payload: bytes) -> None:
        """A chunk came. One that differs counts as not there."""
        reading = self._readings.get(digest)
        if reading is not None and reading.expected.get(n) == hashlib.sha256(payload).digest():
            del reading.expected[n]
            self._unsubscribe(digest, [n])

    def drop(self, digest: str) -> None:
        """It is taken off the broker."""
        reading = self._readings.pop(digest, None)
        if reading is not None:
            self._unsubscribe(digest, list(reading.expected))

    def look(self, now: float) -> tuple[list[str], dict[str, list[int]]]:
        """(artifacts that are there, artifact -> chunks that are missing), each told once."""
        good, missing = [], {}
        for digest, reading in list(self._readings.items()):
            if not reading.expected:
                del self._readings[digest]
                self._rounds.pop(digest, None)
                self.problem = None
                good.append(digest)
            elif now - reading.since >= WAIT_S:
                del self._readings[digest]
                self._unsubscribe(digest, list(reading.expected))
                self._rounds[digest] = reading.round
                missing[digest] = list(reading.expected)
                if reading.round >= ROUNDS:
                    self.problem = (
                        f"The broker acknowledged chunks of artifact {digest[:12]} and did not keep "
                        f"{len(reading.expected)} of them. It may be out of memory, or cap retained messages "
                        "(NATS: JetStream limits; EMQX: retainer.max_retained_messages; RabbitMQ keeps them "
                        "on one node). Devices ask for what they miss, which costs the bytes again."
                    )
        return good, missing

    def wants_another_round(self, digest: str) -> bool:
        return 0 < self._rounds.get(digest, 0) < ROUNDS

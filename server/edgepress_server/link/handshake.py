"""Is this server alone on the broker, and which mark does the broker show? Decided from messages and a clock.

    asking    --own question came back, and then SETTLE_S of silence-->  alone
              --another server answers, or asks too and has the lower session-->  occupied
              --LONGEST_S without the question coming back-->  alone (a broker that echoes nothing)
    alone     --another server says it is alone, too, and has the lower session-->  occupied
              answers whoever asks
    occupied  --AGAIN_S-->  asking

    ep/1/server/presence   not retained   Presence: a question, or the answer to one
    ep/1/server/mark       retained       Mark

A session is one run of a link: a copy of an installation has the same id, never the same session. What a dead
server left retained says nothing; only who answers is there.
"""

from __future__ import annotations

import secrets
from typing import Final, Literal

import msgspec

from edgepress_devices.protocol import PREFIX

PRESENCE_TOPIC: Final = f"{PREFIX}/server/presence"
MARK_TOPIC: Final = f"{PREFIX}/server/mark"
SERVER_TOPICS: Final = f"{PREFIX}/server/+"

SETTLE_S: Final = 0.5  # brokers that keep retained messages elsewhere deliver them a moment later
LONGEST_S: Final = 4.0
AGAIN_S: Final = 10.0
MESSAGE_MAX_BYTES: Final = 1024

Standing = Literal["asking", "alone", "occupied"]


class Presence(msgspec.Struct):
    id: str
    session: str
    asks: bool


class Mark(msgspec.Struct):
    id: str
    n: int


class Handshake:
    """One for each connection."""

    def __init__(self, identity: str, session: str | None = None) -> None:
        self.identity = identity
        self.session = session or secrets.token_hex(8)
        self.standing: Standing = "asking"
        self.mark = 0  # 0: the broker shows none of this installation
        self.other: Presence | None = None
        self._since: float | None = None
        self._echoed: float | None = None

    def ask(self, now: float) -> bytes:
        """Begin (again); the payload to publish on PRESENCE_TOPIC."""
        self.standing, self._since, self._echoed = "asking", now, None
        return self._say(asks=True)

    def hear(self, topic: str, payload: bytes, now: float) -> bytes | None:
        """What to answer on PRESENCE_TOPIC, if anything."""
        if len(payload) > MESSAGE_MAX_BYTES:
            return None
        try:
            if topic == MARK_TOPIC:
                mark = msgspec.json.decode(payload, type=Mark)
                if mark.id == self.identity:
                    self.mark = max(self.mark, mark.n)
                return None
            if topic != PRESENCE_TOPIC:
                return None
            said = msgspec.json.decode(payload, type=Presence)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if said.session == self.session:
            self._echoed = now if self._echoed is None else self._echoed
            return None
        return self._hear_other(said)

    def look(self, now: float) -> Standing:
        """The standing now."""
        if self.standing == "asking":
            settled = self._echoed is not None and now - self._echoed >= SETTLE_S
            if settled or (self._since is not None and now - self._since >= LONGEST_S):
                self.standing, self.other = "alone", None
        return self.standing

    def is_due(self, now: float) -> bool:
        """It was occupied for long enough: ask again."""
        return self.standing == "occupied" and self._since is not None and now - self._since >= AGAIN_S

    def _hear_other(self, said: Presence) -> bytes | None:
        if self.standing == "alone":
            if said.asks:
                return self._say(asks=False)
            if said.session < self.session:  # both thought so: a cluster that was apart for a while
                self._yield_to(said)
                return None
            return self._say(asks=False)
        if self.standing == "asking":
            if self._since is None:
                return None  # it hears, and has not begun
            if said.asks and self.session < said.session:
                return self._say(asks=False)  # it may not have heard our question
            self._yield_to(said)
        return None

    def _yield_to(self, said: Presence) -> None:
        self.standing, self.other = "occupied", said

    def _say(self, *, asks: bool) -> bytes:
        return msgspec.json.encode(Presence(self.identity, self.session, asks))

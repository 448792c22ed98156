"""One source's chunks on their way: which are let come when, by which way, and why not now.

The job thread calls it; nothing here waits. MQTT is the first way. HTTPS is taken where the rules say so, or
(``auto``) when MQTT brings nothing: three times in a row everything missing was due to be asked for, or there
has been no connection for ``MQTT_DOWN_S``. The next artifact begins with MQTT again.
"""

import base64
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Literal, Protocol

from edgepress_agent.delivery_rules import Hold
from edgepress_agent.errors import ChunkDamagedError
from edgepress_agent.events import Chunk, Event, HttpsEnded
from edgepress_agent.https_fetch import HttpsFetch, Origin, payload_bytes
from edgepress_agent.pace import Pace
from edgepress_agent.seal import open_chunk
from edgepress_agent.source import Source
from edgepress_agent.window import REFILL, Window
from edgepress_devices import protocol
from edgepress_devices.protocol import Need, to_json

MQTT_DOWN_S: Final = 30.0
HTTPS_AGAIN_MAX_S: Final = 60.0
HTTPS_FAILURES_MAX: Final = 3  # in a row; then MQTT has another turn, where it may
DAMAGED_SAID_EVERY_S: Final = 10.0
REASON_MAX_CHARS: Final = 300

Way = Literal["mqtt", "https"]

log = logging.getLogger(__name__)


class Broker(Protocol):
    """What is used of ``link.Link``."""

    @property
    def connected(self) -> bool: ...
    def subscribe(self, topics: Sequence[str]) -> None: ...
    def unsubscribe(self, topics: Sequence[str]) -> None: ...
    def publish(self, topic: str, payload: bytes) -> bool: ...
    def publish_state(self, payload: bytes) -> None: ...


class Ranges(Protocol):
    """What is used of ``HttpsFetch``."""

    def get(self, first: int, count: int) -> None: ...
    def stop(self) -> None: ...


Came = Callable[[int, bytes], None]
Ended = Callable[[str | None, bool], None]


def open_https(origin: Origin, came: Came, ended: Ended) -> Ranges:
    return HttpsFetch(origin, came=came, ended=ended)


class Download:
    """``missing``: chunks that are not on the disk. ``put`` enqueues what the HTTPS thread brings."""

    def __init__(
        self,
        device: str,
        source: Source,
        key: bytes,
        missing: Iterable[int],
        *,
        now_s: float,
        received_bytes: int,
        put: Callable[[Event], None],
        open_https: Callable[[Origin, Came, Ended], Ranges] = open_https,
    ) -> None:
        self.source = source
        self.received_bytes = received_bytes
        self.via: Way = "mqtt"
        self.waiting: str | None = None
        self._device = device
        self._key = key
        self._put = put
        self._open_https = open_https
        self._window = Window(missing, now_s)
        self._pace = Pace(None, now_s)
        self._held_until_s: float | None = None
        self._stored: list[int] = []  # and still subscribed to
        self._down_since_s: float | None = None
        self._https: Ranges | None = None
        self._origin: Origin | None = None
        self._transport: Literal["auto", "mqtt", "https"] = "auto"
        self._spans: list[tuple[int, int]] = []  # (first, count) that HTTPS still has to be asked for
        self._span = 0, 0  # that HTTPS was asked for and has not said that it ended
        self._https_from_s = float("-inf")
        self._mark: object = None  # of the HTTPS thread whose events count
        self._failures = 0  # of HTTPS, in a row
        self._failed: str | None = None  # why the last range did not come
        self._damaged_said_s = float("-inf")

    @property
    def remaining(self) -> int:
        return self._window.remaining

    def renew(self, source: Source, key: bytes) -> None:
        """The same artifact is wanted again: go on, with the content key as it came now."""
        self.source, self._key = source, key

    # --- what came ----------------------------------------------------------------------------------------

    def take(self, chunks: Sequence[Chunk], now_s: float) -> list[tuple[int, bytes]]:
        """Those that are wanted, opened: (n, plaintext), ascending."""
        source = self.source
        pieces: dict[int, bytes] = {}
        for chunk in chunks:
            if chunk.digest != source.digest or not chunk.payload:
                continue  # of what was wanted before, or the broker forgetting a chunk
            self.received_bytes += len(chunk.payload)
            if not self._window.is_missing(chunk.n) or chunk.n in pieces:
                self._pace.spend(len(chunk.payload), now_s)  # late or doubled: the link carried it
                continue
            try:
                pieces[chunk.n] = open_chunk(
                    chunk.payload,
                    key=self._key,
                    digest=chunk.digest,
                    n=chunk.n,
                    chunks=source.chunks,
                    artifact_bytes=source.size_bytes,
                )
            except ChunkDamagedError as error:
                self._damaged(chunk, error, now_s)
        return sorted(pieces.items())

    def stored(self, pieces: Sequence[tuple[int, bytes]], now_s: float) -> None:
        """They are on the disk."""
        for n, _ in pieces:
            self._window.arrived(n, now_s)
            if self.via == "mqtt":
                self._stored.append(n)

    def _damaged(self, chunk: Chunk, error: ChunkDamagedError, now_s: float) -> None:
        self._pace.spend(len(chunk.payload), now_s)
        self._window.damaged(chunk.n, now_s)
        if now_s - self._damaged_said_s >= DAMAGED_SAID_EVERY_S:  # a flood must not fill the log
            self._damaged_said_s = now_s
            log.warning("%s; it is asked for again", error)

    # --- what is let come ---------------------------------------------------------------------------------

    def tend(
        self,
        link: Broker | None,
        now_s: float,
        *,
        rate_bytes_s: int | None,
        transport: Literal["auto", "mqtt", "https"],
        origin: Origin | None,
        hold: Hold | None,
    ) -> None:
        """Go on, as the rules allow now. ``origin`` None: there is no ticket for HTTPS."""
        self._transport = transport
        if rate_bytes_s != self._pace.rate_bytes_s:
            self._pace.set_rate(rate_bytes_s, now_s)
        if origin != self._origin:
            self._end_https()
            self._origin = origin
        connected = link is not None and link.connected
        if connected:
            self._down_since_s = None
        elif self._down_since_s is None:
            self._down_since_s = now_s
        if hold is not None:
            self._pause(link)
            self.waiting, self._held_until_s = hold.reason, now_s + hold.seconds
            return
        self.waiting = self._held_until_s = None
        way = self._choose_way(connected, now_s, transport)
        if way != self.via:
            log.info("chunks come over %s from here on", "HTTPS" if way == "https" else "MQTT")
            self._pause(link)
            self.via = way
        if way == "https":
            self._tend_https(now_s)
        elif connected and link is not None:
            self._tend_mqtt(link, now_s)

    def _choose_way(self, connected: bool, now_s: float, transport: Literal["auto", "mqtt", "https"]) -> Way:
        if transport != "auto":
            return transport
        if self._origin is None:
            return "mqtt"
        if self.via == "https":
            failed = self._failures >= HTTPS_FAILURES_MAX and connected
            return "mqtt" if failed else "https"
        down_s = 0.0 if self._down_since_s is None else now_s - self._down_since_s
        return "https" if down_s >= MQTT_DOWN_S or self._window.hopeless(now_s) else "mqtt"

    def _open(self, now_s: float) -> list[int]:
        opened = self._window.open(now_s, self._pace.chunks(now_s, self._window.room()))
        source = self.source
        for n in opened:
            self._pace.spend(payload_bytes(n, source.chunks, source.size_bytes), now_s)
        return opened

    # --- MQTT ---------------------------------------------------------------------------------------------

    def _tend_mqtt(self, link: Broker, now_s: float) -> None:
        self._failures, self._failed = 0, None
        wanted = self._open(now_s)
        wanted += self._window.again(now_s)
        if self._stored and (wanted or self.remaining == 0 or len(self._stored) >= 2 * REFILL):
            link.unsubscribe(self._topics(self._stored))
            self._stored.clear()
        if wanted:
            link.subscribe(self._topics(wanted))
        missing = self._window.ask(now_s)
        if missing:
            need = Need(self.source.digest, self.source.chunks, bitmap(missing, self.source.chunks))
            link.publish(protocol.up_topic(self._device, "need"), to_json(need))

    def connected(self, link: Broker | None, now_s: float) -> None:
        """The connection is new, and knows nothing of what was subscribed to."""
        self._stored.clear()
        if self.via == "mqtt" and link is not None:
            again = self._window.reopened(now_s)
            if again:
                link.subscribe(self._topics(again))

    def _topics(self, numbers: Iterable[int]) -> list[str]:
        return [protocol.chunk_topic(self.source.digest, n) for n in numbers]

    # --- HTTPS --------------------------------------------------------------------------------------------

    def _tend_https(self, now_s: float) -> None:
        origin = self._origin
        if origin is None:
            self.waiting = "the server gave no ticket for HTTPS, and MQTT is not allowed"
            return
        self.waiting = self._failed
        if self._span[1] or now_s < self._https_from_s:
            return
        if not self._spans:
            self._spans = spans(self._open(now_s))
        if self._spans:
            if self._https is None:
                self._https = self._start_https(origin)
            self._span = self._spans.pop(0)
            self._https.get(*self._span)

    def _start_https(self, origin: Origin) -> Ranges:
        mark = object()  # events of an earlier one count no more

        def came(n: int, payload: bytes) -> None:
            self._put(Chunk(origin.digest, n, payload))

        def ended(reason: str | None, busy: bool) -> None:
            self._put(HttpsEnded(mark, reason, busy))

        self._mark = mark
        return self._open_https(origin, came, ended)

    def https_ended(self, event: HttpsEnded, now_s: float) -> None:
        """After ``stored``: what of the range is not on the disk now did not come, or came damaged."""
        if self._https is None or event.mark is not self._mark:
            return
        first, count = self._span
        self._span = 0, 0
        reason = event.reason
        if reason is None and any(self._window.is_missing(n) for n in range(first, first + count)):
            reason = "chunks come damaged over HTTPS"
            # The thread knows of no failure, so it does not hold back.
            self._https_from_s = now_s + min(HTTPS_AGAIN_MAX_S, 2.0**self._failures)
        self._failed = None if reason is None else reason[:REASON_MAX_CHARS]
        if reason is None:
            self._failures = 0
            return
        if not event.busy:
            self._failures = min(self._failures + 1, 10)
        self._spans.clear()
        self._window.close()  # what came of it is stored, the rest is opened again

    def _end_https(self) -> None:
        if self._https is not None:
            self._https.stop()
            self._https = None
            self._window.close()
        self._span = 0, 0
        self._spans.clear()

    # --- ending -------------------------------------------------------------------------------------------

    def _pause(self, link: Broker | None) -> None:
        self._end_https()
        topics = self._topics([*self._stored, *self._window.close()])
        self._stored.clear()
        if topics and link is not None:
            link.unsubscribe(topics)

    def close(self, link: Broker | None) -> None:
        """Nothing more is to come."""
        self._pause(link)

    def deadline_s(self, now_s: float) -> float | None:
        """When ``tend`` has something to do though nothing came; None = never."""
        if self._held_until_s is not None:
            return self._held_until_s
        times: list[float] = []
        if self.via == "https":
            if self._origin is not None and not self._span[1]:
                times.append(max(self._https_from_s, now_s if self._spans else self._pace.ready_s()))
        elif self._down_since_s is not None:
            if self._origin is not None and self._transport == "auto":
                times.append(max(now_s, self._down_since_s + MQTT_DOWN_S))
        else:
            due_s = self._window.deadline_s()
            if due_s is not None:
                times.append(due_s)
            if self._window.room():
                times.append(self._pace.ready_s())
        return min(times, default=None)


def spans(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """[3, 4, 5, 9] -> [(3, 3), (9, 1)]: (first, count) of each run. ``numbers`` in any order."""
    runs: list[tuple[int, int]] = []
    for n in sorted(numbers):
        if runs and sum(runs[-1]) == n:
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((n, 1))
    return runs


def bitmap(chunks: Iterable[int], total: int) -> str:
    """``Need.missing``: base64 of a bitmap, most significant bit first."""
    bits = bytearray(-(-total // 8))
    for n in chunks:
        bits[n // 8] |= 0x80 >> n % 8
    return base64.b64encode(bits).decode("ascii")

"""The job thread: wants and chunks come in, the installer does its steps, states and needs go out.

It alone touches the installer. Everything that reaches it comes through ``inbox``.
"""

import base64
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgepress_agent import __version__
from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import Identity
from edgepress_agent.errors import ChunkDamagedError, StoppedError, WantError
from edgepress_agent.installer import REASON_MAX_CHARS, Installer
from edgepress_agent.job import Fetch, Wait
from edgepress_agent.link import Link
from edgepress_agent.profiling import Profiler
from edgepress_agent.seal import open_chunk, open_content_key
from edgepress_agent.trust import Floors, verify_want
from edgepress_agent.window import Window
from edgepress_devices import protocol
from edgepress_devices.protocol import Hardware, Need, ProtocolError, State, to_json

STATES_PER_SECOND: Final = 4
REFRESH_S: Final = 60.0  # a broker that is late to publish our old will must not leave us offline for ever

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Connected:
    """The connection to the broker is new."""


@dataclass(frozen=True)
class Wanted:
    payload: bytes


@dataclass(frozen=True)
class Chunk:
    digest: str
    n: int
    payload: bytes


@dataclass(frozen=True)
class Stop:
    """Wake up and look at the stop flag."""


Event = Connected | Wanted | Chunk | Stop


class Work:
    """``started()`` is called once what ran before the restart runs again; ``interval(seconds)`` is told the
    telemetry interval of each accepted want.
    """

    def __init__(
        self,
        folder: Path,
        *,
        disk: Disk,
        identity: Identity,
        hardware: Hardware,
        installer: Installer[Any],
        profiler: Profiler,
        started: Callable[[], None],
        interval: Callable[[float], None],
        stop: threading.Event,
    ) -> None:
        self.inbox: queue.Queue[Event] = queue.Queue(maxsize=1000)
        self.link: Link | None = None  # set before ``run``
        self.refused: str | None = None  # the newest want was not believed
        self._want_path = folder / "want.json"
        self._disk = disk
        self._identity = identity
        self._hardware = hardware
        self._installer = installer
        self._profiler = profiler
        self._started = started
        self._interval = interval
        self._stop = stop
        self._window: Window | None = None
        self._key = b""
        self._told_s: deque[float] = deque(maxlen=STATES_PER_SECOND)  # when states went out
        self._dirty = True
        self._telling = threading.Lock()
        self._later: threading.Timer | None = None
        self._digest: str | None = None  # what the window and the key are for
        self._wait_until_s: float | None = None

    def run(self) -> None:
        """Start what ran before, then follow wants until told to stop. Raises OSError where it cannot
        start.
        """
        try:
            self.begin()
            while not self._stop.is_set():
                self.turn(self._events())
        except StoppedError:
            log.debug("stopped in the middle of a step")

    def begin(self) -> None:
        """Start what ran before and go on with the newest accepted want. Raises OSError, StoppedError."""
        self._installer.start(self._identity.fingerprint)
        self._started()
        self._resume()
        self._tell()

    def turn(self, events: list[Event]) -> None:
        """One round: take in what has come, do what it lets be done, say what is new. Waits for nothing;
        ``patience_s`` says when the next one is due if no event comes before. Raises StoppedError.
        """
        self._take_chunks([event for event in events if isinstance(event, Chunk)])
        for event in events:
            self._handle(event)
        self._advance()
        self._ask()
        self._tell()

    def changed(self) -> None:
        """The installer's journal moved on."""
        self._dirty = True
        self._tell()

    # --- in -----------------------------------------------------------------------------------------------

    def _events(self) -> list[Event]:
        """What has come, at most a window of chunks so that they are written together; waits for the
        first.
        """
        try:
            events = [self.inbox.get(timeout=self.patience_s())]
        except queue.Empty:
            return []
        while len(events) < protocol.FETCH_WINDOW:
            try:
                events.append(self.inbox.get_nowait())
            except queue.Empty:
                break
        return events

    def patience_s(self) -> float:
        """Seconds until ``turn`` has something to do by itself."""
        now_s = time.monotonic()
        deadlines = [self._refresh_s()]
        if self._dirty:
            deadlines.append(self._may_tell_s())
        if self._window is not None and self.link is not None and self.link.connected:
            deadline_s = self._window.deadline_s()
            if deadline_s is not None:
                deadlines.append(deadline_s)
        if self._wait_until_s is not None:
            deadlines.append(self._wait_until_s)
        return max(0.0, min(deadlines) - now_s)

    def _handle(self, event: Event) -> None:
        match event:
            case Connected():
                self._reopen()
            case Wanted(payload):
                self._want(payload, stored=False)
            case _:
                pass

    def _resume(self) -> None:
        """Go on with the want that was accepted before the restart, before the broker says anything."""
        try:
            payload = self._want_path.read_bytes()
        except OSError:
            payload = b""
        if payload:
            self._want(payload, stored=True)
        self._advance()

    def _want(self, payload: bytes, *, stored: bool) -> None:
        record = self._installer.journal.record
        identity = self._identity
        try:
            accepted = verify_want(
                payload,
                root=identity.root,
                device=identity.enrolment.device,
                profile=identity.enrolment.profile,
                floors=Floors(record.want, record.release_floor, record.time_floor_s),
                clock_s=int(time.time()),
            )
            want = accepted.want
            key = b""
            if want.digest is not None:
                key = open_content_key(want.sealed_key, identity.key, device=want.device, digest=want.digest)
            self._installer.check_same(accepted)
            before = self._installer.accepted
            news = before is None or (before.counter, before.expires_s) != (
                accepted.counter,
                accepted.expires_s,
            )
            if not stored and news:
                # First the want, then its counter: a crash in between reads as a want that has just come.
                self._disk.write_whole(self._want_path, payload)
            self._installer.accept(accepted)
        except WantError as error:
            self._refuse(error, quiet=stored)
            return
        except OSError as error:
            self._say_refused(f"a want cannot be stored: {error.strerror or error}")
            return
        self._key = key
        self._interval(float(want.telemetry_interval_s))
        self._profiler.wanted(want.profiling)
        if self.refused is not None:
            self.refused, self._dirty = None, True
        if self._digest != want.digest:
            self._close_window()
            self._digest = want.digest

    def _refuse(self, error: WantError, *, quiet: bool) -> None:
        if error.authentic:
            try:
                self._installer.refuse(error)
            except OSError as problem:
                log.error("a refusal cannot be stored: %s", problem.strerror)
            self._close_window()
            return
        if not quiet:  # a stored want that has expired is no news
            self._say_refused(str(error))

    def _say_refused(self, reason: str) -> None:
        log.warning("refused: %s", reason)
        self.refused = f"refused: {reason}"[:REASON_MAX_CHARS]
        self._dirty = True

    # --- chunks -------------------------------------------------------------------------------------------

    def _take_chunks(self, chunks: list[Chunk]) -> None:
        fetch, window, accepted = self._installer.fetch, self._window, self._installer.accepted
        if not chunks or fetch is None or window is None or accepted is None:
            return
        now_s = time.monotonic()
        want = accepted.want
        pieces: dict[int, bytes] = {}
        for chunk in chunks:
            if chunk.digest != want.digest or not window.is_missing(chunk.n) or not chunk.payload:
                continue  # late, doubled, or the broker forgetting a chunk
            try:
                pieces[chunk.n] = open_chunk(
                    chunk.payload,
                    key=self._key,
                    digest=chunk.digest,
                    n=chunk.n,
                    chunks=want.chunks,
                    artifact_bytes=want.size,
                )
            except ChunkDamagedError as error:
                log.warning("%s; it is asked for again", error)
                window.damaged(chunk.n, now_s)
        if pieces and self._installer.store_chunks(sorted(pieces.items()), now_s):
            for n in pieces:
                window.arrived(n, now_s)
            if self.link is not None:
                self.link.unsubscribe([protocol.chunk_topic(want.digest or "", n) for n in pieces])
            self._dirty = True

    def _open_window(self) -> None:
        """Subscribe to what the window has place for."""
        fetch, accepted = self._installer.fetch, self._installer.accepted
        if fetch is None or accepted is None or accepted.want.digest is None:
            return
        now_s = time.monotonic()
        if self._window is None:
            self._window = Window(fetch.missing(), now_s)
        opened = self._window.open(now_s)
        if opened and self.link is not None:
            self.link.subscribe([protocol.chunk_topic(accepted.want.digest, n) for n in opened])

    def _reopen(self) -> None:
        accepted = self._installer.accepted
        if self._window is not None and accepted is not None and accepted.want.digest is not None:
            again = self._window.reopened(time.monotonic())
            if self.link is not None:
                self.link.subscribe([protocol.chunk_topic(accepted.want.digest, n) for n in again])

    def _close_window(self) -> None:
        if self._window is not None and self.link is not None and self._digest is not None:
            self.link.unsubscribe([protocol.chunk_topic(self._digest, n) for n in self._window.subscribed])
        self._window = None

    def _ask(self) -> None:
        """Ask for chunks that did not come."""
        accepted = self._installer.accepted
        if self._window is None or accepted is None or self.link is None or not self.link.connected:
            return
        missing = self._window.ask(time.monotonic())
        if missing and accepted.want.digest is not None:
            need = Need(accepted.want.digest, accepted.want.chunks, bitmap(missing, accepted.want.chunks))
            self.link.publish(protocol.up_topic(self._identity.enrolment.device, "need"), to_json(need))

    # --- the job ------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        while not self._stop.is_set():
            if not isinstance(self._installer.upcoming(time.monotonic(), int(time.time())), Wait):
                self._profiler.hold()  # it needs the memory, and measuring needs a quiet board
            step = self._installer.advance(time.monotonic(), int(time.time()))
            self._wait_until_s = step.until_s if isinstance(step, Wait) else None
            if isinstance(step, Fetch):
                self._open_window()
                return
            self._close_window()
            if isinstance(step, Wait):
                if step.until_s is None:
                    self._profiler.release()
                return

    # --- out ----------------------------------------------------------------------------------------------

    def state(self) -> State:
        installer = self._installer
        record, running = installer.journal.record, installer.running
        busy = record.step in ("fetching", "verified", "staged", "trial")
        fetch = installer.fetch if record.step == "fetching" else None
        wanted = installer.accepted.want.chunks if installer.accepted else None
        return State(
            online=True,
            at_ms=time.time_ns() // 1_000_000,
            seq=record.seq,
            agent=__version__,
            hardware=self._hardware,
            running=running.digest if running else None,
            running_release=running.release if running else None,
            staged=record.target if busy else None,
            want=record.want,
            step="failed" if installer.trouble else record.step,
            reason=self.refused or installer.trouble or record.reason,
            chunks_have=fetch.count() if fetch else None,
            chunks_total=wanted if fetch else None,
            profiling=self._profiler.state(),
        )

    def _tell(self) -> None:
        """Publish the state if there is news, at most STATES_PER_SECOND."""
        with self._telling:
            now_s = time.monotonic()
            if self.link is None or not (self._dirty or now_s >= self._refresh_s()):
                return
            wait_s = self._may_tell_s() - now_s
            if wait_s <= 0:
                self._dirty = False
                self._told_s.append(now_s)
                self.link.publish_state(to_json(self.state()))
            elif self._later is None or not self._later.is_alive():
                # This thread may be in a trial by then, and people should see that it is.
                self._later = threading.Timer(wait_s + 0.01, self._tell)
                self._later.daemon = True
                self._later.start()

    def _refresh_s(self) -> float:
        return self._told_s[-1] + REFRESH_S if self._told_s else 0.0

    def _may_tell_s(self) -> float:
        if len(self._told_s) < STATES_PER_SECOND:
            return 0.0
        return self._told_s[0] + 1.0


def bitmap(chunks: list[int], total: int) -> str:
    """``Need.missing``: base64 of a bitmap, most significant bit first."""
    bits = bytearray(-(-total // 8))
    for n in chunks:
        bits[n // 8] |= 0x80 >> n % 8
    return base64.b64encode(bits).decode("ascii")


def route(device: str, topic: str, payload: bytes) -> Event | None:
    """What a message is for the job thread; None when it is not for it, or too large to be what it claims."""
    if topic == protocol.down_topic(device, "want"):
        return Wanted(payload) if payload else None
    try:
        digest, n = protocol.parse_chunk_topic(topic)
    except ProtocolError:
        return None
    return Chunk(digest, n, payload) if len(payload) <= protocol.CHUNK_MAX_BYTES else None

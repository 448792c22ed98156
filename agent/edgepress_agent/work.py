"""The job thread: wants and chunks come in, the installer does its steps, states and needs go out.

It alone touches the installer. Everything that reaches it comes through ``inbox``.
"""

import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from edgepress_agent import __version__
from edgepress_agent.clock import SignedClock
from edgepress_agent.delivery_rules import Hold, Moment, hold, start_s, strictest_rate
from edgepress_agent.download import Broker, Download, bitmap
from edgepress_agent.durable import Disk
from edgepress_agent.enrolment import Identity
from edgepress_agent.errors import RootError, StoppedError, WantError
from edgepress_agent.events import (
    Chunk,
    Connected,
    Event,
    HttpsEnded,
    Inbox,
    RootCame,
    ServerRoots,
    Stop,
    Wanted,
)
from edgepress_agent.https_fetch import Origin
from edgepress_agent.installer import REASON_MAX_CHARS, Installer
from edgepress_agent.job import Fetch, Wait
from edgepress_agent.local_limits import WatchedLimits
from edgepress_agent.metered import MeteredLink
from edgepress_agent.profiling import Profiler
from edgepress_agent.routes import route
from edgepress_agent.seal import open_content_key
from edgepress_agent.source import Source
from edgepress_agent.state_report import PASSING, StateReport
from edgepress_agent.trust import Accepted, Floors, check_still_valid, verify_want
from edgepress_devices import protocol
from edgepress_devices.protocol import Hardware, Sampling, State

__all__ = ["Chunk", "Connected", "Event", "ServerRoots", "Stop", "Wanted", "Work", "bitmap", "route"]

STORE_AGAIN_S: Final = 30.0  # what the disk did not take: the broker sends it once a connection, not again
ADVANCE_EVERY_S: Final = 1.0  # while chunks come: the running model is looked after, too

log = logging.getLogger(__name__)


class Work:
    """``started()`` is called once what ran before the restart runs again; ``interval(seconds)`` is told the
    telemetry interval of each accepted want.

    ``run`` is the thread. Who has an event loop of their own calls ``begin`` once, then ``turn`` whenever
    events came or ``patience_s`` has passed.
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
        sampling: Callable[[Sampling, int], None] = lambda policy, until_ms: None,
    ) -> None:
        self.inbox = Inbox()
        self.refused: str | None = None  # the newest want, or root, was not believed
        self._want_path = folder / "want.json"
        self._disk = disk
        self._identity = identity
        self._boot = secrets.token_hex(8)
        self._hardware = hardware
        self._installer = installer
        self._profiler = profiler
        self._started = started
        self._interval = interval
        self._sampling = sampling  # gets the privacy policy, and until when it is good, Unix ms
        self._stop = stop
        self._report = StateReport(self.state)
        self._own = WatchedLimits(folder)
        self._metered = MeteredLink()
        self._clock = SignedClock()
        self._keys: dict[str, bytes] = {}  # content keys of the accepted want, by digest
        self._download: Download | None = None
        self._newest: Download | None = None  # the one under way, or the last one
        self._refused_payload: bytes | None = None
        self._unstored: list[Wanted | RootCame] = []  # the disk did not take them
        self._store_again_s = 0.0
        self._roots = 1  # newest version that the server speaks of
        self._wait_until_s: float | None = None
        self._advanced_s = float("-inf")
        self._thread: int | None = None  # that calls ``begin`` and ``turn``

    @property
    def link(self) -> Broker | None:
        """Set before ``run``."""
        return self._report.link

    @link.setter
    def link(self, link: Broker | None) -> None:
        self._report.link = link

    @property
    def rate_bytes_s(self) -> int | None:
        """The limit of downloads that holds now."""
        accepted = self._installer.accepted
        own = self._own.read(time.monotonic())
        return own.rate_bytes_s if accepted is None else strictest_rate(accepted.want.delivery, own)

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
        finally:
            self._end_download()

    def begin(self) -> None:
        """Start what ran before and go on with the newest accepted want. Raises OSError, StoppedError."""
        self._thread = threading.get_ident()
        self._installer.start(self._identity.fingerprint)
        self._started()
        self._follow_director()
        self._resume()
        self._report.tell()

    def turn(self, events: list[Event]) -> None:
        """One round: take in what has come, do what it lets be done, say what is new. Waits for nothing;
        ``patience_s`` says when the next one is due if no event comes before. Raises StoppedError.
        """
        self._take_chunks([event for event in events if isinstance(event, Chunk)])
        for event in events:
            self._handle(event)
        self._store_again()
        self._advance()
        self._tend()
        self._report.tell()

    def patience_s(self) -> float:
        """Seconds until ``turn`` has something to do by itself."""
        now_s = time.monotonic()
        deadlines = [self._report.due_s()]
        if self._download is not None:
            due_s = self._download.deadline_s(now_s)
            if due_s is not None:
                deadlines.append(due_s)
        if self._wait_until_s is not None:
            deadlines.append(self._wait_until_s)
        if self._unstored:
            deadlines.append(self._store_again_s)
        return max(0.0, min(deadlines) - now_s)

    def changed(self) -> None:
        """The installer's journal moved on, or a measurement did."""
        self._report.news()
        mine = threading.get_ident() == self._thread
        if not mine or self._installer.journal.record.step not in PASSING:
            self._report.tell_even_if_busy()

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

    def _handle(self, event: Event) -> None:
        match event:
            case Connected():
                self._connected()
            case Wanted(payload):
                self._want(payload, stored=False)
            case HttpsEnded() if self._download is not None:
                self._download.https_ended(event, time.monotonic())
            case ServerRoots(version):
                self._roots = version
                self._ask_for_root()
            case RootCame(version, payload):
                self._take_root(version, payload)
            case _:
                pass

    def _connected(self) -> None:
        if self._download is not None:
            self._download.connected(self.link, time.monotonic())
        self._ask_for_root()

    def _clock_s(self) -> int:
        """Unix seconds as far as they can be known here."""
        floor_s = self._installer.journal.record.time_floor_s
        return int(self._clock.read(time.time(), time.monotonic(), floor_s))

    # --- wants --------------------------------------------------------------------------------------------

    def _resume(self) -> None:
        """Go on with the want that was accepted before the restart, before the broker says anything."""
        try:
            with self._want_path.open("rb") as file:
                payload = file.read(protocol.WANT_MAX_BYTES + 1)
        except OSError:
            payload = b""
        if payload:
            self._want(payload, stored=True)
        self._advance()

    def _want(self, payload: bytes, *, stored: bool) -> None:
        self._unstored = [event for event in self._unstored if not isinstance(event, Wanted)]
        record = self._installer.journal.record
        identity = self._identity
        try:
            accepted = verify_want(
                payload,
                root=identity.root,
                device=identity.enrolment.device,
                profile=identity.enrolment.profile,
                floors=Floors(record.want, record.release_floor, record.time_floor_s),
                clock_s=self._clock_s(),
            )
            keys = self._open_keys(accepted)
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
            self._refused_payload = payload
            self._refuse(error, payload, quiet=stored)
            return
        except OSError as error:
            self._keep(Wanted(payload))
            self._say_refused(f"a want cannot be stored: {error.strerror or error}")
            return
        self._keys = keys
        self._refused_payload = None
        self._interval(float(accepted.want.telemetry_interval_s))
        self._sampling(accepted.want.sampling, accepted.expires_s * 1000)
        self._profiler.wanted(accepted.want.profiling)
        if self.refused is not None:
            self.refused = None
            self._report.news()
        download, source = self._download, self._installer.source
        if download is not None and source is not None and download.source.digest == source.digest:
            download.renew(source, keys[source.digest])
        else:
            self._end_download()

    def _open_keys(self, accepted: Accepted) -> dict[str, bytes]:
        """The content keys of everything that this want lets be fetched. Raises WantError."""
        want, keys = accepted.want, {}
        sealed = [] if want.digest is None else [(want.digest, want.sealed_key)]
        if accepted.delta is not None:
            sealed.append((accepted.delta.digest, accepted.delta.sealed_key))
        for digest, sealed_key in sealed:
            keys[digest] = open_content_key(sealed_key, self._identity.key, device=want.device, digest=digest)
        return keys

    def _refuse(self, error: WantError, payload: bytes, *, quiet: bool) -> None:
        if error.authentic:
            self.refused = None  # what an earlier want was refused for is not why this one is
            try:
                self._installer.refuse(error)
            except OSError as problem:
                self._keep(Wanted(payload))
                log.error("a refusal cannot be stored: %s", problem.strerror)
            self._end_download()
            return
        if not quiet:  # a stored want that has expired is no news
            self._say_refused(str(error))

    def _keep(self, event: Wanted | RootCame) -> None:
        """The disk did not take what this brings: it is handled again in a while."""
        self._unstored.append(event)
        self._store_again_s = time.monotonic() + STORE_AGAIN_S

    def _store_again(self) -> None:
        if self._unstored and time.monotonic() >= self._store_again_s:
            unstored, self._unstored = self._unstored, []
            for event in unstored:
                self._handle(event)

    def _say_refused(self, reason: str) -> None:
        log.warning("refused: %s", reason)
        self.refused = f"refused: {reason}"[:REASON_MAX_CHARS]
        self._report.news()

    # --- roots --------------------------------------------------------------------------------------------

    def _ask_for_root(self) -> None:
        if self.link is not None and self._roots > self._identity.root_version:
            self.link.subscribe([protocol.root_topic(self._identity.root_version + 1)])

    def _take_root(self, version: int, payload: bytes) -> None:
        if version != self._identity.root_version + 1:
            return  # the one before again
        try:
            self._identity.update_root(payload)
        except RootError as error:
            self._say_refused(str(error))
            return
        except OSError as error:
            self._unstored = [event for event in self._unstored if not isinstance(event, RootCame)]
            self._keep(RootCame(version, payload))
            self._say_refused(f"a TUF root cannot be stored: {error.strerror or error}")
            return
        log.info("the TUF root is version %d now", self._identity.root_version)
        self.refused = None  # what is refused under this root, too, is said again
        self._report.news()
        if self.link is not None:
            self.link.unsubscribe([protocol.root_topic(version)])
        self._follow_director()
        self._check_accepted()
        if self._roots > self._identity.root_version:
            self._ask_for_root()
        elif self._refused_payload is not None:  # it may be signed by a key that the new root names
            self._want(self._refused_payload, stored=False)

    def _follow_director(self) -> None:
        """Floors that another director signed bind no more: whoever stole its key may have raised them."""
        record, director = self._installer.journal.record, self._identity.director_id
        if record.director == director:
            return
        floors = {"want": 0, "time_floor_s": 0} if record.director else {}
        try:
            self._installer.journal.write(director=director, **floors)
        except OSError as error:  # asked again with the next root, or at the next start
            log.error("the journal cannot be written: %s", error.strerror or error)

    def _check_accepted(self) -> None:
        """A want that is being followed may be signed by keys that the new root no longer names."""
        installer = self._installer
        accepted, running = installer.accepted, installer.running
        if accepted is None:
            return
        try:
            check_still_valid(accepted, self._identity.root, self._identity.enrolment.profile)
        except WantError as error:
            if running is not None and running.digest == accepted.want.digest:
                return  # what runs is not taken away by this
            self._end_download()
            if error.authentic:
                self._refuse(error, accepted.payload, quiet=False)
                return
            installer.accepted = installer.source = installer.fetch = None
            self._say_refused(str(error))

    # --- chunks -------------------------------------------------------------------------------------------

    def _take_chunks(self, chunks: list[Chunk]) -> None:
        download = self._download
        if not chunks or download is None:
            return
        now_s = time.monotonic()
        pieces = download.take(chunks, now_s)
        if pieces and self._installer.store_chunks(pieces, now_s):
            download.stored(pieces, now_s)
            self._report.progress()

    def _begin_download(self) -> None:
        installer = self._installer
        source, fetch = installer.source, installer.fetch
        if source is None or fetch is None:
            return
        if self._download is not None and self._download.source == source:
            return
        self._end_download()
        missing = fetch.missing()
        before = self._newest
        if before is not None and before.source.digest == source.digest:
            received_bytes = before.received_bytes
        else:  # what is here already came before the restart
            here = source.chunks - len(missing)
            received_bytes = min(here * protocol.CHUNK_MAX_BYTES, source.size_bytes)
        self._download = self._newest = Download(
            self._identity.enrolment.device,
            source,
            self._keys[source.digest],
            missing,
            now_s=time.monotonic(),
            received_bytes=received_bytes,
            put=self.inbox.put,
        )

    def _end_download(self) -> None:
        if self._download is not None:
            self._download.close(self.link)
            self._download = None
            self._report.news()

    def _tend(self) -> None:
        """Let the next chunks come, as far as the rules allow."""
        download, accepted = self._download, self._installer.accepted
        if download is None or accepted is None:
            return
        now_s = time.monotonic()
        said = download.waiting, download.via
        delivery = accepted.want.delivery
        download.tend(
            self.link,
            now_s,
            rate_bytes_s=self.rate_bytes_s,
            transport=delivery.transport,
            origin=self._origin(download.source, accepted),
            hold=self._hold(download, accepted, now_s),
        )
        if said != (download.waiting, download.via):
            self._report.news()

    def _hold(self, download: Download, accepted: Accepted, now_s: float) -> Hold | None:
        want, own = accepted.want, self._own.read(now_s)
        delivery = want.delivery
        clock_s = self._clock_s()
        return hold(
            delivery,
            own,
            start_at_s=start_s(want.device, accepted.counter, want.issued_at, delivery.start_within_s),
            begun=download.remaining < download.source.chunks,
            moment=Moment(clock_s, self._clock.trusted),
            metered=lambda: self._metered.read(now_s),
        )

    def _origin(self, source: Source, accepted: Accepted) -> Origin | None:
        enrolment, ticket = self._identity.enrolment, accepted.want.ticket
        if not ticket:
            return None
        return Origin(enrolment.server, source.digest, source.size_bytes, source.chunks, ticket, enrolment.ca)

    # --- the job ------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        if self._is_fetching() and time.monotonic() < self._advanced_s + ADVANCE_EVERY_S:
            return
        self._advanced_s = time.monotonic()
        while not self._stop.is_set():
            now_s, clock_s = time.monotonic(), self._clock_s()
            if not isinstance(self._installer.upcoming(now_s, clock_s), Wait):
                self._profiler.hold()  # it needs the memory, and measuring needs a quiet board
            step = self._installer.advance(now_s, clock_s)
            self._wait_until_s = step.until_s if isinstance(step, Wait) else None
            if isinstance(step, Fetch):
                self._begin_download()
                return
            self._end_download()
            if isinstance(step, Wait):
                if step.until_s is None:
                    self._profiler.release()
                return

    def _is_fetching(self) -> bool:
        """Chunks are still to come, so there is nothing to decide; asking the disk each time would cost more
        than the chunk.
        """
        download, installer = self._download, self._installer
        return (
            download is not None
            and download.remaining > 0
            and installer.accepted is not None
            and download.source == installer.source
            and installer.trouble is None
            and installer.journal.record.step == "fetching"
            and self._clock_s() < installer.accepted.expires_s
        )

    # --- out ----------------------------------------------------------------------------------------------

    def state(self) -> State:
        installer = self._installer
        record, running = installer.journal.record, installer.running
        busy = record.step in ("fetching", "verified", "staged", "trial")
        source, fetch = installer.source, installer.fetch
        fetching = record.step == "fetching" and source is not None and fetch is not None
        newest = self._newest
        job = newest if newest and source and newest.source.digest == source.digest else None
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
            chunks_have=fetch.count() if fetching and fetch else None,
            chunks_total=source.chunks if fetching and source else None,
            trial=installer.trial,
            profiling=self._profiler.state(),
            waiting=job.waiting if job and fetching else None,
            received_bytes=job.received_bytes if job else None,
            via=job.via if job else None,
            delta=job is not None and job.source.is_delta,
            root=self._identity.root_version,
            boot=self._boot,
        )

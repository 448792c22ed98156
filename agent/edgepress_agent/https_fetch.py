"""Chunks over HTTPS: byte ranges of all payloads joined, for when MQTT brings nothing (see protocol's head).

One thread, made when the first range is asked for; it asks for one range after the other and only hands on
what came. What it is told to fetch is bounded, and so is what it reads:

- never more bytes than were asked for, whatever the server sends
- connecting, TLS and the answer's head within ``ANSWER_S`` together
- at least ``SLOW_BYTES_S`` over any ``SLOW_WINDOW_S``: a trickle holds a connection, not this device
- TLS 1.2 or later, the server's certificate checked against the enrolment's authority

A range that fails is told once; the next one waits, each time longer, with jitter. Chunks that came whole
before the failure have been handed on, so nothing is fetched twice.
"""

import http.client
import logging
import queue
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from edgepress_agent import __version__
from edgepress_agent.link import back_off_s
from edgepress_agent.tls import client_context
from edgepress_devices.protocol import CHUNK_MAX_BYTES, FETCH_WINDOW, GCM_TAG_BYTES, check_digest

CONNECT_S: Final = 10.0
ANSWER_S: Final = 20.0
SLOW_BYTES_S: Final = 1000.0
SLOW_WINDOW_S: Final = 20.0
READ_BYTES: Final = 65_536
WAIT_MAX_S: Final = 300.0  # what a server may ask for with Retry-After

log = logging.getLogger(__name__)


class HttpsError(Exception):
    """A range that did not come; the text says why. ``busy``: the server is there, and said later."""

    def __init__(self, reason: str, *, busy: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(reason)
        self.busy = busy
        self.wait_s = wait_s


@dataclass(frozen=True)
class Origin:
    """Where chunks of one source come from. ``ca``: PEM of the authority; None = the system's."""

    server: str
    digest: str
    size_bytes: int  # of the artifact; payloads are GCM_TAG_BYTES longer for each chunk
    chunks: int
    ticket: str
    ca: str | None = None

    def payload_bytes(self, n: int) -> int:
        return payload_bytes(n, self.chunks, self.size_bytes)


def payload_bytes(n: int, chunks: int, size_bytes: int) -> int:
    """Bytes of chunk ``n`` as it travels."""
    if n < chunks - 1:
        return CHUNK_MAX_BYTES
    return size_bytes + chunks * GCM_TAG_BYTES - (chunks - 1) * CHUNK_MAX_BYTES


class HttpsFetch:
    """``came(n, payload)`` and ``ended(reason, busy)`` are called on its thread; ``reason`` None = the whole
    range came, ``busy`` = the server asked to wait.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        came: Callable[[int, bytes], None],
        ended: Callable[[str | None, bool], None],
        slow_window_s: float = SLOW_WINDOW_S,
        answer_s: float = ANSWER_S,
        back_off_s: Callable[[int, random.Random], float] = back_off_s,
    ) -> None:
        self._origin = origin
        self._came = came
        self._ended = ended
        self._slow_window_s = slow_window_s
        self._answer_s = answer_s
        self._back_off_s = back_off_s
        self._ranges: queue.Queue[tuple[int, int] | None] = queue.Queue()
        self._stop = threading.Event()
        self._failures = 0
        self._rng = random.SystemRandom()
        self._lock = threading.Lock()
        self._plug: socket.socket | None = None  # a second handle of the connection, to pull it from outside
        self._connection: http.client.HTTPConnection | None = None
        self._thread: threading.Thread | None = None

    def get(self, first: int, count: int) -> None:
        """Fetch chunks first .. first + count - 1, at most FETCH_WINDOW."""
        if not 0 < count <= FETCH_WINDOW:
            raise ValueError(f"{count} chunks are no range")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="https", daemon=True)
            self._thread.start()
        self._ranges.put((first, count))

    def stop(self) -> None:
        """End at once; nothing is handed on after what is being handed on now. For any thread."""
        self._stop.set()
        self._ranges.put(None)
        self._pull()

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, after ``stop``."""
        if self._thread is not None:
            self._thread.join(seconds)

    # --- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while (span := self._ranges.get()) is not None and not self._stop.is_set():
                self._serve(*span)
        finally:
            self._close()

    def _serve(self, first: int, count: int) -> None:
        try:
            self._fetch(first, count)
        except HttpsError as error:
            reason, busy, wait_s = str(error), error.busy, error.wait_s
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason, busy, wait_s = _words(error), False, 0.0
        else:
            self._failures = 0
            if not self._stop.is_set():
                self._ended(None, False)
            return
        self._close()
        if self._stop.is_set():
            return
        self._failures += 1
        wait_s = max(wait_s, self._back_off_s(self._failures, self._rng))
        log.info("chunks over HTTPS: %s; again in %.1f s", reason, wait_s)
        self._stop.wait(wait_s)
        if not self._stop.is_set():
            self._ended(reason, busy)

    def _fetch(self, first: int, count: int) -> None:
        origin = self._origin
        sizes = [origin.payload_bytes(n) for n in range(first, first + count)]
        begin = first * CHUNK_MAX_BYTES
        end = begin + sum(sizes)
        with _Deadline(self._answer_s, self._pull) as deadline:
            try:
                response = self._ask_again_if_stale(begin, end)
            except (OSError, http.client.HTTPException):
                if deadline.passed:
                    raise HttpsError(f"the server does not answer within {self._answer_s:.0f} s") from None
                raise
        self._check(response, begin, end)
        pace = _Slowness(self._slow_window_s)
        for n, size in enumerate(sizes, first):
            payload = self._read(response, size, pace)
            if self._stop.is_set():
                return
            self._failures = 0  # a server that gives something is worth asking again soon
            self._came(n, payload)
        if response.read1(1):
            raise HttpsError("the server sends more than it was asked for")
        response.close()  # of the answer only: the connection is for the next range

    def _ask_again_if_stale(self, begin: int, end: int) -> http.client.HTTPResponse:
        """A kept connection may have been closed by the server meanwhile; that is no failure."""
        if self._connection is not None and self._connection.sock is not None:
            try:
                return self._ask(self._connection, begin, end)
            except (ConnectionError, http.client.NotConnected):
                if self._stop.is_set():
                    raise
        self._close()
        return self._ask(self._connect(), begin, end)

    def _ask(self, connection: http.client.HTTPConnection, begin: int, end: int) -> http.client.HTTPResponse:
        base = urlsplit(self._origin.server).path.rstrip("/")
        headers = {
            "Range": f"bytes={begin}-{end - 1}",
            "Authorization": f"Bearer {self._origin.ticket}",
            "Accept-Encoding": "identity",
            "User-Agent": f"edgepress-agent/{__version__}",
        }
        digest = check_digest(self._origin.digest)
        connection.request("GET", f"{base}/api/v1/chunks/{digest}", headers=headers)
        return connection.getresponse()

    def _check(self, response: http.client.HTTPResponse, begin: int, end: int) -> None:
        if response.status != 206:
            busy = response.status in (429, 503)
            raise HttpsError(_refusal(response.status), busy=busy, wait_s=_retry_after_s(response))
        said = (response.getheader("Content-Range") or "").replace(" ", "")
        if not said.startswith(f"bytes{begin}-{end - 1}/"):
            raise HttpsError(f"the server answers with another range than was asked for ({said[:60]!r})")
        if response.getheader("Content-Encoding") not in (None, "identity"):
            raise HttpsError("the server answers in an encoding that was not asked for")

    def _read(self, response: http.client.HTTPResponse, size: int, pace: "_Slowness") -> bytes:
        pieces: list[bytes] = []
        left = size
        while left:
            piece = response.read1(min(left, READ_BYTES))
            if not piece:
                raise HttpsError("the server ended the answer too early")
            pieces.append(piece)
            left -= len(piece)
            pace.add(len(piece), time.monotonic())
        return b"".join(pieces)

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self._origin.server)
        host, tls = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        # One read may take as long as the slowest allowed trickle.
        sock = socket.create_connection((host, port), timeout=CONNECT_S)
        try:
            sock.settimeout(self._slow_window_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._plug = sock.dup()
            if self._stop.is_set():
                raise ConnectionAbortedError("stopped")
            if tls:
                context = client_context(self._origin.ca)
                sock = context.wrap_socket(sock, server_hostname=host)
        except BaseException:
            sock.close()
            raise
        connection = http.client.HTTPConnection(host, port)
        connection.sock = sock  # TLS is done: http.client needs to know nothing of it
        connection.auto_open = 0
        self._connection = connection
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        with self._lock:
            if self._plug is not None:
                self._plug.close()
                self._plug = None

    def _pull(self) -> None:
        with self._lock:
            if self._plug is not None:
                try:
                    self._plug.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # it is down already


class _Deadline:
    """Calls ``expired`` from another thread unless its block ends in time."""

    def __init__(self, seconds: float, expired: Callable[[], None]) -> None:
        self._expired = expired
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True
        self.passed = False

    def __enter__(self) -> "_Deadline":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _pass(self) -> None:
        self.passed = True
        self._expired()


class _Slowness:
    """Raises HttpsError when a window of time brought less than SLOW_BYTES_S."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._began_s = time.monotonic()
        self._bytes = 0

    def add(self, size_bytes: int, now_s: float) -> None:
        self._bytes += size_bytes
        if now_s - self._began_s >= self._window_s:
            if self._bytes < SLOW_BYTES_S * (now_s - self._began_s):
                raise HttpsError(f"the server sends less than {SLOW_BYTES_S:.0f} bytes/s")
            self._began_s, self._bytes = now_s, 0


def _refusal(status: int) -> str:
    match status:
        case 401 | 403:
            return f"the server refuses this device's ticket (HTTP {status}); the next want brings a new one"
        case 404:
            return "the server has no such artifact (HTTP 404)"
        case 429 | 503:
            return f"the server asks to wait (HTTP {status})"
    return f"the server answers with HTTP status {status} instead of 206"


def _retry_after_s(response: http.client.HTTPResponse) -> float:
    said = response.getheader("Retry-After") or ""
    return min(WAIT_MAX_S, float(said)) if said.isascii() and said.isdigit() else 0.0


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "the server is silent"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not good: {error.verify_message}"
    if isinstance(error, http.client.HTTPException):
        return f"the server does not speak HTTP ({type(error).__name__})"
    return f"the server cannot be reached ({getattr(error, 'strerror', None) or error})"

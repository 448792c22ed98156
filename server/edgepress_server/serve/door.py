"""The web server's door: a request gets a thread only when it is there.

gunicorn's threads wait for a request by reading it, so sixty-four clients that send one byte and then nothing
(slow loris) would hold every thread. Here the event loop alone waits:

    accepted --TLS handshake, head, small body--> arrived --thread--> answered --> arriving again | leaving
    arriving for ARRIVE_S, or the oldest of more than ARRIVING_MOST       -> closed
    leaving: our half is closed, theirs is read empty for at most LEAVE_S -> closed

"Small" is up to HELD_BODY_BYTES: larger bodies are read by a thread, after the application has looked at who
sends them (`edgepress_server.api.body_limit` refuses them from people who are not signed in).
"""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any, Final

from gunicorn import http
from gunicorn.workers.gthread import ThreadWorker

ARRIVE_S: Final = 10.0
ARRIVING_MOST: Final = 256
HEAD_MAX_BYTES: Final = 32_768
HELD_BODY_BYTES: Final = 65_536
LEAVE_S: Final = 2.0
LEAVE_BYTES: Final = 65_536
STALLED_S: Final = 120.0  # a body, or an answer, of which nothing moves for so long: 64 KB at 0.5 KB/s
READ_BYTES: Final = 65_536

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,18})[ \t]*\r\n", re.IGNORECASE)
_GO_AWAY: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
    b"Content-Length: 57\r\n\r\nThis server speaks HTTPS here: use https:// and try again"
)


def is_whole(received: bytes | bytearray) -> bool:
    """Whether a thread can go on without waiting: the head is there, and a body that is small.

    Also true for what is no request or too long a head: the parser, which then answers, has what it needs.
    """
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return len(received) > HEAD_MAX_BYTES
    length = _LENGTH.search(received, 0, end + 2)
    body_bytes = int(length[1]) if length else 0
    return body_bytes > HELD_BODY_BYTES or len(received) - (end + 4) >= body_bytes


class Arriving:
    """A connection whose next request is not whole yet."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.received = bytearray()
        self.until_s = time.monotonic() + ARRIVE_S
        self.shakes_hands = False


class DoorWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threaded worker with the door in front. ``tls``: makes the context of a new connection."""

    tls: Callable[[], ssl.SSLContext] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Both in the order in which their time is up: everyone is given the same.
        self._arriving: OrderedDict[Any, Arriving] = OrderedDict()
        self._leaving: OrderedDict[Any, tuple[float, int]] = OrderedDict()

    # --- gunicorn's own steps, replaced -------------------------------------------------------------------

    def enqueue_req(self, conn: Any) -> None:
        """Called for a connection that was accepted, or that is readable again after an answer."""
        arriving = Arriving(conn)
        if conn.parser is not None:  # a thread may have read into the next request
            arriving.received += conn.parser.unreader.take_buffered()
        try:
            conn.sock.setblocking(False)
            if conn.parser is None:
                self._begin(arriving)
        except OSError:  # it is gone already
            self._close(conn)
            return
        self._arriving[conn] = arriving
        self.poller.register(conn.sock, EVENT_READ, partial(self._advance, conn))
        if len(self._arriving) > ARRIVING_MOST:
            self._give_up(next(iter(self._arriving)))
        if conn in self._arriving:
            self._advance(conn, conn.sock)  # what TLS holds already makes no socket readable

    def finish_request(self, conn: Any, fs: Any) -> None:
        """As gunicorn's, but what stays open for the other side's goodbye does not stop the loop."""
        keeps = not fs.cancelled() and fs.exception() is None and bool(fs.result())
        if keeps and self.alive:
            if conn.parser.unreader.buf.getvalue() or _pending(conn.sock):
                self.enqueue_req(conn)
                return
            try:
                conn.sock.setblocking(False)
                conn.set_timeout()
                self.keepalived_conns.append(conn)
                self.poller.register(conn.sock, EVENT_READ, partial(self.on_client_socket_readable, conn))
            except (OSError, ValueError, KeyError):
                if conn in self.keepalived_conns:
                    self.keepalived_conns.remove(conn)
                self._close(conn)
            return
        self._leave(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        conn.sock.settimeout(STALLED_S)
        return super().handle_request(req, conn)

    def murder_pending(self) -> None:
        """The loop's moment for time-outs, at least once a second."""
        now_s = time.monotonic()
        while self._arriving:
            conn, arriving = next(iter(self._arriving.items()))
            if arriving.until_s > now_s:
                break
            self._give_up(conn)
        while self._leaving:
            conn, (until_s, _) = next(iter(self._leaving.items()))
            if until_s > now_s:
                break
            self._left(conn)

    # --- arriving -----------------------------------------------------------------------------------------

    def _begin(self, arriving: Arriving) -> None:
        """A new connection: TLS where that is on."""
        conn = arriving.conn
        conn.initialized = True
        make = type(self).tls
        if make is not None:
            conn.sock = make().wrap_socket(
                conn.sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=True
            )
            arriving.shakes_hands = True
        conn.parser = http.get_parser(self.cfg, conn.sock, conn.client)

    def _advance(self, conn: Any, _sock: Any) -> None:
        """Take what has come; hand over to a thread when the request is whole."""
        arriving = self._arriving[conn]
        try:
            if arriving.shakes_hands:
                conn.sock.do_handshake()
                arriving.shakes_hands = False
            while not is_whole(arriving.received):
                part = conn.sock.recv(READ_BYTES)
                if not part:
                    self._give_up(conn)
                    return
                arriving.received += part
        except (BlockingIOError, ssl.SSLWantReadError):
            self._wait_for(conn, EVENT_READ)
        except ssl.SSLWantWriteError:
            self._wait_for(conn, EVENT_WRITE)
        except OSError as error:  # ssl.SSLError too: no TLS, no cipher in common, hung up
            self.log.debug("a connection from %s came to nothing: %s", conn.client, error)
            if getattr(error, "reason", None) == "HTTP_REQUEST":
                self._say_https(conn)
            else:
                self._give_up(conn)
        else:
            del self._arriving[conn]
            self.poller.unregister(conn.sock)
            conn.parser.unreader.unread(bytes(arriving.received))
            super().enqueue_req(conn)

    def _say_https(self, conn: Any) -> None:
        """To somebody who came by http://, in the clear."""
        del self._arriving[conn]
        self.poller.unregister(conn.sock)
        try:
            socket.socket.send(conn.sock, _GO_AWAY)  # past TLS, which there is none of
        except OSError:
            self._close(conn)
            return
        self._leave(conn)

    def _wait_for(self, conn: Any, event: int) -> None:
        self.poller.modify(conn.sock, event, partial(self._advance, conn))

    def _give_up(self, conn: Any) -> None:
        del self._arriving[conn]
        self.poller.unregister(conn.sock)
        self._close(conn)

    # --- leaving ------------------------------------------------------------------------------------------

    def _leave(self, conn: Any) -> None:
        """Close our half; theirs is read empty, or the last of our answer could be lost (RFC 9112, 9.6)."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, EVENT_READ, partial(self._drain, conn))
        except (OSError, ValueError, KeyError):  # it is closed already
            self._close(conn)
            return
        self._leaving[conn] = (time.monotonic() + LEAVE_S, 0)

    def _drain(self, conn: Any, _sock: Any) -> None:
        until_s, drained = self._leaving[conn]
        try:
            part = conn.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part or drained + len(part) > LEAVE_BYTES:
            self._left(conn)
        else:
            self._leaving[conn] = (until_s, drained + len(part))

    def _left(self, conn: Any) -> None:
        del self._leaving[conn]
        self.poller.unregister(conn.sock)
        self._close(conn)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()


def _pending(sock: Any) -> bool:
    """Whether TLS holds bytes that no selector sees."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0

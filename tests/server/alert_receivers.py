"""Who is told of alerts: a web server and a mail server on loopback that remember what came."""

from __future__ import annotations

import asyncio
import email
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from typing import Any


class Receiver(http.server.BaseHTTPRequestHandler):
    """Answers as it is told, and remembers."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((dict(self.headers), sent))  # type: ignore[attr-defined]
        status, headers, text = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        try:
            self.wfile.write(text)
        except OSError:
            pass  # whoever asked has read enough

    def log_message(self, *_said: Any) -> None:
        """Nothing on the terminal."""


@contextmanager
def web_receiver() -> Iterator[Any]:
    """``seen``: (headers, body) of each POST; ``answer``: (status, headers, body) that they get."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.seen, server.answer = [], (200, {}, b"thank you")  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def url_of(receiver: Any) -> str:
    return f"http://127.0.0.1:{receiver.server_address[1]}/in?room=1"


class MailServer:
    """SMTP (RFC 5321) as far as a client needs it, on its own thread."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], Message]] = []
        self.refuse: bytes | None = None
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to: list[str] = []
        writer.write(b"220 test\r\n")
        while line := (await reader.readline()).decode().strip():
            verb = line[:4].upper()
            answer = b"250 OK\r\n"
            if verb == "RCPT":
                if self.refuse is not None:
                    answer = self.refuse
                else:
                    to.append(line.partition("<")[2].rstrip(">"))
            elif verb == "DATA":
                writer.write(b"354 go on\r\n")
                text = (await reader.readuntil(b"\r\n.\r\n"))[:-5]
                self.mails.append((to, email.message_from_bytes(text)))
                to = []
            elif verb == "QUIT":
                writer.write(b"221 bye\r\n")
                await writer.drain()
                break
            writer.write(answer)
            await writer.drain()
        writer.close()

    def close(self) -> None:
        async def end() -> None:
            self._server.close()
            await self._server.wait_closed()

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

"""A server of chunk ranges on loopback, over TLS or not, that answers as it should or as it is told to."""

import datetime
import ipaddress
import re
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from release_side import Release

TICKET = "a-ticket"
Answer = Callable[[BaseHTTPRequestHandler, int, int, bytes], None]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Devices hang up; that is what the tests are about."""


class HttpsOrigin:
    """``answer(handler, begin, end, payload)`` replaces the good answer to a range. Use as a context."""

    def __init__(self, release: Release, *, certificate: tuple[Path, Path] | None = None) -> None:
        self.joined = b"".join(release.chunk(n) for n in range(release.chunks))
        self.digest = release.digest
        self.ranges: list[tuple[int, int]] = []
        self.answer: Answer | None = None
        self.let_go = threading.Event()  # ends what an answer of a test waits for
        self._http = _Server(("127.0.0.1", 0), self._handler())
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=lambda: self._http.serve_forever(0.05), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.let_go.set()
        self._http.shutdown()
        self._http.server_close()

    def send(self, handler: BaseHTTPRequestHandler, begin: int, end: int, payload: bytes) -> None:
        """The good answer."""
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(self.joined)}")
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
                if self.path != f"/api/v1/chunks/{origin.digest}" or asked is None:
                    self._refuse(404)
                elif self.headers["Authorization"] != f"Bearer {TICKET}":
                    self._refuse(401)
                else:
                    begin, end = int(asked[1]), int(asked[2]) + 1
                    origin.ranges.append((begin, end))
                    try:
                        (origin.answer or origin.send)(self, begin, end, origin.joined[begin:end])
                    except OSError:
                        self.close_connection = True  # the device hung up

            def _refuse(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


def certificate(folder: Path) -> tuple[Path, Path]:
    """(certificate, key) of 127.0.0.1, self-signed: it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test server")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "server.pem", folder / "server.key"
    paths[0].write_bytes(made.public_bytes(Encoding.PEM))
    paths[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return paths

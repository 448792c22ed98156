"""TLS of the web server: 1.2 and 1.3, forward secrecy only, and the certificate as it is on disk now."""

from __future__ import annotations

import ssl
import threading
import time
from pathlib import Path
from typing import Final

# Of TLS 1.2; 1.3 has only such. All hosts of agents have one of them in hardware or are quick with ChaCha20.
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
LOOK_EVERY_S: Final = 5.0


class WebTls:
    """``context()`` for each new connection: loaded anew when the files have changed (renewed, replaced)."""

    def __init__(self, certificate: Path, key: Path) -> None:
        self._certificate, self._key = certificate, key
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._stamp: tuple[int, int] | None = None
        self._look_at_s = 0.0

    def context(self) -> ssl.SSLContext:
        """Raises OSError when there never was a usable pair."""
        with self._lock:
            if self._context is None or time.monotonic() >= self._look_at_s:
                self._look_at_s = time.monotonic() + LOOK_EVERY_S
                self._load_if_changed()
            if self._context is None:
                raise OSError(f"{self._certificate} and {self._key} cannot be used")
            return self._context

    def _load_if_changed(self) -> None:
        try:
            stamp = (self._certificate.stat().st_mtime_ns, self._key.stat().st_mtime_ns)
            if stamp == self._stamp:
                return
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(CIPHERS)
            context.set_alpn_protocols(["http/1.1"])
            context.load_cert_chain(self._certificate, self._key)
        except OSError:  # being replaced, one file after the other: the one in use still serves
            return
        self._context, self._stamp = context, stamp

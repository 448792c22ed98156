"""Questions that a device answers with its credentials; each is good once and for a minute.

Nothing is kept for a question that was not answered: it carries its end and a MAC by a key that this process
drew. After a restart devices simply ask again.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from edgepress_server.errors import GoneError

LIFE_S: Final = 60.0
_USED_MAX: Final = 100_000  # answered within a minute; past it the oldest could be answered twice


class Challenges:
    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._used: OrderedDict[str, float] = OrderedDict()

    def make(self, device: str) -> str:
        end_ms = int((self._monotonic_s() + LIFE_S) * 1000)
        body = f"{end_ms}.{secrets.token_urlsafe(16)}"
        return f"{body}.{self._mac(device, body)}"

    def use(self, device: str, challenge: str) -> None:
        """Raises GoneError unless it was made for this device, less than a minute ago, and not used yet."""
        body, _, mac = challenge.rpartition(".")
        now_s = self._monotonic_s()
        # isascii: compare_digest takes no other text, and nothing of ours is other
        known = mac.isascii() and hmac.compare_digest(mac, self._mac(device, body))
        end_s = int(body.partition(".")[0]) / 1000 if known else 0.0
        with self._lock:
            while self._used and next(iter(self._used.values())) <= now_s:
                self._used.popitem(last=False)
            if not known or end_s <= now_s or challenge in self._used:
                raise GoneError(
                    "challenge", "This challenge is not good (any longer). Ask for another one and try again."
                )
            self._used[challenge] = now_s + LIFE_S
            if len(self._used) > _USED_MAX:
                self._used.popitem(last=False)

    def _mac(self, device: str, body: str) -> str:
        digest = hmac.digest(self._key, f"{device}\0{body}".encode("utf-8", "replace"), "sha256")
        return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")

"""Tickets: a device shows one to fetch chunks over HTTPS instead of MQTT.

::

    {device}.{expires, Unix s}.{first 16 hex of the artifact's digest}.{HMAC-SHA256 of what stands before it}

Chunks are encrypted, so a ticket only says who may take up the server's time and line. It travels in the
device's want; nothing is stored for it, and a revoked device's is refused by its name.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from edgepress_devices.protocol import DEVICE_NAME
from edgepress_server.errors import UnauthenticatedError

SECRET_BYTES: Final = 32
_MAC_BYTES: Final = 16
_MAX_CHARS: Final = 200


@dataclass(frozen=True)
class Ticket:
    device: str
    digest_start: str  # of the artifact that the device is to run; deltas to it are meant, too


def make_ticket(secret: bytes, *, device: str, digest: str, expires_s: int) -> str:
    """``expires_s``: Unix seconds, the want's own."""
    said = f"{device}.{expires_s}.{digest[:16]}"
    return f"{said}.{_mac(secret, said)}"


def read_ticket(secret: bytes, text: str, *, now_s: int) -> Ticket:
    """Raises UnauthenticatedError for one that is not ours, or has expired."""
    said, _, mac = text[:_MAX_CHARS].rpartition(".")
    parts = said.split(".")
    if len(parts) != 3 or not hmac.compare_digest(mac.encode(), _mac(secret, said).encode()):
        raise UnauthenticatedError("bad_ticket", "The ticket is not one of this server's.")
    device, expires, digest_start = parts
    if not DEVICE_NAME.fullmatch(device) or not expires.isdigit() or int(expires) <= now_s:
        raise UnauthenticatedError(
            "ticket_expired", "The ticket has expired; the device's next want brings a new one."
        )
    return Ticket(device, digest_start)


def _mac(secret: bytes, said: str) -> str:
    mac = hmac.new(secret, said.encode("utf-8", "replace"), hashlib.sha256).digest()[:_MAC_BYTES]
    return base64.urlsafe_b64encode(mac).decode("ascii").rstrip("=")

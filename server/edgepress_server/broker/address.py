"""Where a broker is reached, and as whom."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class BrokerAddress:
    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    mqtt5: bool = True  # tried first; falls back to 3.1.1 where the broker does not know it
    retained_per_filter: int | None = None  # it hands out no more to who subscribes; None: all
    socket: Path | None = None  # of a broker on this machine: instead of host and port

    def __str__(self) -> str:
        return str(self.socket) if self.socket is not None else f"{self.host}:{self.port}"

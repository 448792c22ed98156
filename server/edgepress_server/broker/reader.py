"""An account that only reads: Home Assistant, which hears what the server announces and says nothing.

the server        publishes   below its discovery prefix
edgepress_reader  subscribes  below that, below ep/1/ha, and to the server's state
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from edgepress_devices.protocol import PREFIX, SERVER_STATE_TOPIC

READER_USER: Final = "edgepress_reader"  # "_" is in no device's name
PASSWORD_FILE: Final = "reader-password"  # noqa: S105 - the name of a file below DIR/broker
HOME_TOPIC: Final = f"{PREFIX}/ha"


@dataclass(frozen=True)
class Reader:
    prefix: str = "homeassistant"
    password: str | None = None  # None: there is no such account

    @property
    def filters(self) -> tuple[str, ...]:
        """What it may subscribe to."""
        return f"{self.prefix}/#", f"{HOME_TOPIC}/#", SERVER_STATE_TOPIC

"""The embedded broker: iotcore (rumqttd) in the broker role's process. Loopback only: it knows no users."""

from __future__ import annotations

import logging
from typing import Final

import iotcore

from edgepress_server.settings import Settings

# Its default refuses, by hanging up, whatever is larger than 20 KB; a chunk has 64,000 and telemetry 262,144.
MAX_PAYLOAD_BYTES: Final = 400_000
MAX_INFLIGHT: Final = 1000


def run_embedded(settings: Settings) -> None:
    """Serve until the process ends; the native broker has no other way to stop."""
    # rumqttd logs every packet as an error, and its spans say nothing to a person.
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    logging.getLogger("tracing").setLevel(logging.WARNING)
    iotcore.Broker(
        port=settings.mqtt_port,
        listen=settings.mqtt_host,
        max_payload_size=MAX_PAYLOAD_BYTES,
        max_inflight_count=MAX_INFLIGHT,
    ).run_forever()

"""The peer: what the broker alone fans out to the same clients, who do nothing with what they get."""

from __future__ import annotations

import secrets
import time

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from delivery_cases.fleet import Fleet
from delivery_cases.worker import Workers
from edgepress_devices.protocol import CHUNK_PLAIN_BYTES, GCM_TAG_BYTES, chunk_count, chunk_topic
from edgepress_server.settings import SERVER_USER


def fan_out(fleet: Fleet, workers: Workers, artifact_bytes: int) -> float:
    """Seconds from the first subscription to the last chunk at the last client.

    The chunks are of the sizes of an artifact's, retained beforehand, and fetched by the agent's window.
    """
    digest, count = secrets.token_hex(32), chunk_count(artifact_bytes)
    last = artifact_bytes - (count - 1) * CHUNK_PLAIN_BYTES
    payloads = [secrets.token_bytes(CHUNK_PLAIN_BYTES + GCM_TAG_BYTES)] * (count - 1)
    payloads.append(secrets.token_bytes(last + GCM_TAG_BYTES))
    _publish(fleet, digest, payloads)
    began_s = time.monotonic()
    over_s = max(workers.ask_all("subscribe", digest, count))
    _publish(fleet, digest, [b""] * count)
    return over_s - began_s


def _publish(fleet: Fleet, digest: str, payloads: list[bytes]) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="bench-peer")
    password = (fleet.server.data_dir / "broker" / "server-password").read_text()
    client.username_pw_set(SERVER_USER, password)
    client.connect(fleet.host, fleet.port)
    client.loop_start()
    for n, payload in enumerate(payloads):
        client.publish(chunk_topic(digest, n), payload, qos=1, retain=True).wait_for_publish(30.0)
    client.disconnect()
    client.loop_stop()

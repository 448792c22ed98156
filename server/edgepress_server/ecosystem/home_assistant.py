"""What Home Assistant is told about a device: MQTT discovery, and its figures as JSON.

    PREFIX/device/edgepress-NAME/config   retained: a device and its entities (Home Assistant 2024.11 on)
    ep/1/ha/NAME                          retained: {"online": true, "p95_ms": 12.3, ...}

Telemetry itself is msgpack, which no template of Home Assistant reads. A figure that a device cannot measure
has no entity; one that is missing now is null, which Home Assistant shows as unknown. Entities are
unavailable while the server is not on the broker (``ep/1/server/state``), and, but for the one that says so,
while the device is not.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from edgepress_devices import __version__
from edgepress_devices.histogram import quantile
from edgepress_devices.protocol import SERVER_STATE_TOPIC, Sample
from edgepress_server.broker.reader import HOME_TOPIC

FRESH_MS: Final = 5 * 60_000  # an older sample says nothing about now
DIGEST_CHARS: Final = 12


@dataclass(frozen=True)
class HomeDevice:
    name: str
    profile: str
    online: bool
    agent_version: str | None
    board: str | None
    model: str | None  # that it runs
    running: str | None  # artifact
    wanted: str | None  # artifact


@dataclass(frozen=True)
class Entity:
    key: str  # in the state
    platform: str
    name: str
    unit: str | None = None
    device_class: str | None = None
    always: bool = False  # else only where the device has measured it


ENTITIES: Final = (
    Entity("p95_ms", "sensor", "Latency p95", "ms", "duration"),
    Entity("requests_per_s", "sensor", "Requests", "1/s", None, always=True),
    Entity("errors_per_s", "sensor", "Failed requests", "1/s", None, always=True),
    Entity("temp_c", "sensor", "Temperature", "°C", "temperature"),
    Entity("power_w", "sensor", "Power", "W", "power"),
    Entity("cpu_percent", "sensor", "CPU", "%", None),
    Entity("memory_mb", "sensor", "Memory of the agent", "MB", "data_size"),
    Entity("battery_percent", "sensor", "Battery", "%", "battery"),
    Entity("throttled", "binary_sensor", "Throttled", None, "problem"),
)


def discovery_topic(prefix: str, device: str) -> str:
    return f"{prefix}/device/edgepress-{device}/config"


def state_topic(device: str) -> str:
    return f"{HOME_TOPIC}/{device}"


def state_of(device: HomeDevice, sample: Sample | None, now_ms: int) -> dict[str, Any]:
    """Values are rounded to what a person reads: noise below that is no news."""
    fresh = sample if sample is not None and now_ms - sample.at_ms <= FRESH_MS else None
    state: dict[str, Any] = {
        "online": device.online,
        "model": device.model or "",
        "running": (device.running or "")[:DIGEST_CHARS],
        "wanted": (device.wanted or device.running or "")[:DIGEST_CHARS],
        **{entity.key: None for entity in ENTITIES},
    }
    if fresh is None:
        return state
    if fresh.latency_us is not None:
        p95_us = quantile(fresh.latency_us, 0.95)
        state["p95_ms"] = None if p95_us is None else round(p95_us / 1000, 2)
    if fresh.interval_ms:
        state["requests_per_s"] = round(fresh.inferences * 1000 / fresh.interval_ms, 1)
        state["errors_per_s"] = round(fresh.errors * 1000 / fresh.interval_ms, 2)
    state["temp_c"] = _rounded(fresh.temp_c, 1)
    state["power_w"] = None if fresh.power_mw is None else round(fresh.power_mw.value / 1000, 2)
    state["cpu_percent"] = _rounded(fresh.cpu_percent, 0)
    state["memory_mb"] = None if fresh.rss_bytes is None else round(fresh.rss_bytes / 1e6)
    state["battery_percent"] = _rounded(fresh.battery_percent, 0)
    state["throttled"] = fresh.throttled
    return state


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def state_payload(state: dict[str, Any]) -> bytes:
    return json.dumps(state, separators=(",", ":")).encode()


def measured(state: dict[str, Any]) -> frozenset[str]:
    """Keys of the entities that the device has figures for."""
    return frozenset(entity.key for entity in ENTITIES if entity.always or state[entity.key] is not None)


def discovery_payload(device: HomeDevice, keys: frozenset[str], url: str) -> bytes:
    """``keys``: entities that the device ever had figures for."""
    topic = state_topic(device.name)
    server = {
        "topic": SERVER_STATE_TOPIC,
        "value_template": "{{ 'online' if value_json.online else 'offline' }}",
    }
    connected = {"topic": topic, "value_template": "{{ 'online' if value_json.online else 'offline' }}"}
    components: dict[str, Any] = {
        "online": {
            "platform": "binary_sensor",
            "name": "Connected",
            "unique_id": f"edgepress-{device.name}-online",
            "device_class": "connectivity",
            "value_template": "{{ 'ON' if value_json.online else 'OFF' }}",
            "availability": [server],
        },
        "model": {
            "platform": "update",
            "name": "Model",
            "unique_id": f"edgepress-{device.name}-model",
            "value_template": "{{ {'installed_version': value_json.running, 'latest_version': "
            "value_json.wanted, 'title': value_json.model} | tojson }}",
            "availability": [server],
        },
    }
    for entity in ENTITIES:
        if entity.key not in keys:
            continue
        on_off = entity.platform == "binary_sensor"
        template = f"'ON' if value_json.{entity.key} else 'OFF'" if on_off else f"value_json.{entity.key}"
        component: dict[str, Any] = {
            "platform": entity.platform,
            "name": entity.name,
            "unique_id": f"edgepress-{device.name}-{entity.key}",
            "value_template": "{{ " + template + " }}",
            "availability": [server, connected],
            "availability_mode": "all",
        }
        if entity.platform == "sensor":
            component["state_class"] = "measurement"
        if entity.unit is not None:
            component["unit_of_measurement"] = entity.unit
        if entity.device_class is not None:
            component["device_class"] = entity.device_class
        components[entity.key] = component
    about = {
        "identifiers": [f"edgepress-{device.name}"],
        "name": device.name,
        "manufacturer": "edgepress",
        "model": device.board or device.profile,
        "sw_version": device.agent_version,
        "configuration_url": f"{url}/devices/{device.name}",
    }
    body = {
        "device": {key: value for key, value in about.items() if value},
        "origin": {"name": "edgepress", "sw_version": __version__},
        "state_topic": topic,
        "components": components,
    }
    return json.dumps(body, separators=(",", ":")).encode()

"""Metrics of the server itself: its roles, its broker, its disk, what is in the store."""

from __future__ import annotations

import shutil
from typing import Any, Final

from edgepress_devices import __version__
from edgepress_server.ecosystem.families import Family
from edgepress_server.ecosystem.otlp_status import FACT_STATUS
from edgepress_server.store import Store
from edgepress_server.store.exposed import Exposed
from edgepress_server.store.facts import HEARTBEAT_STALE_MS, RoleName

ROLES: Final[tuple[RoleName, ...]] = ("link", "worker", "broker")
ROLLOUTS_MAX: Final = 20


def server_families(store: Store) -> list[Family]:
    """Raises StoreError."""
    exposed = Exposed(store.database)
    info = Family("edgepress_build_info", "gauge", "1; which version this is")
    info.add(1.0, version=__version__)
    return [
        info,
        *_role_families(store),
        *_disk_families(store),
        *_device_families(exposed),
        *_work_families(exposed),
        *_alert_families(exposed),
        *_otlp_families(store),
    ]


def _role_families(store: Store) -> list[Family]:
    up = Family("edgepress_role_up", "gauge", "1: this part of the server gave a sign of life lately")
    age = Family("edgepress_role_heartbeat_age_seconds", "gauge", "Since the last sign of life")
    connected = Family("edgepress_broker_connected", "gauge", "1: the server is connected to its MQTT broker")
    up.add(1.0, role="web")
    now_ms = store.now_ms()
    for role in ROLES:
        said: Any = store.facts.get(f"role.{role}")
        at = int(said["at"]) if isinstance(said, dict) and "at" in said else None
        if at is None:
            continue
        up.add(1.0 if now_ms - at <= HEARTBEAT_STALE_MS else 0.0, role=role)
        age.add(max(0, now_ms - at) / 1000, role=role)
    link = store.facts.role("link")
    connected.add(1.0 if link is not None and link.get("mqtt_connected") else 0.0)
    return [up, age, connected]


def _disk_families(store: Store) -> list[Family]:
    size = Family("edgepress_database_size_bytes", "gauge", "Of the database's files on disk")
    path = store.database.path
    for part, suffix in (("main", ""), ("wal", "-wal")):
        try:
            size.add((path.parent / (path.name + suffix)).stat().st_size, part=part)
        except FileNotFoundError:  # between two runs there is no -wal
            continue
    free = Family("edgepress_data_disk_free_bytes", "gauge", "On the file system of the data folder")
    free.add(shutil.disk_usage(store.data_dir).free)
    return [size, free]


def _device_families(exposed: Exposed) -> list[Family]:
    devices = Family("edgepress_devices", "gauge", "Devices by profile and status")
    for (profile, status), n in sorted(exposed.devices().items()):
        devices.add(n, profile=profile, status=status)
    agents = Family("edgepress_agents", "gauge", "Enrolled devices by version of the agent")
    for version, n in sorted(exposed.agents().items()):
        agents.add(n, version=version)
    quarantined = Family("edgepress_quarantined", "counter", "Messages of devices that could not be read")
    quarantined.add(exposed.quarantined())
    events = Family("edgepress_events", "counter", "Events written")
    events.add(exposed.events())
    return [devices, agents, quarantined, events]


def _work_families(exposed: Exposed) -> list[Family]:
    jobs = Family("edgepress_jobs", "gauge", "Compression jobs by state")
    for state, n in sorted(exposed.jobs().items()):
        jobs.add(n, state=state)
    rollouts = Family("edgepress_rollouts", "gauge", "Rollouts by state")
    for state, n in sorted(exposed.rollouts().items()):
        rollouts.add(n, state=state)
    devices = Family(
        "edgepress_rollout_devices", "gauge", f"Devices of the {ROLLOUTS_MAX} newest rollouts under way"
    )
    for count in exposed.rollout_devices(ROLLOUTS_MAX):
        devices.add(
            count.devices,
            rollout=count.rollout,
            model=count.model,
            stage=count.stage,
            state=count.device_state,
        )
    return [jobs, rollouts, devices]


def _alert_families(exposed: Exposed) -> list[Family]:
    firing = Family("edgepress_alerts_firing", "gauge", "Devices or groups for which an alert fires now")
    for rule, severity, subjects in exposed.alerts():
        firing.add(subjects, rule=rule, severity=severity)
    return [firing]


def _otlp_families(store: Store) -> list[Family]:
    """Of the push to an OpenTelemetry collector, since the worker started."""
    status: Any = store.facts.get(FACT_STATUS)
    points = Family("edgepress_otlp_points", "counter", "Data points pushed, by what became of them")
    waiting = Family("edgepress_otlp_waiting_bytes", "gauge", "Requests that wait for the collector")
    if isinstance(status, dict):
        for outcome in ("sent", "rejected", "refused", "dropped"):
            points.add(float(status.get(outcome, 0)), outcome=outcome)
        waiting.add(float(status.get("waiting_bytes", 0)))
    return [points, waiting]

"""A device with what stands about it elsewhere in the store: newest sample, want, what it runs. Read only."""

from __future__ import annotations

from dataclasses import dataclass

from edgepress_devices.protocol import Sample
from edgepress_server.store.database import Database
from edgepress_server.store.devices import Device, Devices
from edgepress_server.store.telemetry_read import TelemetryRead


@dataclass(frozen=True)
class WantView:
    digest: str | None
    counter: int
    rollout: str | None


@dataclass(frozen=True)
class DeviceView:
    device: Device
    running_model: str | None
    running_recipe: str | None
    want: WantView | None
    latest: Sample | None


class DeviceViews:
    def __init__(self, database: Database, devices: Devices, telemetry: TelemetryRead) -> None:
        self._database = database
        self._devices = devices
        self._telemetry = telemetry

    def all(self) -> list[DeviceView]:
        """Every device, by name: four queries, however many there are."""
        with self._database.snapshot():
            return self._views(self._devices.list(), None)

    def get(self, name: str) -> DeviceView:
        """Raises NotFoundError."""
        with self._database.snapshot():
            return self._views([self._devices.get(name)], name)[0]

    def _views(self, devices: list[Device], only: str | None) -> list[DeviceView]:
        latest = self._telemetry.latest(only)
        wants = {
            row["device"]: WantView(row["digest"], row["counter"], row["rollout"])
            for row in self._database.rows(
                "SELECT device, digest, counter, rollout FROM wants WHERE ? IS NULL OR device = ?",
                (only, only),
            )
        }
        artifacts = {
            row["digest"]: row for row in self._database.rows("SELECT digest, model, recipe FROM artifacts")
        }
        views = []
        for device in devices:
            running = artifacts.get(device.state.running or "") if device.state is not None else None
            views.append(
                DeviceView(
                    device,
                    running["model"] if running is not None else None,
                    running["recipe"] if running is not None else None,
                    wants.get(device.name),
                    latest.get(device.name),
                )
            )
        return views

"""Metrics of single devices, from the newest sample of each: as many devices as were asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgepress_devices.histogram import quantile
from edgepress_devices.metrics import METRICS, Metric
from edgepress_devices.protocol import Sample
from edgepress_server.ecosystem.families import Family
from edgepress_server.ecosystem.fleet_families import DIGEST_CHARS
from edgepress_server.ecosystem.names import factor, prometheus_name

FRESH_MS: Final = 5 * 60_000  # an older sample says nothing about now
QUANTILES: Final = (0.5, 0.95, 0.99)

_GAUGES: Final = tuple(
    metric for metric in METRICS if metric.kind != "count" and metric.name in Sample.__struct_fields__
)


@dataclass(frozen=True)
class DeviceLook:
    name: str
    profile: str
    online: bool
    seen_at: int | None  # Unix ms
    running: str | None  # artifact


def device_families(
    devices: Sequence[DeviceLook],
    latest: Mapping[str, Sample],
    models: Mapping[str, str],
    *,
    most: int,
    now_ms: int,
) -> list[Family]:
    """``devices``: enrolled, in an order that does not change. 0 for ``most`` leaves all of them out."""
    up = Family("edgepress_device_up", "gauge", "1: the device is connected")
    seen = Family("edgepress_device_seen_timestamp_seconds", "gauge", "When the device last said something")
    info = Family("edgepress_device_info", "gauge", "1; what the device is and runs")
    latency = Family("edgepress_device_latency_seconds", "gauge", "Latency of the newest interval")
    rate = Family("edgepress_device_inferences_per_second", "gauge", "Inferences of the newest interval")
    errors = Family("edgepress_device_errors_per_second", "gauge", "Failed requests of the newest interval")
    gauges = [
        (metric, Family(prometheus_name(metric, scope="device"), "gauge", metric.title)) for metric in _GAUGES
    ]
    for device in devices[:most]:
        labels = {"device": device.name, "profile": device.profile}
        up.add(1.0 if device.online else 0.0, **labels)
        seen.add(None if device.seen_at is None else device.seen_at / 1000, **labels)
        running = device.running or ""
        info.add(1.0, **labels, model=models.get(running, ""), artifact=running[:DIGEST_CHARS])
        sample = latest.get(device.name)
        if sample is None or now_ms - sample.at_ms > FRESH_MS:
            continue
        for metric, family in gauges:
            family.add(_value(sample, metric), **labels)
        if sample.interval_ms:
            rate.add(sample.inferences * 1000 / sample.interval_ms, **labels)
            errors.add(sample.errors * 1000 / sample.interval_ms, **labels)
        if sample.latency_us is not None:
            for q in QUANTILES:
                value = quantile(sample.latency_us, q)
                latency.add(None if value is None else value / 1e6, **labels, quantile=f"{q:g}")
    left_out = Family(
        "edgepress_metrics_devices_left_out", "gauge", f"Devices beyond the {most} that are shown one by one"
    )
    left_out.add(max(0, len(devices) - most))
    return [up, seen, info, latency, rate, errors, *(family for _, family in gauges), left_out]


def _value(sample: Sample, metric: Metric) -> float:
    value = getattr(sample, metric.name)
    if value is None:
        return np.nan
    return float(getattr(value, "value", value)) * factor(metric)

"""Samples as a board would send them: 25 metrics and a latency histogram, with the noise and the steps of
real sensors.

What the figures look like follows what the sensors of `edgepress_devices.sensors` read: temperatures of a
Pi come in steps of 0.55 degrees C, CPU time in ticks of 10 ms, memory in pages, a wireless signal in dB.
Noise is drawn for every sample; nothing repeats.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from edgepress_devices.protocol import ErrorKinds, Histogram, Reading, Sample

ARTIFACT: Final = "ab" * 32
METRICS: Final = (  # what a board's sample tells, of `edgepress_devices.metrics`
    "covered_ms", "inferences", "errors", "rss_bytes", "mem_used_bytes", "mem_total_bytes", "cpu_percent",
    "agent_cpu_percent", "temp_c", "throttled", "power_mw", "energy_mj", "battery_percent", "disk_free_bytes",
    "errors_input", "errors_runtime", "errors_timeout", "errors_busy", "swap_used_bytes", "cpu_mhz",
    "disk_read_bytes", "disk_written_bytes", "net_rx_bytes", "net_tx_bytes", "wifi_dbm",
)  # fmt: skip
_SCALE: Final = 5
_PER_SECOND: Final = 30.0  # inferences
_TICKS: Final = 400.0  # of four cores in a second
_CLOCKS_MHZ: Final = np.array([1500.0, 1800.0, 2400.0])


def samples(
    seed: int,
    count: int,
    start_ms: int,
    *,
    interval_ms: int = 1000,
    artifact: str = ARTIFACT,
    latencies: list[np.ndarray] | None = None,
) -> list[Sample]:
    """``count`` samples of the board ``seed``, the first ends at ``start_ms``. ``latencies`` takes each
    sample's latencies one by one, in microseconds, as they were before they became a histogram.
    """
    rng = np.random.default_rng(seed)
    seconds = interval_ms / 1000
    inferences = rng.poisson(_PER_SECOND * seconds, count)
    histograms = _latencies(rng, inferences, latencies)
    load = np.clip(0.45 + _wander(rng, count, 0.02, 0.98) + rng.normal(0, 0.03, count), 0.02, 1.0)
    cpu = np.round(load * _TICKS) / _TICKS * 100
    temp = np.round((52 + 20 * (load - 0.45) + _wander(rng, count, 0.15, 0.995)) / 0.55) * 0.55
    power = np.round((3200 + 2600 * load + rng.normal(0, 45, count)) / 4) * 4
    energy = np.maximum(0.0, (power - 2700) * seconds / np.maximum(1, inferences))
    rss = (61_000_000 + np.cumsum(rng.random(count) < 0.02) * 4096) // 4096 * 4096
    used = (1_400_000_000 + _wander(rng, count, 300_000, 0.99)).astype(np.int64) // 1024 * 1024
    written = (rng.random(count) < 0.25) * rng.poisson(12, count) * 4096
    read = (rng.random(count) < 0.03) * rng.poisson(20, count) * 4096
    received = rng.poisson(2400, count) + (rng.random(count) < 0.1) * rng.poisson(30_000, count)
    sent = rng.poisson(3600, count)
    free = 11_000_000_000 // 4096 * 4096 - np.cumsum(written)
    wifi = np.round(-58 + _wander(rng, count, 0.6, 0.97))
    clock = _CLOCKS_MHZ[np.searchsorted([0.4, 0.5], load)]
    errors = (rng.random((count, 4)) < [0.002, 0.0005, 0.001, 0.003]).astype(np.int64)
    agent_cpu = rng.poisson(0.7 * seconds, count) / seconds
    battery = np.ceil(97 - np.arange(count) * seconds / 1000)
    return [
        Sample(
            at_ms=start_ms + i * interval_ms,
            interval_ms=interval_ms,
            artifact=artifact,
            inferences=int(inferences[i]),
            errors=int(errors[i].sum()),
            latency_us=histograms[i],
            rss_bytes=int(rss[i]),
            mem_used_bytes=int(used[i]),
            mem_total_bytes=4_045_144_064,
            cpu_percent=float(cpu[i]),
            temp_c=float(temp[i]),
            throttled=bool(temp[i] > 80),
            power_mw=Reading(float(power[i]), "pmic", "board"),
            energy_mj=Reading(float(energy[i]), "pmic - idle", "board"),
            battery_percent=float(max(1.0, battery[i])),
            agent_cpu_percent=float(agent_cpu[i]),
            disk_free_bytes=int(free[i]),
            error_kinds=ErrorKinds(*(int(n) for n in errors[i])),
            swap_used_bytes=104_857_600,
            cpu_mhz=float(clock[i]),
            disk_read_bytes=int(read[i]),
            disk_written_bytes=int(written[i]),
            net_rx_bytes=int(received[i]),
            net_tx_bytes=int(sent[i]),
            wifi_dbm=float(wifi[i]),
        )
        for i in range(count)
    ]


def _wander(rng: np.random.Generator, count: int, step: float, back: float) -> np.ndarray:
    """[count] a first-order autoregression around 0."""
    noise = rng.normal(0, step, count)
    values, at = np.empty(count), 0.0
    for i in range(count):
        at = back * at + noise[i]
        values[i] = at
    return values


def _latencies(
    rng: np.random.Generator, inferences: np.ndarray, kept: list[np.ndarray] | None
) -> list[Histogram | None]:
    """A model of 8 ms or so on this board: log-normal, and one in fifty takes twice as long."""
    total = int(inferences.sum())
    values = np.exp(rng.normal(math.log(8000 * rng.uniform(0.5, 2.0)), 0.06, total))
    values *= np.where(rng.random(total) < 0.02, 2.0, 1.0)
    buckets = np.ceil(np.log2(values) * 2**_SCALE).astype(np.int64) - 1
    ends = np.cumsum(inferences)
    made: list[Histogram | None] = []
    for end, count in zip(ends.tolist(), inferences.tolist(), strict=True):
        mine = buckets[end - count : end]
        if kept is not None:
            kept.append(values[end - count : end])
        if count == 0:
            made.append(None)
            continue
        low = int(mine.min())
        made.append(Histogram(_SCALE, low, np.bincount(mine - low).tolist()))
    return made

"""Stores and seals as fast as it can, to be killed: ``python killed_ingest.py FOLDER FIRST LAST``.

Batch n of each device is the minute n of a long day; the clock goes on with it. What is printed is
acknowledged.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgepress_devices.protocol import Histogram, Reading, Sample, TelemetryBatch
from edgepress_server.store import Store, open_store
from edgepress_server.store.telemetry import Received

START_MS = 1_800_000_000_000 // 86_400_000 * 86_400_000
DEVICES = ("one", "two", "three")
SAMPLES = 20


def batch(device: str, number: int) -> TelemetryBatch:
    """The same whenever it is asked for."""
    seed = 7919 * number + 31 * DEVICES.index(device)
    samples = [
        Sample(
            START_MS + number * 60_000 + i * 2500,
            2500,
            ("ab" * 32, "cd" * 32)[number // 30 % 2],
            (seed + i) % 50,
            latency_us=Histogram(5, 400 + seed % 9, [1 + i % 3, (seed + i) % 50]),
            rss_bytes=1024 * (50_000 + (seed * i) % 997),
            power_mw=Reading(2000 + (seed + i) % 100 / 10, "pmic", "board"),
        )
        for i in range(SAMPLES)
    ]
    return TelemetryBatch(1, "epoch", number, samples, sent_at_ms=START_MS + (number + 1) * 60_000)


def main() -> None:
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    now = [START_MS + first * 60_000]
    store = open_store(folder, lambda: now[0])
    for number in range(first, last + 1):
        now[0] = START_MS + (number + 1) * 60_000
        store.telemetry.store([Received(device, now[0], batch(device, number)) for device in DEVICES])
        print(number, flush=True)
        settle(store)
    store.close()


def settle(store: Store) -> None:
    """Everything that is due."""
    while store.telemetry.step():
        pass


if __name__ == "__main__":
    main()

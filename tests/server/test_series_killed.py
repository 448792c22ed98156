"""kill -9 in the middle of storing, sealing and compacting: what was acknowledged counts, and counts once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import killed_ingest
import pytest
from killed_ingest import DEVICES, START_MS, batch, settle

from edgepress_devices.metrics import BY_NAME, INDEX
from edgepress_devices.protocol import Hardware
from edgepress_server.store import Store, open_store
from edgepress_server.store.series.keys import FLEET, SeriesKey
from edgepress_server.store.telemetry import Received

BATCHES = 250
DAY_MS = 86_400_000


def sums_of(number_of: dict[str, int]) -> Counter[str]:
    """What the first so many batches of each device add up to, in steps of the metric's resolution."""
    sums: Counter[str] = Counter()
    for device, last in number_of.items():
        for number in range(1, last + 1):
            for sample in batch(device, number).samples:
                sums["covered_ms"] += sample.interval_ms
                sums["inferences"] += sample.inferences
                sums["rss_bytes"] += BY_NAME["rss_bytes"].steps(sample.rss_bytes or 0)
                sums["power_mw"] += BY_NAME["power_mw"].steps(sample.power_mw.value if sample.power_mw else 0)
                sums["latencies"] += sum(sample.latency_us.counts) if sample.latency_us else 0
                sums["samples"] += 1
    return sums


def stored(store: Store, key: SeriesKey, span: str) -> Counter[str]:
    frame = store.series_read.frame(key, START_MS, START_MS + DAY_MS, span=span, histograms=("latency_us",))  # type: ignore[arg-type]
    names = ("covered_ms", "inferences", "rss_bytes", "power_mw")
    sums = Counter({name: int(frame.sums[:, INDEX[name]].sum()) for name in names})
    sums["latencies"] = int(frame.histograms["latency_us"].totals().sum())
    sums["samples"] = int(frame.counts[:, INDEX["covered_ms"]].sum())
    return sums


def run_until_killed(folder: Path, first: int, rng: random.Random) -> tuple[int, bool]:
    """(the newest batch that was acknowledged, whether it came to its end)."""
    process = subprocess.Popen(
        [sys.executable, killed_ingest.__file__, str(folder), str(first), str(BATCHES)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    wait_for, delay_s = rng.randint(5, 50), rng.uniform(0.0, 0.03)
    timer: threading.Timer | None = None
    last = first - 1
    for line in process.stdout:
        last = int(line)
        if last - first == wait_for:
            timer = threading.Timer(delay_s, os.kill, (process.pid, signal.SIGKILL))
            timer.start()
    process.stdout.close()
    code = process.wait()
    if timer is not None:
        timer.cancel()
    assert code in (0, -signal.SIGKILL)
    return last, code == 0


@pytest.mark.fault("kill -9", "while it stores and seals: every sum is exact, every batch counts once")
def test_a_store_killed_while_it_ingests_and_seals_adds_up(tmp_path: Path) -> None:
    rng = random.Random(7)
    prepared = open_store(tmp_path, lambda: START_MS)
    for device in DEVICES:
        prepared.devices.register(device, "x86-pc", {"site": "a"}, actor=None)
        code, _ = prepared.devices.new_code(device, actor=None)
        prepared.devices.enrol(code, "a2V5" * 10, Hardware(), "0.7.0")
    prepared.close()
    first, kills, ended = 1, 0, False
    while not ended:
        acknowledged, ended = run_until_killed(tmp_path, first, rng)
        kills += not ended
        first = acknowledged + 1  # a device sends again what was not acknowledged to it
    assert kills >= 3

    expected = sums_of(dict.fromkeys(DEVICES, BATCHES))
    now = START_MS + (BATCHES + 200) * 60_000
    store = open_store(tmp_path, lambda: now)
    store.database.check()
    for settled in (False, True):
        if settled:
            settle(store)
        for span in ("minute", "hour"):
            assert stored(store, FLEET, span) == expected, (span, settled)
            each = [stored(store, SeriesKey("device", device), span) for device in DEVICES]
            assert sum(each, Counter()) == expected, (span, settled)
    raw = [stored(store, SeriesKey("device", device), "raw") for device in DEVICES]
    assert sum(raw, Counter()) == expected
    again = store.telemetry.store([Received(device, now, batch(device, BATCHES)) for device in DEVICES])
    assert set(again.values()) == {BATCHES}
    assert stored(store, FLEET, "minute") == expected
    store.close()

"""Ingest of device batches over a real broker into the real store, against sqlite3's executemany."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

from edgepress_devices.metrics import INDEX, METRICS
from edgepress_server.store import Store
from edgepress_server.store.series.keys import FLEET
from telemetry_cases.case import Options, Row
from telemetry_cases.load import Load, Order, Sent, names, templates
from telemetry_cases.packets import SAMPLES, steps
from telemetry_cases.plain import rows_per_s
from telemetry_cases.server import Server, serving

TITLE: Final = "Ingest: batches of 10 samples, 25 metrics and a histogram each, QoS 1, rollups and sealing on"
DEVICES: Final = 60_000
WINDOW: Final = 16_000  # batches of the fleet that wait for their acknowledgement
TARGET_PER_S: Final = 60_000
PEER_SHARE: Final = 0.6


def measure(options: Options) -> Iterator[Row]:
    devices = options.devices or DEVICES
    folder = options.folder / "ingest"
    folder.mkdir()
    peer_s = max(2.0, min(20.0, options.seconds / 10))
    samples = [sample for template in templates() for sample in template.samples]
    bare = rows_per_s(folder, samples, peer_s, indexed=False)
    plain = [rows_per_s(folder, samples, peer_s)]
    with serving(folder / "run", names(devices), options.broker) as (server, store):
        measured = Measured(server, store, devices, options.seconds)
        yield from measured.rows()
    plain.append(rows_per_s(folder, samples, peer_s))
    rate, alone = measured.per_s, statistics.mean(plain)
    yield Row(
        case="ingest",
        what="  of executemany on the same rows",
        measured=f"{rate / alone:.0%}",
        peer=f"before and after: {plain[0]:,.0f} and {plain[1]:,.0f} rows/s; {bare:,.0f} without an index",
        target=f"{PEER_SHARE:.0%} or more",
        met=rate / alone >= PEER_SHARE,
        numbers={"share": rate / alone, "plain_per_s": plain, "bare_per_s": bare},
    )


class Measured:
    """One run of the load against one server."""

    def __init__(self, server: Server, store: Store, devices: int, seconds: float) -> None:
        self._server, self._store = server, store
        load = Load(Order("127.0.0.1", server.port, server.credentials, devices, seconds, WINDOW))
        try:
            before, began = server.cpu_s(), time.monotonic()
            bytes_before = server.store_bytes()
            load.start()
            while not load.is_over(5.0):
                pass
            after = server.cpu_s()
            self.sent = load.result()
        finally:
            load.close()
        lasted = time.monotonic() - began
        self.cpu = {name: (after[name] - before.get(name, 0.0)) / lasted for name in after}
        self.cpu["load"] = self.sent.cpu_s / lasted
        self.per_s = self.sent.acknowledged * SAMPLES / self.sent.stored_s
        self.peak_bytes = server.rss_peak_bytes("link")
        self.grown_bytes = server.store_bytes() - bytes_before
        self._devices = devices

    def rows(self) -> Iterator[Row]:
        sent = self.sent
        yield Row(
            case="ingest",
            what=f"samples stored, {self._devices} devices, {self._server.broker} broker",
            measured=f"{self.per_s:,.0f} samples/s over {sent.stored_s:.0f} s",
            peer=f"{self.per_s / self._devices:.2f} samples a second of each device",
            target=f"{TARGET_PER_S:,} samples/s",
            met=self.per_s >= TARGET_PER_S,
            numbers={
                "per_s": self.per_s,
                "seconds": sent.stored_s,
                "batches": sent.batches,
                "again": sent.again,
                "broker": self._server.broker,
                "sent_bytes": sent.bytes,
            },
        )
        wrong = self._wrong()
        lost = sent.batches - sent.acknowledged
        yield Row(
            case="ingest",
            what="  sums in the store against what was sent",
            measured="equal, every metric" if not wrong else f"differ: {wrong}",
            peer=f"{sent.batches:,} batches, {lost} not acknowledged, {sent.again} travelled again",
            target="equal, none lost",
            met=not wrong and lost == 0,
            numbers={"wrong": wrong, "lost": lost},
        )
        yield Row(
            case="ingest",
            what="  cores used",
            measured=", ".join(f"{name} {share:.2f}" for name, share in self.cpu.items() if share > 0.005),
            numbers={"cores": self.cpu},
        )
        yield Row(
            case="ingest",
            what="  memory of the link process, most",
            measured=f"{self.peak_bytes / 2**20:.0f} MiB",
            numbers={"bytes": self.peak_bytes},
        )
        samples = sent.acknowledged * SAMPLES
        yield Row(
            case="ingest",
            what="  store",
            measured=f"{self.grown_bytes / 2**20:,.0f} MiB, {self.grown_bytes / samples:.0f} B a sample",
            peer=f"{sent.bytes / samples:.0f} B a sample on the wire",
            numbers={"bytes": self.grown_bytes, "samples": samples},
        )

    def _wrong(self) -> dict[str, tuple[int, int]]:
        """Metric -> (sum in the store, sum that was sent), where they differ."""
        expected = expected_sums(self.sent)
        found = stored_sums(self._store, self.sent.start_ms, self.sent.end_ms + 1)
        return {
            name: (found[name], expected[name])
            for name in {*expected, *found}
            if found[name] != expected[name]
        }


def expected_sums(sent: Sent) -> Counter[str]:
    """By metric, in steps; and "samples", "latencies"."""
    every = templates()
    sums: Counter[str] = Counter()
    for which, batches in sent.templates.items():
        for sample in every[which].samples:
            for name, value in steps(sample).items():
                sums[name] += value * batches
            sums["samples"] += batches
            if sample.latency_us is not None:
                sums["latencies"] += sum(sample.latency_us.counts) * batches
    return sums


def stored_sums(store: Store, from_ms: int, to_ms: int) -> Counter[str]:
    """The same of what the store holds, of the fleet's minutes."""
    minute = 60_000
    frame = store.series_read.frame(
        FLEET, from_ms // minute * minute, to_ms, span="minute", histograms=("latency_us",)
    )
    sums = Counter({metric.name: int(frame.sums[:, i].sum()) for i, metric in enumerate(METRICS)})
    sums["samples"] = int(frame.counts[:, INDEX["covered_ms"]].sum())
    sums["latencies"] = int(frame.histograms["latency_us"].totals().sum())
    return sums

"""Bytes on the disk of a device's minute, after rollup and compaction; and of a sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from edgepress_devices.protocol import TelemetryBatch, encode_batch
from edgepress_server.store import Store, open_store
from edgepress_server.store.telemetry import Received
from telemetry_cases.board import METRICS, samples
from telemetry_cases.case import Options, Row
from telemetry_cases.packets import EPOCH, device
from telemetry_cases.server import plant

TITLE: Final = "Store: bytes after 24 h of noisy boards at 1 Hz, sealed and compacted"
DEVICES: Final = 5
SAMPLES_AT_ONCE: Final = 60
DAY_MS: Final = 24 * 3_600_000
START_MS: Final = 1_800_057_600_000 // DAY_MS * DAY_MS  # midnight: a day's blocks are one
TARGET_B: Final = 300
STEPS_MAX: Final = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.ms = START_MS

    def __call__(self) -> int:
        return self.ms


def measure(options: Options) -> Iterator[Row]:
    devices = options.devices or DEVICES
    clock = Clock()
    store = open_store(options.folder / "store_bytes", clock)
    try:
        plant(store, [device(n) for n in range(devices)])
        count = _fill(store, clock, devices)
        sizes = _settle(store, clock)
    finally:
        store.close()
    minutes = sizes["minute rows"]
    assert minutes >= devices * 24 * 60, "a minute is missing"
    rolled = (sizes["minute"] + sizes["hour"]) / minutes
    per_sample = sizes["raw"] / sizes["raw rows"]  # the oldest may be gone already
    # Groups are a few dozen series whatever the fleet: told, and not spread over five devices.
    yield Row(
        case="store_bytes",
        what=f"a device-minute, {len(METRICS)} metrics and a histogram",
        measured=f"{rolled:.0f} B, {sizes['hour'] / minutes:.1f} of them for hours",
        peer=f"its 60 samples beside it, for 24 h: {60 * per_sample:,.0f} B",
        target=f"{TARGET_B} B or less",
        met=rolled <= TARGET_B,
        numbers={"bytes": rolled, "sizes": sizes, "minutes": minutes},
    )
    yield Row(
        case="store_bytes",
        what="  a sample, sealed",
        measured=f"{per_sample:.1f} B",
        peer=f"{sizes['wire'] / count:.0f} B on the wire at {SAMPLES_AT_ONCE} a batch",
        numbers={"bytes": per_sample, "samples": count},
    )
    yield Row(
        case="store_bytes",
        what="  the file, over all blocks in it",
        measured=f"{sizes['file'] / 1e6:.1f} MB, {sizes['file'] / sizes['blocks']:.2f} times the blocks",
        numbers={"file": sizes["file"], "blocks": sizes["blocks"]},
    )


def _fill(store: Store, clock: Clock, devices: int) -> int:
    """A day, told in batches as it passes, with what is due beside it done as in a server."""
    day = [samples(seed, DAY_MS // 1000, START_MS + 1000) for seed in range(devices)]
    for first in range(0, DAY_MS // 1000, SAMPLES_AT_ONCE):
        clock.ms = START_MS + (first + SAMPLES_AT_ONCE) * 1000
        number = first // SAMPLES_AT_ONCE + 1
        received = [
            Received(
                device(n),
                clock.ms,
                TelemetryBatch(1, EPOCH, number, mine[first : first + SAMPLES_AT_ONCE], sent_at_ms=clock.ms),
            )
            for n, mine in enumerate(day)
        ]
        store.telemetry.store(received)
        _run(store.telemetry.step)
    return devices * DAY_MS // 1000


def _settle(store: Store, clock: Clock) -> dict[str, int]:
    """The next hour has passed without a word: everything of the day is sealed and compacted."""
    clock.ms = START_MS + DAY_MS + 2 * 3_600_000
    for _ in range(20):
        _run(store.telemetry.step)
        clock.ms += 600_000
    tiers = {0: "raw", 1: "minute", 2: "hour"}
    sizes = dict.fromkeys([*tiers.values(), "groups"], 0)
    rows: dict[str, int] = {}
    for row in store.database.rows(
        "SELECT s.kind, b.tier, sum(length(b.block)) AS bytes, sum(b.rows) AS rows"
        " FROM blocks b JOIN series s ON s.id = b.series GROUP BY s.kind, b.tier"
    ):
        sizes[tiers[row["tier"]] if row["kind"] == "device" else "groups"] += row["bytes"]
        if row["kind"] == "device":
            rows[tiers[row["tier"]]] = row["rows"]
    sizes["blocks"] = sum(sizes.values())
    sizes |= {f"{tier} rows": count for tier, count in rows.items()}
    example = encode_batch(TelemetryBatch(1, EPOCH, 1, samples(0, SAMPLES_AT_ONCE, START_MS), 1))
    sizes["wire"] = len(example) * store.database.rows("SELECT count(*) FROM devices")[0][0] * 24 * 60
    connection = store.database.connect()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    used = (
        connection.execute("PRAGMA page_count").fetchone()[0]
        - connection.execute("PRAGMA freelist_count").fetchone()[0]
    )
    sizes["file"] = used * connection.execute("PRAGMA page_size").fetchone()[0]
    connection.close()
    return sizes


def _run(step: Callable[[], bool]) -> None:
    for _ in range(STEPS_MAX):
        if not step():
            return
    raise AssertionError("the store has no end of things to do")

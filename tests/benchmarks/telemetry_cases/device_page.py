"""The series of a device's page, from an hour to a year: how long the server takes to answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edgepress_server.api import create_app
from edgepress_server.settings import Settings
from edgepress_server.store import Store
from telemetry_cases.case import Options, Row
from telemetry_cases.packets import device
from telemetry_cases.pages import Asker, in_words, quantiles, seeded, updates
from telemetry_cases.seed import LONG

TITLE: Final = "Device page: GET /telemetry/series over HTTP, all charts of the page in one question"
TARGET_MS: Final = 50.0
ROUNDS: Final = 3
HOUR_MS: Final = 3_600_000
RANGES: Final = {
    "1 h": HOUR_MS,
    "6 h": 6 * HOUR_MS,
    "1 d": 24 * HOUR_MS,
    "7 d": 7 * 24 * HOUR_MS,
    "30 d": 30 * 24 * HOUR_MS,
    "1 y": 365 * 24 * HOUR_MS,
}
METRICS: Final = (
    "latency_p50_us", "latency_p95_us", "latency_p99_us", "inferences_per_s", "errors_per_s", "rss_bytes",
    "mem_used_bytes", "cpu_percent", "temp_c", "power_mw", "energy_mj", "battery_percent", "throttled",
)  # fmt: skip


def measure(options: Options) -> Iterator[Row]:
    with seeded(options) as (server, store, made):
        asker = Asker(server)
        asker.ms(_path(device(0), HOUR_MS, store.now_ms()))
        with updates(server, made.devices, 600.0):
            for name, range_ms in RANGES.items():
                took = [
                    asker.ms(_path(device(n), range_ms, store.now_ms()))
                    for _ in range(ROUNDS)
                    for n in range(LONG)
                ]
                yield _row(name, [ms for ms, _ in took], took[0][1], made.devices)
        asker.close()
        yield _without_http(store)


def _path(name: str, range_ms: int, now_ms: int) -> str:
    return f"/telemetry/series?device={name}&metric={','.join(METRICS)}&from={now_ms - range_ms}&to={now_ms}"


def _row(name: str, ms: list[float], size: int, devices: int) -> Row:
    found = quantiles(ms)
    return Row(
        case="device_page",
        what=f"{name}, {len(METRICS)} series, of {devices} devices",
        measured=in_words(ms),
        peer=f"{size / 1024:.0f} KB",
        target=f"p95 {TARGET_MS:.0f} ms",
        met=found["p95"] <= TARGET_MS,
        numbers={"range": name, "ms": found, "bytes": size},
    )


def _without_http(store: Store) -> Row:
    """The same questions to the application alone, without a socket."""
    import time

    app = create_app(Settings(data_dir=store.data_dir), store)
    store.people.add("bench", "the password of a benchmark", "viewer")
    client = app.test_client()
    client.post("/api/v1/session", json={"name": "bench", "password": "the password of a benchmark"})
    took = []
    for range_ms in RANGES.values():
        for n in range(LONG):
            began = time.perf_counter()
            answer = client.get("/api/v1" + _path(device(n), range_ms, store.now_ms()))
            took.append((time.perf_counter() - began) * 1000)
            assert answer.status_code == 200, answer.text[:300]
    app.extensions["edgepress"].fan.close()
    return Row(
        case="device_page",
        what="  all ranges, the application without HTTP",
        measured=in_words(took),
        numbers={"ms": quantiles(took)},
    )

"""The fleet's page of 10,000 devices: how long the server takes to answer, while telemetry arrives."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from telemetry_cases.case import Options, Row
from telemetry_cases.pages import Asker, in_words, quantiles, seeded, updates

TITLE: Final = "Overview: GET /telemetry/overview over HTTP, 10,000 devices, telemetry arriving"
TARGET_MS: Final = 50.0
ASKED: Final = 200


def measure(options: Options) -> Iterator[Row]:
    with seeded(options) as (server, _, made):
        asker = Asker(server)
        first_ms, size = asker.ms("/telemetry/overview")
        health = [asker.ms("/health")[0] for _ in range(50)]
        took = []
        before = server.cpu_s()["web"]
        with updates(server, made.devices, 600.0):
            began = time.monotonic()
            for _ in range(ASKED):
                took.append(asker.ms("/telemetry/overview")[0])
                time.sleep(0.1)
            lasted = time.monotonic() - began
        cores = (server.cpu_s()["web"] - before) / lasted
        asker.close()
    found = quantiles(took)
    yield Row(
        case="overview",
        what=f"{made.devices} devices, {made.rows / 1e6:.0f} M rows in effect",
        measured=in_words(took),
        peer=f"the same server's /health: {in_words(health)}",
        target=f"p95 {TARGET_MS:.0f} ms",
        met=found["p95"] <= TARGET_MS and made.rows >= 50e6,
        numbers={"ms": found, "health_ms": quantiles(health), "rows": made.rows, "bytes": size},
    )
    yield Row(
        case="overview",
        what="  the first one after a start",
        measured=f"{first_ms:.0f} ms, {size / 1024:.0f} KB",
        peer=f"web process {cores:.2f} cores; seeded in {made.seconds:.0f} s",
        numbers={"first_ms": first_ms, "bytes": size, "web_cores": cores, "seed_s": made.seconds},
    )

"""A device behind 50 ms of round trip: the fetch window has to keep the link full."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Final

from delivery_cases.case import Options, Row
from delivery_cases.fleet import fleet
from delivery_cases.rollout_run import run_rollout
from delivery_cases.slow_link import SlowLink
from delivery_cases.worker import Workers

TITLE: Final = "Latency: 4 MB over a link with 50 ms of round trip"
ARTIFACT_BYTES: Final = 4_000_000
ROUND_TRIP_S: Final = 0.050
MBITS: Final = (20, 100)


def measure(options: Options) -> Iterator[Row]:
    for mbits in MBITS:
        with fleet(options.folder / f"latency-{mbits}") as server:
            link = SlowLink(server.port, bytes_s=mbits * 1e6 / 8, delay_s=ROUND_TRIP_S / 2)
            workers = Workers(1)
            try:
                workers.start(server.plant(1), server.host, link.port)
                runs = [
                    run_rollout(server, workers, server.artifact(ARTIFACT_BYTES))
                    for _ in range(options.repeat)
                ]
            finally:
                workers.close()
                link.close()
        taken = statistics.median(run.fetch_s for run in runs)
        least = ARTIFACT_BYTES * 8 / (mbits * 1e6) + ROUND_TRIP_S
        yield Row(
            case="latency",
            what=f"{mbits} Mbit/s, from the want to the commit",
            measured=f"{taken:.2f} s",
            peer=f"bytes / bandwidth + one round trip: {least:.2f} s",
            target="within 1.5 times of that",
            met=taken <= 1.5 * least,
            numbers={"seconds": [run.fetch_s for run in runs], "link_s": least},
        )

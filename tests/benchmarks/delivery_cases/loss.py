"""Chunks that get lost: how many bytes a device receives until it has them all, and for how long it takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from delivery_cases.case import Options, Row
from delivery_cases.fleet import fleet
from delivery_cases.rollout_run import run_rollout
from delivery_cases.worker import Workers

TITLE: Final = "Loss: chunk messages that came are thrown away at the device, before its agent sees them"
ARTIFACT_BYTES: Final = 1_000_000
DEVICES: Final = 100
TARGETS: Final = ((0.05, 1.10), (0.20, 1.35))


def measure(options: Options) -> Iterator[Row]:
    for loss, most in TARGETS:
        with fleet(options.folder / f"loss-{loss}") as server:
            workers = Workers(1)
            try:
                workers.start(server.plant(DEVICES), server.host, server.port, loss=loss)
                run = run_rollout(server, workers, server.artifact(ARTIFACT_BYTES))
            finally:
                workers.close()
        yield Row(
            case="loss",
            what=f"{loss:.0%} lost, {DEVICES} devices, a device receives",
            measured=f"{run.wire_mean / 1e6:.3f} MB in the mean, {run.wire_bytes / 1e6:.3f} MB at most",
            peer=f"each chunk until it comes through: {ARTIFACT_BYTES / 1e6 / (1 - loss):.3f} MB; "
            f"all committed after {run.seconds:.1f} s",
            target=f"{most:.2f} MB or less in the mean",
            met=run.wire_mean <= most * 1e6,
            numbers={"mean": run.wire_mean, "most": run.wire_bytes, "seconds": run.seconds},
        )

"""A rollout of 1 MB to the whole fleet at once: bytes out of the server, bytes into a device, and time."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Final

from delivery_cases import peer
from delivery_cases.case import Options, Row
from delivery_cases.fleet import Fleet, TouchedMemory, fleet
from delivery_cases.rollout_run import Run, run_rollout
from delivery_cases.worker import Workers

TITLE: Final = "Fan-out: 1 MB to every device at once, mosquitto on loopback"
ARTIFACT_BYTES: Final = 1_000_000
PROCESSES: Final = 2


def measure(options: Options) -> Iterator[Row]:
    small = _fleet(options, max(10, options.devices // 10), 1)
    large = _fleet(options, options.devices, options.repeat)
    yield from _egress(small, large)
    yield from _received(large)
    yield from _speed(large)


class Measured:
    def __init__(self, devices: int) -> None:
        self.devices = devices
        self.runs: list[Run] = []
        self.peer_s: list[float] = []
        self.least_s: list[float] = []


def _fleet(options: Options, devices: int, repeat: int) -> Measured:
    measured = Measured(devices)
    with fleet(options.folder / f"fan-out-{devices}") as server:
        workers = Workers(PROCESSES)
        try:
            workers.start(server.plant(devices), server.host, server.port)
            for _ in range(repeat):
                measured.peer_s.append(peer.fan_out(server, workers, ARTIFACT_BYTES))
                memory = TouchedMemory(int(devices * 1.2 * ARTIFACT_BYTES))
                memory.release()
                measured.least_s.append(max(workers.ask_all("least", options.folder, ARTIFACT_BYTES)))
                measured.runs.append(_roll_out(server, workers, devices))
            measured.peer_s.append(peer.fan_out(server, workers, ARTIFACT_BYTES))
        finally:
            workers.close()
    return measured


def _roll_out(server: Fleet, workers: Workers, devices: int) -> Run:
    memory = TouchedMemory(int(devices * 2.5 * ARTIFACT_BYTES))
    digest = server.artifact(ARTIFACT_BYTES)
    memory.release()
    return run_rollout(server, workers, digest)


def _egress(small: Measured, large: Measured) -> Iterator[Row]:
    for measured in (small, large):
        total = max(run.egress_bytes for run in measured.runs)
        wants = max(run.want_bytes for run in measured.runs)
        chunks = total - wants
        yield Row(
            case="egress",
            what=f"server to broker, {measured.devices} devices",
            measured=f"{chunks / 1e6:.3f} MB, and {wants / measured.devices:.0f} B of want a device",
            peer=f"all that the broker read from the server: {total / 1e6:.3f} MB",
            target="1.05 MB or less",
            met=chunks <= 1_050_000,
            numbers={"devices": measured.devices, "total": total, "wants": wants},
        )


def _received(large: Measured) -> Iterator[Row]:
    run = max(large.runs, key=lambda run: run.wire_bytes)
    yield Row(
        case="device bytes",
        what="a device receives, most of all devices",
        measured=f"{run.wire_bytes / 1e6:.4f} MB on the wire",
        peer=f"{run.chunk_bytes / 1e6:.4f} MB of it chunks, none more than {run.most_often} time",
        target="1.03 MB or less, no chunk twice",
        met=run.wire_bytes <= 1_030_000 and run.most_often == 1,
        numbers={"wire_bytes": run.wire_bytes, "chunk_bytes": run.chunk_bytes, "most_often": run.most_often},
    )


def _speed(large: Measured) -> Iterator[Row]:
    ours = statistics.median(run.seconds for run in large.runs)
    alone = statistics.median(large.peer_s)
    share = alone / ours
    rate = large.devices * ARTIFACT_BYTES / 1e6
    cpu = {
        name: statistics.median(run.cpu_s.get(name, 0.0) for run in large.runs)
        for name in large.runs[0].cpu_s
    }
    yield Row(
        case="fan-out",
        what=f"{large.devices} devices committed",
        measured=f"{ours:.2f} s, {rate / ours:.0f} MB/s",
        peer=f"the same clients, nothing done with it: {alone:.2f} s, {rate / alone:.0f} MB/s",
        target="60 % or more of the broker alone",
        met=share >= 0.6,
        numbers={
            "share": share,
            "seconds": [run.seconds for run in large.runs],
            "peer_seconds": large.peer_s,
            "cpu_s": cpu,
        },
    )
    least = statistics.median(large.least_s)
    yield Row(
        case="fan-out",
        what="  of the broker alone",
        measured=f"{share:.0%}; with devices as lean as can be {alone / (alone + least):.0%}",
        peer=f"to open, write and hash the chunks alone takes these cores {least:.2f} s more",
        numbers={"share": share, "least_s": large.least_s},
    )
    yield Row(
        case="fan-out",
        what="  CPU seconds",
        measured=", ".join(f"{name} {seconds:.1f}" for name, seconds in cpu.items() if seconds > 0.05),
        peer=f"the last device had committed after {max(run.devices_s for run in large.runs):.2f} s",
        numbers={"cpu_s": cpu},
    )

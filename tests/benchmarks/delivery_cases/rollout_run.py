"""One rollout to simulated agents, from the request to the last commit that the server knows of."""

from __future__ import annotations

import time
from dataclasses import dataclass

from delivery_cases.fleet import Fleet
from delivery_cases.worker import Workers

PATIENCE_S = 300.0


@dataclass
class Run:
    seconds: float  # from the request until the server had all devices committed
    devices_s: float  # until the last device had
    fetch_s: float  # from a want's arrival to its commit, the longest of all devices
    wire_bytes: int  # a device received: the most of all
    chunk_bytes: int
    wire_mean: float
    most_often: int  # that a chunk came to a device
    want_bytes: int  # of all devices' wants, with topics and headers
    cpu_s: dict[str, float]
    egress_bytes: int  # that the broker read from the server


def run_rollout(server: Fleet, workers: Workers, digest: str) -> Run:
    """Raises AssertionError where a device did not commit."""
    workers.ask_all("forget")
    before, agents_before = server.cpu_s(), workers.figures()["cpu_s"]
    read_before = server.broker_read_bytes()
    began_s = time.monotonic()
    rollout = server.roll_out(digest)
    over_s = server.wait_done(rollout, PATIENCE_S)
    read = server.broker_read_bytes() - read_before
    after, figures = server.cpu_s(), workers.figures()
    assert set(figures["committed"]) == {digest}, set(figures["reasons"])
    assert figures["lost"] == 0, f"{figures['lost']} agents lost their connection"
    return Run(
        seconds=over_s - began_s,
        devices_s=max(figures["committed_s"]) - began_s,
        fetch_s=max(
            committed - wanted
            for committed, wanted in zip(figures["committed_s"], figures["wanted_s"], strict=True)
        ),
        wire_bytes=max(figures["wire_bytes"]),
        chunk_bytes=max(figures["chunk_bytes"]),
        wire_mean=sum(figures["wire_bytes"]) / len(figures["wire_bytes"]),
        most_often=max(figures["most_often"]),
        want_bytes=server.want_bytes(),
        egress_bytes=read - figures["sent_bytes"],
        cpu_s={name: after[name] - before[name] for name in after}
        | {"agents": figures["cpu_s"] - agents_before},
    )

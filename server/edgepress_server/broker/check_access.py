"""Whom a broker lets in, and what a device reaches beyond its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

from edgepress_devices.protocol import PREFIX
from edgepress_server.broker.access import CLIENT_ID_PREFIX
from edgepress_server.broker.bench import LOCAL, QUIET_S, Bench, Finding
from edgepress_server.broker.probe import Probe, Target


def anonymous(bench: Bench) -> Iterator[Finding]:
    """Nobody, and somebody invented."""
    open_to = []
    for name, user in (("nobody", None), ("an invented user", f"invented-{secrets.token_hex(4)}")):
        target = Target(bench.target.host, bench.target.port, bench.target.tls, user, user)
        with Probe(target, bench.versions[0]) as probe:
            if probe.connect():
                open_to.append(name)
    local = bench.target.host in LOCAL
    if open_to:
        yield Finding(
            "users",
            "note" if local else "broken",
            f"lets in {' and '.join(open_to)}",
            "anybody can speak for a device, and hear what it is told (chunks stay encrypted)",
            "Let nobody in without a password; see docs/brokers.md. On loopback this is what embedded does.",
        )
    else:
        yield Finding("users", "good", "nobody gets in without credentials")


def devices(bench: Bench) -> Iterator[Finding]:
    """What a device reaches beyond its own."""
    if bench.device is None or not bench.device.username:
        yield Finding(
            "what a device reaches",
            "unknown",
            "not looked at",
            None,
            "Give a device's name with --device and its secret in EDGEPRESS_DEVICE_PASSWORD.",
        )
        return
    name, other = bench.device.username, f"check-{secrets.token_hex(4)}"
    client_id = f"{CLIENT_ID_PREFIX}{name}"
    with Probe(bench.device, bench.versions[0], client_id=client_id) as device:
        if not device.connect():
            yield Finding("what a device reaches", "broken", f"{name} is not let in: {device.error}")
            return
        own = device.subscribe(f"{PREFIX}/d/{name}/down/want", f"{bench.base}/chunk/0")
        yield Finding(
            "a device, its own topics",
            "good" if own == [True, True] else "broken",
            "may subscribe" if own == [True, True] else "is refused its own topics",
            None if own == [True, True] else "it never hears its orders",
        )
        yield from _device_reads(bench, device, other)
        yield from _device_writes(bench, device, other)


def _device_reads(bench: Bench, device: Probe, other: str) -> Iterator[Finding]:
    topic = f"{PREFIX}/d/{other}/down/want"
    bench.used.add(topic)
    granted = device.subscribe(topic, f"{PREFIX}/d/+/down/want", "#")
    with bench.probe() as writer:
        writer.taken(writer.publish(topic, b"an order", retain=True))
        came = device.wait(lambda: device.messages(topic), QUIET_S)
        writer.taken(writer.publish(topic, b"", retain=True))
    if came:
        found = "hears what is said to others"
    elif granted is not None and any(granted):
        found = "is granted others' topics and hears nothing there"
    else:
        found = "is refused others' topics"
    yield Finding(
        "a device, listening to others",
        "broken" if came else "good",
        found,
        "a stolen device learns what others are told (orders are signed and sealed; chunks encrypted)"
        if came
        else None,
        "Limit each device to its own subtree; see docs/brokers.md." if came else None,
    )


def _device_writes(bench: Bench, device: Probe, other: str) -> Iterator[Finding]:
    forged = [f"{PREFIX}/d/{other}/up/state", f"{PREFIX}/d/{other}/down/want", f"{bench.base}/forged"]
    bench.used.update(forged)
    with bench.probe() as reader:
        reader.subscribe(*forged)
        for topic in forged:
            device.publish(topic, b"forged", retain=True)
        came = reader.wait(lambda: reader.received, QUIET_S)
    yield Finding(
        "a device, speaking for others",
        "broken" if came else "good",
        "can forge others' messages" if came else "cannot",
        "a stolen device reports in the name of others" if came else None,
        "Limit each device to its own subtree; see docs/brokers.md." if came else None,
    )

"""What a broker does, found out with real messages, and what of it would break in edgepress.

Every check is a function from a `Bench` to findings. It publishes below ``ep/1/server/check/RANDOM`` (the
server's user may, devices may read it) and takes everything off again.
"""

from __future__ import annotations

import datetime as dt
import secrets
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from edgepress_devices.protocol import (
    CHUNK_MAX_BYTES,
    FETCH_WINDOW,
    PREFIX,
    TELEMETRY_MAX_BYTES,
    WANT_MAX_BYTES,
)
from edgepress_server.broker.access import CLIENT_ID_PREFIX
from edgepress_server.broker.probe import ANSWER_S, Probe, Target, Version, seconds_until_hung_up

Level = Literal["good", "note", "warning", "broken", "unknown"]
MESSAGES: Final = 200
RETAINED: Final = 500
SIZES: Final = (WANT_MAX_BYTES, CHUNK_MAX_BYTES, 128 * 1024, TELEMETRY_MAX_BYTES)
SILENT_S: Final = 10.0
QUIET_S: Final = 0.7  # after which what has not come will not
EXPIRES_SOON: Final = dt.timedelta(days=30)


@dataclass(frozen=True)
class Finding:
    check: str
    level: Level
    found: str
    breaks: str | None = None  # what of it breaks in edgepress
    remedy: str | None = None


@dataclass
class Bench:
    target: Target
    device: Target | None = None  # a device's credentials: shows what devices reach
    base: str = field(default_factory=lambda: f"{PREFIX}/server/check/{secrets.token_hex(6)}")
    versions: list[Version] = field(default_factory=list)
    properties: dict[str, object] = field(default_factory=dict)  # of CONNACK, MQTT 5
    used: set[str] = field(default_factory=set)  # topics that may hold something
    largest_bytes: int = 0

    def probe(self, **more: object) -> Probe:
        """Connected. Raises BenchError."""
        version: Version = "5" if "3.1.1" not in self.versions and self.versions else "3.1.1"
        probe = Probe(self.target, version, **more)  # type: ignore[arg-type]
        if not probe.connect():
            raise BenchError(probe.error or "no connection")
        return probe

    def topic(self, name: str) -> str:
        topic = f"{self.base}/{name}"
        self.used.add(topic)
        return topic


class BenchError(Exception):
    """The broker hung up on a check, or would not let it in; the text says why."""


def run_checks(target: Target, device: Target | None = None) -> Iterator[Finding]:
    """One finding after the other, as they are found. The first that is broken for good ends it."""
    bench = Bench(target, device)
    yield from _connection(bench)
    if not bench.versions:
        return
    try:
        for check in CHECKS:
            try:
                yield from check(bench)
            except BenchError as error:
                name = check.__name__.strip("_").replace("_", " ")
                yield Finding(name, "unknown", f"the broker ended this check: {error}")
    finally:
        _clean_up(bench)


def _connection(bench: Bench) -> Iterator[Finding]:
    versions: tuple[Version, ...] = ("3.1.1", "5")
    for version in versions:
        with Probe(bench.target, version) as probe:
            if probe.connect():
                bench.versions.append(version)
                bench.properties |= probe.properties
                yield Finding(f"MQTT {version}", "good", "connects")
                if version == "3.1.1" or not bench.versions[:-1]:
                    yield from _tls(bench, probe)
            else:
                nothing = version == "5" and not bench.versions
                yield Finding(
                    f"MQTT {version}",
                    "broken" if nothing else "note",
                    f"no: {probe.error}",
                    "nothing works" if nothing else None,
                    _who_to_blame(probe.error or "") if nothing else None,
                )


def _who_to_blame(error: str) -> str:
    if error.startswith("TLS failed"):
        return "Name its authority with --ca, and the host as its certificate does; mqtt:// is without TLS."
    if error == "hung up":
        return "Is it an MQTT broker, without TLS? mqtts:// is with TLS."
    return "Check address, port, user and password."


def _tls(bench: Bench, probe: Probe) -> Iterator[Finding]:
    if probe.tls_version is None:
        yield Finding(
            "TLS",
            "note" if bench.target.host in ("127.0.0.1", "::1", "localhost") else "warning",
            "none: passwords can be read on the way",
            None,
            "Beyond this machine use mqtts:// with --ca.",
        )
        return
    level: Level = "good" if probe.tls_version in ("TLSv1.2", "TLSv1.3") else "warning"
    ends = probe.certificate.get("notAfter")
    until = dt.datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), dt.UTC) if ends else None
    soon = until is not None and until - dt.datetime.now(dt.UTC) < EXPIRES_SOON
    found = f"{probe.tls_version}, the certificate is trusted"
    found += f" until {until:%Y-%m-%d}" if until else ""
    yield Finding("TLS", "warning" if soon else level, found, None, "Renew it." if soon else None)


def _anonymous(bench: Bench) -> Iterator[Finding]:
    open_to = []
    for name, user in (("nobody", None), ("an invented user", f"invented-{secrets.token_hex(4)}")):
        target = Target(bench.target.host, bench.target.port, bench.target.tls, user, user)
        with Probe(target, bench.versions[0]) as probe:
            if probe.connect():
                open_to.append(name)
    local = bench.target.host in ("127.0.0.1", "::1", "localhost")
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


def _retained(bench: Bench) -> Iterator[Finding]:
    topic = bench.topic("retained")
    with bench.probe() as writer:
        if not writer.taken(writer.publish(topic, b"kept", retain=True)):
            yield Finding(
                "retained messages",
                "broken",
                "the broker does not take one",
                "devices that were off never learn what to run",
                f"Let this user publish below {PREFIX}/#, and allow retained messages.",
            )
            return
        with bench.probe() as reader:
            granted = reader.subscribe(topic)
            came = reader.wait(lambda: reader.messages(topic))
            flagged = came and reader.messages(topic)[0].retained
        if not came:
            how = "refused" if granted == [False] else "not delivered to who subscribes later"
            yield Finding(
                "retained messages",
                "broken",
                how,
                "desired states and chunks do not reach devices",
                "Use a broker that keeps retained messages (AWS IoT: enable them; NATS: JetStream).",
            )
            return
        yield Finding(
            "retained messages",
            "good" if flagged else "note",
            "kept and delivered" + ("" if flagged else ", without the flag that says so"),
        )
        writer.taken(writer.publish(topic, b"", retain=True))
        with bench.probe() as reader:
            reader.subscribe(topic)
            reader.wait(lambda: reader.messages(topic), QUIET_S)
            left = [m for m in reader.messages(topic) if m.payload]
        yield Finding(
            "retained messages, cleared",
            "broken" if left else "good",
            "an empty one does not clear it" if left else "an empty one clears it",
            "chunks of old artifacts stay on the broker for ever" if left else None,
        )


def _many_retained(bench: Bench) -> Iterator[Finding]:
    topics = [bench.topic(f"many/{n}") for n in range(RETAINED)]
    with bench.probe() as writer:
        writer.taken(*(writer.publish(topic, b"x", retain=True) for topic in topics))
        with bench.probe() as reader:
            for start in range(0, RETAINED, FETCH_WINDOW):
                asked = topics[start : start + FETCH_WINDOW]
                reader.subscribe(*asked)
                reader.wait(lambda: len(reader.received) >= start + len(asked))  # noqa: B023 - called here
                if len(reader.received) < start + len(asked):
                    break
            kept = len({m.topic for m in reader.received})
        with bench.probe() as reader:
            reader.subscribe(f"{bench.base}/many/+")
            reader.wait(lambda: len(reader.received) >= RETAINED, ANSWER_S)
            heard = len({m.topic for m in reader.received})
        writer.taken(*(writer.publish(topic, b"", retain=True) for topic in topics))
    yield Finding(
        f"{RETAINED} retained messages",
        "good" if kept == RETAINED else "broken",
        f"{kept} of {RETAINED} are kept",
        None if kept == RETAINED else "artifacts have more chunks than this broker keeps",
        None if kept == RETAINED else "Raise the number of retained messages that it keeps, or their memory.",
    )
    if kept == RETAINED:
        yield Finding(
            f"{RETAINED} retained messages, one filter",
            "good" if heard == RETAINED else "warning",
            f"{heard} of {RETAINED} come at once",
            None
            if heard == RETAINED
            else f"a server that comes back hears of {heard} devices, of the others when they speak",
        )


def _sizes(bench: Bench) -> Iterator[Finding]:
    for size in SIZES:
        topic = bench.topic(f"size/{size}")
        payload = secrets.token_bytes(size)
        with bench.probe() as reader, bench.probe() as writer:
            reader.subscribe(topic)
            took = writer.taken(writer.publish(topic, payload))
            if not (took and reader.wait(lambda: reader.messages(topic))):  # noqa: B023 - called here only
                why = writer.error or reader.error or "acknowledged, and not delivered"
                break
            bench.largest_bytes = size
    else:
        why = None
    said = bench.properties.get("MaximumPacketSize")
    found = f"{bench.largest_bytes} bytes pass" + (f"; more do not ({why})" if why else "")
    found += f"; the broker says {said} at most" if said else ""
    if bench.largest_bytes < WANT_MAX_BYTES:
        breaks = "not even orders reach devices"
    elif bench.largest_bytes < CHUNK_MAX_BYTES:
        breaks = f"chunks have {CHUNK_MAX_BYTES} bytes: devices fetch over HTTPS only"
    elif bench.largest_bytes < TELEMETRY_MAX_BYTES:
        breaks = "large batches of telemetry hang; devices then lose them when their disk is full"
    else:
        breaks = None
    yield Finding(
        "message size",
        "good" if breaks is None else "warning" if bench.largest_bytes >= CHUNK_MAX_BYTES else "broken",
        found,
        breaks,
        None
        if breaks is None
        else f"Allow packets of {TELEMETRY_MAX_BYTES + 1024} bytes (mosquitto: max_packet_size, NATS: "
        "max_payload, EMQX: mqtt.max_packet_size, RabbitMQ: mqtt.max_packet_size_authenticated).",
    )


def _window(bench: Bench) -> Iterator[Finding]:
    """As a device fetches: a window of literal topics at once, each with a whole chunk."""
    size = min(CHUNK_MAX_BYTES, bench.largest_bytes)
    topics = [bench.topic(f"chunk/{n}") for n in range(FETCH_WINDOW)]
    with bench.probe() as writer:
        writer.taken(*(writer.publish(topic, secrets.token_bytes(size), retain=True) for topic in topics))
        with bench.probe() as reader:
            started = time.monotonic()
            granted = reader.subscribe(*topics)
            reader.wait(lambda: len(reader.received) >= len(topics), ANSWER_S * 2)
            took_s = time.monotonic() - started
            came = len({m.topic for m in reader.received})
        writer.taken(*(writer.publish(topic, b"", retain=True) for topic in topics))
    whole = came == len(topics)
    yield Finding(
        "a window of chunks",
        "good" if whole else "broken",
        f"{came} of {len(topics)} x {size} bytes in {took_s * 1000:.0f} ms",
        None if whole else "devices wait, and ask for what they miss: the server sends it again and again",
        None if whole or granted is None else "Raise the broker's queue for one client (1 MB at least).",
    )


def _order(bench: Bench) -> Iterator[Finding]:
    topic = bench.topic("order")
    with bench.probe() as reader, bench.probe() as writer:
        reader.subscribe(f"{bench.base}/+")
        acknowledged = writer.taken(*(writer.publish(topic, b"%d" % n) for n in range(MESSAGES)))
        reader.wait(lambda: len(reader.messages(topic)) >= MESSAGES)
        came = [int(m.payload) for m in reader.messages(topic)]
    missing = len(set(range(MESSAGES)) - set(came))
    yield Finding(
        "QoS 1",
        "good" if acknowledged and not missing else "broken",
        f"{MESSAGES - missing} of {MESSAGES} delivered, "
        + ("all acknowledged" if acknowledged else "not all acknowledged"),
        "telemetry is sent again and again" if missing or not acknowledged else None,
    )
    first = list(dict.fromkeys(came))
    yield Finding(
        "order",
        "good" if first == sorted(first) else "warning",
        "kept" if first == sorted(first) else "messages overtake each other",
        None if first == sorted(first) else "an older state of a device may be shown for a moment",
    )


def _will(bench: Bench) -> Iterator[Finding]:
    topic = bench.topic("will")
    with bench.probe() as reader:
        reader.subscribe(topic)
        dying = bench.probe(will=(topic, b"gone"))
        dying.drop()
        came = reader.wait(lambda: reader.messages(topic), ANSWER_S)
    yield Finding(
        "will",
        "good" if came else "warning",
        "published when a client hangs up" if came else f"not published within {ANSWER_S:.0f} s",
        None if came else "devices that lose power are shown as online until the server looks for itself",
    )


def _takeover(bench: Bench) -> Iterator[Finding]:
    identity = f"edgepress-check-{secrets.token_hex(6)}"
    with bench.probe(client_id=identity) as old, bench.probe(client_id=identity):
        gone = old.wait(lambda: old.error is not None)
    yield Finding(
        "session takeover",
        "good" if gone else "warning",
        "a client that comes back replaces its old connection"
        if gone
        else "two connections with one client id live on",
        None if gone else "a device that changes its network may be served twice for a while",
    )


def _keep_alive(bench: Bench) -> Iterator[Finding]:
    if "3.1.1" not in bench.versions:
        yield Finding("keep-alive", "unknown", "not looked at: the broker knows only MQTT 5")
        return
    after_s = seconds_until_hung_up(bench.target, 1, SILENT_S)
    yield Finding(
        "keep-alive",
        "good" if after_s is not None else "warning",
        f"a silent client (keep-alive 1 s) is hung up on after {after_s:.1f} s"
        if after_s is not None
        else f"a silent client (keep-alive 1 s) is still connected after {SILENT_S:.0f} s",
        None if after_s is not None else "devices without power or network are shown as online for longer",
    )


def _shared(bench: Bench) -> Iterator[Finding]:
    topic = bench.topic("shared")
    with bench.probe() as reader, bench.probe() as writer:
        granted = reader.subscribe(f"$share/edgepress/{topic}")
        writer.taken(writer.publish(topic, b"x"))
        came = reader.wait(lambda: reader.messages(topic), QUIET_S)
    if came:
        found = "works: several servers may share the telemetry"
    elif granted == [True]:
        found = "granted, and delivers nothing"
    else:
        found = "refused"
    yield Finding("shared subscriptions", "good" if came else "note", found)


def _devices(bench: Bench) -> Iterator[Finding]:
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


def _restart(_bench: Bench) -> Iterator[Finding]:
    yield Finding(
        "restart",
        "unknown",
        "whether retained messages outlive one cannot be asked",
        None,
        "Restart it while the server runs: its log says so when the broker lost what it held, and what was "
        "lost is published again by itself.",
    )


def _clean_up(bench: Bench) -> None:
    """Nothing stays on the broker."""
    with Probe(bench.target, bench.versions[0]) as probe:
        if probe.connect():
            probe.taken(*(probe.publish(topic, b"", retain=True) for topic in sorted(bench.used)))


CHECKS: Final[tuple[Callable[[Bench], Iterator[Finding]], ...]] = (
    _anonymous,
    _retained,
    _many_retained,
    _sizes,
    _window,
    _order,
    _will,
    _takeover,
    _keep_alive,
    _shared,
    _devices,
    _restart,
)

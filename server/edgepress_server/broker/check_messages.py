"""How a broker carries messages: retained ones, large ones, many at once, in order, shared."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from typing import Final

from edgepress_devices.protocol import (
    CHUNK_MAX_BYTES,
    FETCH_WINDOW,
    PREFIX,
    TELEMETRY_MAX_BYTES,
    WANT_MAX_BYTES,
)
from edgepress_server.broker.bench import QUIET_S, Bench, Finding
from edgepress_server.broker.probe import ANSWER_S

MESSAGES: Final = 200
RETAINED: Final = 500
SIZES: Final = (WANT_MAX_BYTES, CHUNK_MAX_BYTES, 128 * 1024, TELEMETRY_MAX_BYTES)


def retained(bench: Bench) -> Iterator[Finding]:
    """Kept, delivered to who subscribes later, and cleared by an empty one."""
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


def many_retained(bench: Bench) -> Iterator[Finding]:
    """As many as a large artifact has chunks."""
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


def sizes(bench: Bench) -> Iterator[Finding]:
    """Of the messages that edgepress sends."""
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


def window(bench: Bench) -> Iterator[Finding]:
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


def order(bench: Bench) -> Iterator[Finding]:
    """At least once, and first in first out."""
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


def shared(bench: Bench) -> Iterator[Finding]:
    """One of several hears each message."""
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

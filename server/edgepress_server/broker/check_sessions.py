"""How a broker notices that a client has gone, or has come back."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Final

from edgepress_server.broker.bench import Bench, Finding
from edgepress_server.broker.probe import ANSWER_S, seconds_until_hung_up

SILENT_S: Final = 10.0


def will(bench: Bench) -> Iterator[Finding]:
    """Of a client that hangs up without a word."""
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


def takeover(bench: Bench) -> Iterator[Finding]:
    """A client id that connects twice."""
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


def keep_alive(bench: Bench) -> Iterator[Finding]:
    """A client that says nothing."""
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

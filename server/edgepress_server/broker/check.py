"""What a broker does, found out with real messages, and what of it would break in edgepress.

Every check is a function from a `Bench` to findings. It publishes below ``ep/1/server/check/RANDOM`` (the
server's user may, devices may read it) and takes everything off again.
"""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Callable, Iterator
from typing import Final

from edgepress_server.broker.bench import LOCAL, Bench, BenchError, Finding, Level
from edgepress_server.broker.check_access import anonymous, devices
from edgepress_server.broker.check_messages import (
    many_retained,
    order,
    retained,
    shared,
    sizes,
    window,
)
from edgepress_server.broker.check_sessions import keep_alive, takeover, will
from edgepress_server.broker.probe import Probe, Target, Version

__all__ = ["Finding", "run_checks"]

EXPIRES_SOON: Final = dt.timedelta(days=30)


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
                name = check.__name__.replace("_", " ")
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
            "note" if bench.target.host in LOCAL else "warning",
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
    anonymous,
    retained,
    many_retained,
    sizes,
    window,
    order,
    will,
    takeover,
    keep_alive,
    shared,
    devices,
    _restart,
)

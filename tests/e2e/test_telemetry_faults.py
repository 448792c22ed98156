"""Telemetry as attackers, broken boards and power cuts send it, to a real server over a real broker."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from installation import EDGEPRESS, ENV, Installation, wait_for
from wire_device import Wire, WireDevice

from edgepress_devices.protocol import (
    Ack,
    Sample,
    TelemetryBatch,
    down_topic,
    encode_batch,
    from_json,
    up_topic,
)

pytestmark = pytest.mark.e2e

SAMPLES = 10


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    made.start_server()
    try:
        yield made
    finally:
        made.close()


class Board(WireDevice):
    """At the embedded broker, which knows no users and speaks MQTT 3.1.1."""

    def new_wire(self) -> Wire:
        return Wire(self.mqtt["port"])


def enrol(server: Installation, name: str) -> WireDevice:
    made = server.cli("device", "register", name, "--profile", "x86-pc")
    device = Board(name, server.url, made["code"])
    device.connect()
    return device


def batch(number: int, at_ms: int, **values: Any) -> TelemetryBatch:
    samples = [Sample(at_ms + i * 1000, 1000, None, number + i, **values) for i in range(SAMPLES)]
    return TelemetryBatch(1, "epoch", number, samples, sent_at_ms=time.time_ns() // 1_000_000)


def acknowledged(device: WireDevice) -> int:
    topic = down_topic(device.name, "ack")
    numbers = [from_json(Ack, payload).number for found, payload in device.wire.messages if found == topic]
    return max(numbers, default=0)


def send(device: WireDevice, payload: bytes) -> None:
    device.wire.publish(up_topic(device.name, "telemetry"), payload)


def until_stored(device: WireDevice, sent: TelemetryBatch) -> None:
    """As a device does: again while nobody says that it is stored."""

    def done() -> bool:
        if not device.wire.connected:
            device.wire.close()
            device.connect()
        send(device, encode_batch(sent))
        until = time.monotonic() + 2.0
        while time.monotonic() < until:
            if acknowledged(device) >= sent.number:
                return True
            time.sleep(0.02)
        return False

    wait_for(f"batch {sent.number} of {device.name}", done, 90.0)


def total(server: Installation, from_ms: int) -> float:
    """Inferences in the store, as the API tells them."""
    asked = {"metric": "inferences", "aggregate": "sum", "from": from_ms, "to": now_ms() + 60_000}
    answer = server.api.get("/telemetry/query", **asked)
    return sum(series["total"] or 0 for series in answer["series"])


def quarantined(server: Installation) -> list[str]:
    return [row["reason"] for row in server.api.get("/telemetry/quarantine")["rows"]]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def role(server: Installation, name: str) -> psutil.Process:
    assert server._server is not None

    def found() -> psutil.Process | None:
        for child in psutil.Process(server._server.pid).children():  # type: ignore[union-attr]
            try:
                if name in child.cmdline():
                    return child
            except psutil.Error:  # it has just ended
                continue
        return None

    return wait_for(f"the process of {name}", found)


@pytest.mark.fault("kill -9", "the server in the middle of ingest: no batch is lost, none counts twice")
def test_a_server_killed_in_the_middle_of_ingest_loses_and_doubles_nothing(server: Installation) -> None:
    device = enrol(server, "steady")
    start = now_ms() - 40 * 60_000  # the last half hour: the oldest of it is sealed at once
    batches = [batch(n, start + n * 15_000) for n in range(1, 121)]
    for n, each in enumerate(batches, 1):
        if n == 40:
            send(device, encode_batch(each))  # it may be stored, or not, or not be acknowledged any more
            os.kill(role(server, "link").pid, signal.SIGKILL)
        if n == 80:
            send(device, encode_batch(each))
            server.kill_server()
            server.start_server()
        until_stored(device, each)
    for each in batches[-5:]:
        send(device, encode_batch(each))  # as if their acknowledgement had been lost
    expected = sum(sample.inferences for each in batches for sample in each.samples)
    wait_for("the sum", lambda: total(server, start - 60_000) == expected, 30.0)
    assert quarantined(server) == []
    device.wire.close()


@pytest.mark.attack("forged device id", "telemetry of nobody, and of names that are none, is stored nowhere")
@pytest.mark.attack("NaN and infinite values", "quarantined with the reason, acknowledged; the next counts")
@pytest.mark.attack("batch of 10 MB", "the broker hangs up on its sender; other devices notice nothing")
@pytest.mark.fault("late and out-of-order data", "counts in the minute it was measured in, whenever it comes")
@pytest.mark.fault("counters going back", "a number that comes again counts as it first came")
def test_what_attackers_and_broken_boards_send(server: Installation) -> None:
    device = enrol(server, "honest")
    start = now_ms() - 3 * 3_600_000
    until_stored(device, batch(1, start, power_mw=None))

    forger = Wire(device.mqtt["port"]).connect()
    for name in ("nobody", "honest/../other", "HONEST", "x" * 64):
        forger.publish(f"ep/1/d/{name}/up/telemetry", encode_batch(batch(1, start)))
    for number, value in ((2, float("nan")), (3, float("inf"))):
        spoilt = batch(number, start + number * 60_000, temp_c=value)
        until_stored(device, spoilt)
    reasons = quarantined(server)
    assert len(reasons) == 2 and all("$[3][0][10]" in reason for reason in reasons)  # which value it is
    until_stored(device, batch(4, start + 240_000, cpu_percent=-1.0))
    assert any("cpu_percent of -1" in reason for reason in quarantined(server))

    huge = Wire(device.mqtt["port"]).connect()
    huge.client.publish(up_topic("honest", "telemetry"), b"\xdd" + bytes(10_000_000), qos=1)
    huge.wait("the broker to hang up", lambda: not huge.connected)
    blob = b"\xc6" + (270_000).to_bytes(4, "big") + bytes(270_000)
    large = b"\x96\x01\xa5epoch\x05\x90\x00" + blob  # the broker takes it; no batch is so large
    send(device, large)
    wait_for("its reason", lambda: any("270" in reason for reason in quarantined(server)), 30.0)
    assert device.wire.connected

    send(device, encode_batch(batch(7, start + 420_000)))  # before 6; 5 was the large one
    until_stored(device, batch(6, start - 7_200_000))  # two hours before all others
    again = batch(7, start + 420_000)
    again.samples[0].inferences = 10**6
    send(device, encode_batch(again))
    until_stored(device, batch(8, start + 480_000))
    expected = sum(sample.inferences for n in (1, 6, 7, 8) for sample in batch(n, 0).samples)
    wait_for("the sum", lambda: total(server, start - 9_000_000) == expected, 30.0)
    for wire in (forger, huge, device.wire):
        wire.close()


@pytest.mark.fault("skewed clock", "the fleet's page names the device; its times are corrected")
def test_a_wrong_clock_is_corrected_and_people_are_told(server: Installation) -> None:
    device = enrol(server, "dreamer")
    ahead = 3 * 3_600_000
    sent = batch(1, now_ms() + ahead - SAMPLES * 1000)
    sent.sent_at_ms = now_ms() + ahead
    until_stored(device, sent)
    problems = wait_for(
        "the problem on the fleet's page",
        lambda: [
            p for p in server.api.get("/telemetry/overview")["problems"]["list"] if p["kind"] == "clock"
        ],
        60.0,
    )
    assert "dreamer" in str(problems[0])
    latest = server.api.get("/telemetry/latest")["dreamer"]
    assert abs(latest["at_ms"] - now_ms()) < 120_000
    device.wire.close()


@pytest.mark.fault("corrupted SQLite file", "the start is refused, back-up and command named; it restores")
def test_a_corrupted_store_is_refused_and_restored(server: Installation) -> None:
    device = enrol(server, "keeper")
    until_stored(device, batch(1, now_ms() - 60_000))
    device.wire.close()
    made = server.cli("store", "backup", "--data", str(server.data_dir))
    server.close()
    path = server.data_dir / "edgepress.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 3)
        file.write(os.urandom(path.stat().st_size // 2))
    command = [*EDGEPRESS, "serve", "--data", str(server.data_dir), "--port", "0", "--mqtt-port", "0"]
    refused = subprocess.run(command, env=ENV, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode != 0 and "Traceback" not in refused.stderr
    assert made["file"] in refused.stderr and "edgepress store restore" in refused.stderr
    restored = server.cli("store", "restore", "--data", str(server.data_dir))
    assert restored["restored"] == made["file"]
    server.start_server()
    assert [row["name"] for row in server.api.get("/devices")] == ["keeper"]
    assert total(server, now_ms() - 3_600_000) == sum(s.inferences for s in batch(1, 0).samples)

"""What a sample tells, and where it goes when the disk takes nothing or the clock is set back."""

import errno
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import scale_model

from edgepress_agent import telemetry
from edgepress_agent.durable import Disk
from edgepress_agent.newest import describe_board, newest_figures
from edgepress_agent.outbox import Outbox
from edgepress_agent.runtime import Model, Runtime, open_session
from edgepress_agent.status import describe_status
from edgepress_agent.telemetry import LinkUp, Telemetry
from edgepress_devices.energy import EnergyMeter
from edgepress_devices.histogram import total
from edgepress_devices.model_messages import InputSample, ModelStats
from edgepress_devices.protocol import ErrorKinds, Reading, Sample, decode_batch
from edgepress_devices.sensors import Readings

ONES = np.ones((2, 4), np.float32)
BOARD = Readings(
    rss_bytes=40_000_000,
    mem_used_bytes=900_000_000,
    mem_total_bytes=4_000_000_000,
    cpu_percent=12.5,
    temp_c=48.1,
    throttled=False,
    power_mw=Reading(2500.0, "pmic", "rails"),
    battery_percent=None,
    agent_cpu_percent=0.3,
    disk_free_bytes=9_000_000_000,
    swap_used_bytes=0,
    cpu_mhz=1500.0,
    gpu_percent=None,
    battery_charging=None,
    disk_read_bytes=0,
    disk_written_bytes=4096,
    net_rx_bytes=1500,
    net_tx_bytes=60,
    wifi_dbm=-52.0,
)


class SameBoard:
    def __init__(self, readings: Readings | None = BOARD) -> None:
        self.readings = readings

    def read(self) -> Readings | None:
        return self.readings


class Device:
    """The telemetry thread's work without its thread: each ``tick`` is a second."""

    def __init__(self, folder: Path, **parts: Any) -> None:
        self.sent: list[bytes] = []
        self.board = SameBoard()
        self.runtime = Runtime()
        self.outbox = Outbox(folder, Disk())
        self.now_s = 0.0
        self.telemetry = Telemetry(
            outbox=self.outbox,
            runtime=self.runtime,
            sensors=self.board,
            energy=EnergyMeter(),
            send=self._send,
            stop=threading.Event(),
            **parts,
        )

    def _send(self, payload: bytes) -> bool:
        self.sent.append(payload)
        return True

    def tick(self, times: int = 1) -> None:
        for _ in range(times):
            self.now_s += 1.0
            self.telemetry.tick(1.0, self.now_s)

    def connect(self) -> None:
        self.telemetry.handle(LinkUp(), self.now_s)

    def kept(self) -> list[Sample]:
        while self.outbox.close_oldest():
            pass
        return [s for name in self.outbox.batches() for s in decode_batch(self.outbox.payload(name)).samples]


def model(digest: str = "a" * 64) -> Model:
    return Model(open_session(scale_model(2.0), 1), name="digits", digest=digest)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


def test_a_sample_tells_what_the_board_and_the_model_did(tmp_path: Path) -> None:
    device = Device(tmp_path)
    running = model()
    device.runtime.switch(running)
    running.infer({"x": ONES})
    running.meter.failed("busy")
    device.tick()
    [sample] = device.kept()
    assert (sample.artifact, sample.interval_ms) == ("a" * 64, 1000)
    assert (sample.inferences, sample.errors, sample.error_kinds) == (1, 1, ErrorKinds(busy=1))
    assert sample.latency_us is not None and sample.queue_us is not None
    assert total(sample.latency_us) == total(sample.queue_us) == 1
    assert (sample.temp_c, sample.net_rx_bytes, sample.wifi_dbm) == (48.1, 1500, -52.0)


def test_without_a_model_and_without_sensors_there_still_is_a_sample(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.board.readings = None  # they hang
    device.tick()
    [sample] = device.kept()
    assert sample == Sample(sample.at_ms, 1000)


def test_each_sample_is_a_batch_of_its_own_while_the_server_listens(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.connect()
    device.runtime.switch(model())
    device.tick(3)
    assert [len(decode_batch(payload).samples) for payload in device.sent] == [1, 1, 1]


def test_the_model_is_asked_for_its_statistics_about_once_a_minute_and_only_while_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = [0.0]
    monkeypatch.setattr(telemetry.time, "monotonic", lambda: times[0])
    device = Device(tmp_path, model_stats=lambda: ModelStats(60_000, 7))
    for second in range(1, 200):
        times[0] = float(second)
        if second == 100:
            device.runtime.switch(model())
        device.tick()
    told = [n for n, sample in enumerate(device.kept(), 1) if sample.model]
    assert told == [120, 180]


def test_sampled_inputs_travel_in_batches_of_their_own_and_stay_here_once_the_policy_ends(
    tmp_path: Path,
) -> None:
    waiting = [InputSample(1, "a" * 64, "random", "x", "float32", [4], b"1234")]

    def inputs() -> list[InputSample]:
        taken = list(waiting)
        waiting.clear()
        return taken

    device = Device(tmp_path, inputs=inputs)
    device.connect()
    device.tick(2)
    batches = [decode_batch(payload) for payload in device.sent]
    assert [(len(batch.samples), len(batch.inputs)) for batch in batches] == [(1, 0), (0, 1), (1, 0)]
    device.telemetry.handle(telemetry.InputsWithdrawn(), device.now_s)
    assert len(device.outbox.batches()) == 2


class FullDisk:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._add, self._put = Outbox.add, Outbox._put_aside
        self.full = False
        monkeypatch.setattr(Outbox, "add", lambda box, sample: self._try(self._add, box, sample))
        monkeypatch.setattr(Outbox, "_put_aside", lambda box, *given: self._try(self._put, box, *given))

    def _try(self, work: Any, *given: Any) -> Any:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return work(*given)


@pytest.mark.fault("full disk", "samples wait in memory, thinned past 600, and no count is lost")
@pytest.mark.parametrize("connected", [False, True])
def test_a_full_disk_loses_no_count(
    connected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device, disk = Device(tmp_path), FullDisk(monkeypatch)
    running = model()
    device.runtime.switch(running)
    if connected:
        device.connect()
    counted = 0

    def tick(times: int) -> None:
        nonlocal counted
        for _ in range(times):
            running.meter.answered(100.0)
            counted += 1
            device.tick()

    tick(2)
    disk.full = True
    tick(telemetry.UNKEPT_MAX + 50)
    assert len(device.telemetry._unkept) <= telemetry.UNKEPT_MAX
    disk.full = False
    tick(2)
    assert sum(sample.inferences for sample in device.kept()) == counted
    said = [record.message for record in caplog.records if "telemetry cannot be kept" in record.message]
    assert said == [
        "telemetry cannot be kept: No space left on device; samples stay in memory until there is room"
    ]


@pytest.mark.fault(
    "clock set back", "samples carry the new time under a new epoch, what waited keeps the old"
)
def test_a_clock_that_is_set_back_begins_an_epoch(tmp_path: Path) -> None:
    device = Device(tmp_path)
    wall_ms = [1_000_000.0]
    device.telemetry._clock._wall_ns = lambda: int(wall_ms[0] * 1_000_000)
    device.telemetry._clock._last_ms = 1_000_000
    device.telemetry._clock._steady_s = lambda: device.now_s
    device.telemetry._clock._last_s = 0.0
    for step_ms in (1000, 1000, -500_000, 1000):
        wall_ms[0] += step_ms
        device.tick()
    device.kept()
    epochs: dict[str, list[int]] = {}
    for name in device.outbox.batches():
        epochs.setdefault(name[0], []).extend(
            s.at_ms for s in decode_batch(device.outbox.payload(name)).samples
        )
    assert list(epochs.values()) == [[1_001_000, 1_002_000], [502_000, 503_000]]


def shown(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    return dict(rows)


def test_status_shows_what_was_measured_and_nothing_that_was_not(tmp_path: Path) -> None:
    device = Device(tmp_path)
    assert newest_figures(device.telemetry.newest) is None
    running = model()
    device.runtime.switch(running)
    running.infer({"x": ONES})
    device.tick()
    figures = newest_figures(device.telemetry.newest)
    assert figures is not None and "gpu_percent" not in figures
    assert figures["power_mw"] == {"value": 2500.0, "method": "pmic", "scope": "rails"}
    rows = shown(describe_board(figures))
    assert rows["board"] == "CPU 12 %, 1500 MHz, 48.1 °C, 900 of 4000 MB used, swap 0 MB, 9.0 GB of disk free"
    assert rows["power"] == "2.50 W (pmic, rails)"
    assert rows["traffic"] == (
        "received 1.5 kB/s, sent 0.1 kB/s, disk read 0.0 kB/s, written 4.1 kB/s, Wi-Fi -52 dBm"
    )
    assert rows["latency"].startswith("inference ") and " µs), waiting " in rows["latency"]
    slow = {"interval_ms": 1000, "latency_us": {"p50": 4810.0, "p95": 1_250_000.0}}
    assert shown(describe_board(slow))["latency"] == "inference 4.81 ms (p95 1.25 s)"
    assert rows["itself"] == "40.0 MB, 0.3 % of a core"
    assert "power" not in shown(describe_board({"interval_ms": 1000, "cpu_percent": 3.0}))


def test_status_counts_requests_by_what_was_wrong_with_them() -> None:
    status = {
        "device": "pi",
        "profile": "raspberry-pi-4",
        "server": "https://hub",
        "connected": True,
        "agent_running": True,
        "url": "http://127.0.0.1:8093",
        "step": "idle",
        "requests": {
            "answered": 1204,
            "failed": {"input": 2, "runtime": 0, "timeout": 0, "busy": 1},
            "waiting": 3,
        },
    }
    assert (
        "requests  1204 answered since the start, 3 failed (2 input, 1 busy), 3 waiting"
        in describe_status(status)
    )

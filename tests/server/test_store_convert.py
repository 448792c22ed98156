"""A store from before m018: its minutes are there afterwards, as blocks."""

from pathlib import Path

import msgspec
import pytest
import sqlite_utils

from edgepress_devices.histogram import LatencyRecorder, quantile
from edgepress_server.store import open_store
from edgepress_server.store.migrations import migrations
from edgepress_server.store.series.keys import SeriesKey
from edgepress_server.store.series.minutes import device_minutes
from edgepress_server.store.series.seal import HOUR_MS, MINUTE_MS

START_MS = 1_780_000_200_000 // HOUR_MS * HOUR_MS


def test_minutes_of_before_become_blocks(tmp_path: Path) -> None:
    before = sqlite_utils.Database(tmp_path / "edgepress.db")
    migrations.apply(before, stop_before="m018_series")
    recorder = LatencyRecorder()
    for value_us in (100.0, 200.0, 300.0):
        recorder.record(value_us)
    row = {
        "device": "pi",
        "artifact": "a" * 64,
        "inferences": 3,
        "errors": 1,
        "latency_us": msgspec.msgpack.encode(recorder.take()),
        "samples": 2,
        "rss_bytes_max": 4096,
        "cpu_percent_sum": 30.0,
        "cpu_count": 2,
        "temp_c_max": 61.5,
        "throttled": 1,
        "power_mw_sum": 3000.0,
        "power_count": 2,
        "power_method": "pmic",
        "energy_count": 0,
    }
    before["minutes"].insert_all({**row, "minute": START_MS + i * MINUTE_MS} for i in range(90))
    before.close()
    store = open_store(tmp_path, lambda: START_MS + 2 * HOUR_MS)
    minutes = device_minutes(store.series_read, ["pi"], START_MS, START_MS + 2 * HOUR_MS)["pi"]
    assert [minute.at for minute in minutes] == [START_MS + i * MINUTE_MS for i in range(90)]
    assert (minutes[0].artifact, minutes[0].inferences, minutes[0].errors) == ("a" * 64, 3, 1)
    assert (minutes[0].rss_bytes, minutes[0].temp_c, minutes[0].throttled) == (4096, 61.5, True)
    assert minutes[0].latency is not None
    assert quantile(minutes[0].latency, 0.5) == pytest.approx(200, rel=0.011)
    hours = store.series_read.frame(SeriesKey("device", "pi"), START_MS, START_MS + 2 * HOUR_MS, span="hour")
    assert hours.total("inferences").tolist() == [180.0, 90.0]
    assert hours.mean("power_mw").tolist() == [1500.0, 1500.0]
    assert hours.mean("cpu_percent").tolist() == [15.0, 15.0]
    store.close()

"""Telemetry as it is looked at: quantiles of merged histograms, steps, what is absent stays absent."""

import math
import random

import pytest
from server_story import Clock

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import Hardware, Reading, Sample, State, TelemetryBatch
from edgepress_server.store import Store
from edgepress_server.store.telemetry import Received
from edgepress_server.store.telemetry_read import METRICS, MINUTE_MS


def enrolled(store: Store, name: str, profile: str = "raspberry-pi-4") -> None:
    store.devices.register(name, profile, {}, actor=None)
    store.devices.enrol(store.devices.new_code(name, actor=None)[0], "a2V5", Hardware(), "0.1.0")
    store.device_states.record(name, State(online=True, at_ms=1))


def sample(at_ms: int, latencies_us: list[float] | None = None, **fields: object) -> Sample:
    recorder = LatencyRecorder()
    for value in latencies_us or []:
        recorder.record(value)
    inferences = len(latencies_us or [])
    return Sample(at_ms=at_ms, interval_ms=1000, inferences=inferences, latency_us=recorder.take(), **fields)  # type: ignore[arg-type]


class Reporter:
    """One device that reports."""

    def __init__(self, store: Store, name: str) -> None:
        self.store, self.name, self.number = store, name, 0

    def report(self, *samples: Sample) -> None:
        self.number += 1
        batch = TelemetryBatch(1, "epoch", self.number, list(samples))
        self.store.telemetry.store([Received(self.name, self.store.now_ms(), batch)])


def rank(values: list[float], q: float) -> float:
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


def test_the_p99_of_a_step_is_that_of_all_its_inferences(store: Store) -> None:
    """An average of the seconds' p99s would answer about 10 times too much here."""
    enrolled(store, "pi")
    now = store.now_ms()
    rng = random.Random(1)
    slow = [rng.uniform(90_000, 100_000) for _ in range(3)]
    seconds = [[rng.uniform(900, 1100) for _ in range(1000)] for _ in range(9)]
    seconds.append(slow)
    Reporter(store, "pi").report(*(sample(now + n * 1000, values) for n, values in enumerate(seconds)))
    everything = [value for second in seconds for value in second]
    found = store.telemetry_read.series("pi", ["latency_p50_us", "latency_p99_us"], now, now + 10_000, 10_000)
    assert found.t == [now]
    assert found.series["latency_p50_us"][0] == pytest.approx(rank(everything, 0.50), rel=0.011)
    assert found.series["latency_p99_us"][0] == pytest.approx(rank(everything, 0.99), rel=0.011)


def test_steps_without_samples_are_null_and_never_zero(store: Store) -> None:
    enrolled(store, "pi")
    now = store.now_ms()
    Reporter(store, "pi").report(sample(now, [5.0], rss_bytes=7 * 1024, temp_c=0.0), sample(now + 2000))
    found = store.telemetry_read.series("pi", list(METRICS), now, now + 3000, 1000)
    assert found.series["rss_bytes"] == [7 * 1024, None, None]
    assert found.series["temp_c"] == [0.0, None, None]
    assert found.series["latency_p50_us"][1:] == [None, None]
    assert found.series["inferences_per_s"] == [1.0, None, 0.0]
    assert found.series["battery_percent"] == [None, None, None]
    assert found.methods == {}


def test_power_is_a_mean_with_its_method(store: Store) -> None:
    enrolled(store, "pi")
    now = store.now_ms()
    readings = [Reading(1000.0, "pmic", "board"), Reading(3000.0, "pmic", "board")]
    Reporter(store, "pi").report(*(sample(now + n, [1.0], power_mw=r) for n, r in enumerate(readings)))
    found = store.telemetry_read.series("pi", ["power_mw"], now, now + 1000, 1000)
    assert (found.series["power_mw"], found.methods) == ([2000.0], {"power_mw": "pmic"})


def test_minutes_and_samples_tell_the_same_story(store: Store, clock: Clock) -> None:
    enrolled(store, "pi")
    start = store.now_ms() // MINUTE_MS * MINUTE_MS
    reporter = Reporter(store, "pi")
    rng = random.Random(2)
    for second in range(180):
        clock.ms = start + second * 1000
        values = [rng.lognormvariate(8, 0.3) for _ in range(20)]
        reading = Reading(rng.uniform(2000, 4000), "pmic", "board")
        reporter.report(
            sample(start + second * 1000, values, cpu_percent=rng.uniform(0, 100), power_mw=reading)
        )
    clock.ms = start + 180_000
    metrics = ["latency_p50_us", "latency_p95_us", "inferences_per_s", "cpu_percent", "power_mw"]
    fine = store.telemetry_read.series("pi", metrics, start, start + 180_000, MINUTE_MS)  # type: ignore[arg-type]
    coarse = store.telemetry_read.series("pi", metrics, start - 3_600_000, start + 180_000, MINUTE_MS)  # type: ignore[arg-type]
    assert coarse.t[-3:] == fine.t
    for metric in metrics:
        assert coarse.series[metric][-3:] == pytest.approx(fine.series[metric], rel=0.001)  # type: ignore[index]
        assert set(coarse.series[metric][:-3]) == {None}  # type: ignore[index]


def test_the_number_of_points_is_bounded(store: Store) -> None:
    enrolled(store, "pi")
    now = store.now_ms()
    assert len(store.telemetry_read.series("pi", ["temp_c"], now - 3_600_000, now, 1).t) <= 3601
    year = 365 * 24 * 3_600_000
    found = store.telemetry_read.series("pi", ["temp_c"], now - year, now, 1)
    assert len(found.t) <= 5001 and found.step_ms % MINUTE_MS == 0


def test_the_fleet_is_merged_and_split_by_profile(store: Store) -> None:
    now = store.now_ms()
    for name, profile, latency_us in (
        ("a", "raspberry-pi-4", 1000.0),
        ("b", "raspberry-pi-4", 1000.0),
        ("c", "jetson-nano", 9000.0),
    ):
        enrolled(store, name, profile)
        reading = Reading(1500.0, "estimate:tdp*cpu" if name == "c" else "pmic", "board")
        Reporter(store, name).report(sample(now, [latency_us] * 10, power_mw=reading))
    store.devices.register("new", "raspberry-pi-5", {}, actor=None)
    store.devices.register("old", "raspberry-pi-5", {}, actor=None)
    store.devices.revoke("old", actor=None)
    store.device_states.record("b", State(online=False))
    fleet = store.telemetry_read.fleet()
    assert (fleet.all.total, fleet.all.online, fleet.offline, fleet.registered, fleet.revoked) == (
        4,
        2,
        1,
        1,
        1,
    )
    assert fleet.all.p50_us == pytest.approx(1000, rel=0.011)
    assert fleet.all.p99_us == pytest.approx(9000, rel=0.011)
    assert fleet.all.inferences_per_s == 20.0  # of those online
    assert (fleet.all.power_mw, fleet.all.power_devices, fleet.all.power_estimated) == (3000.0, 2, 1)
    assert fleet.by_profile["raspberry-pi-4"].p99_us == pytest.approx(1000, rel=0.011)
    assert fleet.by_profile["raspberry-pi-5"].p99_us is None


def test_export_gives_every_sample_once_in_order_whatever_the_window(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgepress_server.store.series.read.EXPORT_WINDOW_MS", 3)
    now = store.now_ms()
    for name in ("a", "b"):
        enrolled(store, name)
        Reporter(store, name).report(*(sample(now + n // 2, [1.0], rss_bytes=n * 1024) for n in range(10)))
    rows = [
        (name, (s.rss_bytes or 0) // 1024) for name, s in store.telemetry_read.export(None, now, now + 100)
    ]
    assert rows == [(name, n) for name in ("a", "b") for n in range(10)]
    assert [s.rss_bytes for _, s in store.telemetry_read.export("b", now + 1, now + 2)] == [2048, 3072]

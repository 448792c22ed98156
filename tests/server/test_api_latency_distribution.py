"""The histogram of a device's times through the API."""

import math

import pytest
from server_story import Browser

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import Hardware, Sample, TelemetryBatch
from edgepress_server.store import Store
from edgepress_server.store.telemetry import Received

TIMES_US = [800.0, 810.0, 820.0, 1500.0, 9000.0]


@pytest.fixture
def timed(store: Store) -> int:
    """Device pi timed TIMES_US twice, in two samples from the returned time on."""
    store.devices.register("pi", "raspberry-pi-4", {}, actor=None)
    store.devices.enrol(store.devices.new_code("pi", actor=None)[0], "a2V5", Hardware(), "0.1.0")
    now = store.now_ms()
    samples = []
    for n in range(2):
        recorder = LatencyRecorder()
        for us in TIMES_US:
            recorder.record(us)
        samples.append(
            Sample(
                at_ms=now + n * 1000,
                interval_ms=1000,
                inferences=len(TIMES_US),
                latency_us=recorder.take(),
                artifact="ab" * 32,
            )
        )
    store.telemetry.store([Received("pi", now, TelemetryBatch(1, "e", 1, samples))])
    return now


def test_every_time_is_in_its_bucket(viewer: Browser, timed: int) -> None:
    found = viewer.get(f"/telemetry/distribution?device=pi&from={timed}&to={timed + 5000}")
    assert found["count"] == sum(found["counts"]) == 2 * len(TIMES_US)
    for us in TIMES_US:
        assert any(low < us <= high for low, high in zip(found["low"], found["high"], strict=True)), us
    assert found["low"] == sorted(found["low"])
    assert math.isclose(found["p50_us"], 820.0, rel_tol=0.0109)
    assert math.isclose(found["p99_us"], 9000.0, rel_tol=0.0109)


def test_what_was_not_timed_is_empty_and_not_zero(viewer: Browser, timed: int) -> None:
    found = viewer.get(f"/telemetry/distribution?device=pi&stage=queue&from={timed}&to={timed + 5000}")
    assert (found["count"], found["counts"], found["p50_us"]) == (0, [], None)
    earlier = viewer.get(f"/telemetry/distribution?device=pi&from={timed - 9000}&to={timed - 10}")
    assert (earlier["count"], earlier["p95_us"]) == (0, None)


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("device=pi&stage=speed", 400), ("device=none", 404), ("device=pi&from=5&to=5", 400)],
)
def test_a_wrong_question_is_refused(viewer: Browser, timed: int, query: str, status: int) -> None:
    assert viewer.refused(viewer.get(f"/telemetry/distribution?{query}", status))

"""Telemetry that is tried again after an error, and what a device that means harm can do to the others."""

import msgspec
import pytest
from fleet_story import Fleet
from server_story import START_MS, Clock

from edgepress_devices.protocol import Sample, TelemetryBatch
from edgepress_server.errors import DiskFullError
from edgepress_server.store import Store
from edgepress_server.store.series.keys import SeriesKey
from edgepress_server.store.series.seal import DAY_MS
from edgepress_server.store.telemetry import Received

HOUR_MS = 3_600_000
PI = SeriesKey("device", "pi")


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    made = Fleet(store, clock)
    made.enrol("pi")
    return made


def sample(at_ms: int = START_MS, **more: object) -> Sample:
    return msgspec.structs.replace(Sample(at_ms=at_ms, interval_ms=1000, inferences=3), **more)


def batch(number: int, *samples: Sample, sent_at_ms: int = 0) -> Received:
    return Received("pi", START_MS, TelemetryBatch(1, "e", number, list(samples), sent_at_ms=sent_at_ms))


def full(*_: object, **__: object) -> None:
    raise DiskFullError


def times(store: Store) -> list[int]:
    return sorted(s.at_ms for _, s in store.series_read.export(None, 0, store.now_ms() + DAY_MS))


def inferences(store: Store) -> float:
    frame = store.series_read.frame(PI, START_MS - HOUR_MS, START_MS + HOUR_MS, span="minute")
    return float(frame.total("inferences").sum())


@pytest.mark.fault("full disk", "a wrong clock is corrected once, however often its batch is tried")
def test_a_wrong_clock_is_corrected_once_however_often_the_store_fails(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = batch(1, sample(START_MS + HOUR_MS - 1000), sent_at_ms=START_MS + HOUR_MS)
    with monkeypatch.context() as patched:
        patched.setattr(fleet.store.events, "append", full)
        for _ in range(3):
            with pytest.raises(DiskFullError):
                fleet.store.telemetry.store([ahead])
    fleet.store.telemetry.store([ahead])
    assert times(fleet.store) == [START_MS - 1000]


@pytest.mark.attack("skewed clock", "no clock moves a sample to before 1970, where nobody could read it")
def test_no_clock_makes_the_newest_samples_unreadable(fleet: Fleet) -> None:
    fleet.store.telemetry.store([batch(1, sample(START_MS), sent_at_ms=2**53)])
    assert set(fleet.store.series_read.latest()) == {"pi"}

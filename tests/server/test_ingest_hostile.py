"""Telemetry that is tried again after an error, and what a device that means harm can do to the others."""

import msgspec
import pytest
from fleet_story import Fleet
from server_story import START_MS, Clock

from edgepress_devices.protocol import Histogram, InputSample, Reading, Sample, TelemetryBatch, up_topic
from edgepress_server.errors import DiskFullError
from edgepress_server.link import ingest as ingest_module
from edgepress_server.link.ingest import Ingest
from edgepress_server.store import Store, open_store
from edgepress_server.store.series import texts as texts_module
from edgepress_server.store.series.keys import FLEET, SeriesKey
from edgepress_server.store.series.seal import DAY_MS
from edgepress_server.store.series.tables import SeriesTables
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


@pytest.mark.fault("full disk", "a start that fails counts nothing twice and forgets no open minute")
@pytest.mark.parametrize("fails", ["clear_open_of_devices", "write_open"])
def test_a_start_that_fails_is_begun_again(fleet: Fleet, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    fleet.store.telemetry.store([batch(1, sample(START_MS))])
    fleet.store.close()
    store = open_store(fleet.store.database.path.parent, fleet.clock)
    with monkeypatch.context() as patched:
        patched.setattr(SeriesTables, fails, full)
        with pytest.raises(DiskFullError):
            store.telemetry.store([batch(2, sample(START_MS + 1000))])
    store.telemetry.store([batch(2, sample(START_MS + 1000))])
    assert inferences(store) == 6
    store.close()


@pytest.mark.attack(
    "telemetry export to the year 2248", "time in which nothing can lie is not looked through"
)
def test_an_export_looks_at_no_time_to_come(fleet: Fleet) -> None:
    fleet.store.telemetry.store([batch(1, sample(START_MS))])
    assert [s.at_ms for _, s in fleet.store.series_read.export("pi", 0, 2**43)] == [START_MS]


@pytest.mark.attack(
    "texts without end", "what the server made keeps its name, however many texts a device invents"
)
def test_a_device_cannot_take_the_names_of_artifacts_to_come(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts_module, "TEXTS_MAX", 4)
    fleet.store.telemetry.store([batch(1, *(sample(START_MS + n, artifact=f"{n:064x}") for n in range(9)))])
    digest = fleet.artifact("made after that")
    fleet.store.telemetry.store([batch(2, sample(START_MS + 100, artifact=digest))])
    assert [s.artifact for _, s in fleet.store.series_read.export("pi", START_MS + 100, START_MS + 101)] == [
        digest
    ]


@pytest.mark.attack("a flood of empty messages", "what waits is counted with what it takes beside its bytes")
def test_empty_messages_fill_the_queue_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest_module, "QUEUE_BYTES", 100_000)
    ingest = Ingest(store, lambda _acks: None)
    for _ in range(1000):
        ingest.put(up_topic("pi", "telemetry"), b"")
    assert len(ingest._waiting) < 500


@pytest.mark.attack("inputs in a bad batch", "what is set aside for people to look at holds no input")
def test_the_quarantine_holds_no_inputs(fleet: Fleet) -> None:
    secret = InputSample(START_MS, "a" * 64, "random", "x", "float32", [1], b"what nobody may see")
    wrong = sample(START_MS, power_mw=Reading(-3.0, "ina3221", "board"))
    taken = TelemetryBatch(1, "e", 1, [wrong], inputs=[secret])
    fleet.store.telemetry.store([Received("pi", START_MS, taken)])
    (row,) = fleet.store.quarantine.rows()
    assert b"nobody" not in row.payload


@pytest.mark.attack(
    "a histogram that blurs the fleet's", "one too coarse or too wide for a latency is set aside"
)
@pytest.mark.parametrize(
    "blur", [Histogram(-10, -1, [1, 1]), Histogram(5, -4096, [1]), Histogram(5, 4090, [1])]
)
def test_one_device_cannot_blur_the_latencies_of_all(fleet: Fleet, blur: Histogram) -> None:
    """Merged histograms have the coarsest scale among them, and room for 640 buckets."""
    fleet.enrol("pc")
    fleet.store.telemetry.store([batch(1, sample(START_MS, latency_us=Histogram(5, 320, [10])))])
    taken = TelemetryBatch(1, "e", 1, [sample(START_MS, latency_us=blur)])
    fleet.store.telemetry.store([Received("pc", START_MS, taken)])
    (row,) = fleet.store.quarantine.rows()
    assert row.reason.startswith("latency_us in buckets of")
    frame = fleet.store.series_read.frame(
        FLEET, START_MS - 60_000, START_MS + 60_000, span="minute", histograms=["latency_us"]
    )
    assert list(frame.histograms["latency_us"]) == [Histogram(5, 320, [10])]

"""Telemetry into the store: every batch once, in any order, whatever is killed between."""

import json
import re
from uuid import uuid4

import msgspec
import numpy as np
import pytest
from fleet_story import Fleet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_story import START_MS, Clock

from edgepress_devices.histogram import LatencyRecorder, quantile, total
from edgepress_devices.protocol import (
    BUCKET_COUNT_MAX,
    ErrorKinds,
    Histogram,
    ModelStats,
    Reading,
    Sample,
    TelemetryBatch,
    decode_batch,
)
from edgepress_server.errors import DiskFullError, StoreError
from edgepress_server.store import Store, open_store
from edgepress_server.store.quarantine import QUARANTINE_ROWS, Quarantined
from edgepress_server.store.series import keys as keys_module
from edgepress_server.store.series import texts as texts_module
from edgepress_server.store.series.histograms import HistogramColumn
from edgepress_server.store.series.keys import FLEET, SeriesKey
from edgepress_server.store.series.minutes import DeviceMinute, device_minutes
from edgepress_server.store.series.seal import DAY_MS
from edgepress_server.store.telemetry import Received


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    made = Fleet(store, clock)
    made.enrol("pi", "pc")
    return made


def latencies(*values_us: float) -> Histogram:
    recorder = LatencyRecorder()
    for value in values_us:
        recorder.record(value)
    taken = recorder.take()
    assert taken is not None
    return taken


def sample(at_ms: int = START_MS, **more: object) -> Sample:
    return msgspec.structs.replace(Sample(at_ms=at_ms, interval_ms=1000, inferences=3), **more)


def batch(
    number: int,
    *samples: Sample,
    epoch: str = "e",
    oldest: int = 0,
    device: str = "pi",
    received_at: int = START_MS,
) -> Received:
    taken = list(samples) or [sample(START_MS + number)]
    return Received(device, received_at, TelemetryBatch(1, epoch, number, taken, oldest))


def count(store: Store, table: str = "hot") -> int:
    """Rows of a table; of "hot": samples that are not sealed."""
    what = "coalesce(sum(rows), 0)" if table == "hot" else "count(*)"
    row = store.database.row(f"SELECT {what} AS n FROM {table}")
    assert row is not None
    return int(row["n"])


def times(store: Store) -> list[int]:
    return sorted(s.at_ms for _, s in store.series_read.export(None, 0, store.now_ms() + DAY_MS))


def test_a_batch_counts_once_however_often_it_comes(fleet: Fleet) -> None:
    store = fleet.store.telemetry.store
    assert store([batch(1), batch(1)]) == {("pi", "e"): 1}
    assert store([batch(1), batch(2)]) == {("pi", "e"): 2}
    assert store([batch(2)]) == {("pi", "e"): 2}  # acknowledged again: the first answer was lost
    assert count(fleet.store) == 2


def test_epochs_and_devices_count_apart(fleet: Fleet) -> None:
    stored = fleet.store.telemetry.store([batch(1), batch(1, epoch="f"), batch(1, device="pc")])
    assert stored == {("pi", "e"): 1, ("pi", "f"): 1, ("pc", "e"): 1}
    assert count(fleet.store) == 3


def test_a_gap_is_not_acknowledged_until_it_is_filled(fleet: Fleet) -> None:
    store = fleet.store.telemetry.store
    assert store([batch(1), batch(3), batch(4)]) == {("pi", "e"): 1}
    assert store([batch(3)]) == {("pi", "e"): 1}
    assert store([batch(2)]) == {("pi", "e"): 4}
    assert count(fleet.store) == 4


def test_a_gap_that_the_device_has_given_up_is_closed(fleet: Fleet) -> None:
    store = fleet.store.telemetry.store
    assert store([batch(1), batch(5, oldest=1)]) == {("pi", "e"): 1}
    assert store([batch(6, oldest=5)]) == {("pi", "e"): 6}
    assert store([batch(3)]) == {("pi", "e"): 6}
    assert count(fleet.store) == 3


@given(order=st.permutations(range(1, 9)), cuts=st.lists(st.integers(1, 3), min_size=8, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
def test_any_order_with_repeats_stores_each_once(fleet: Fleet, order: list[int], cuts: list[int]) -> None:
    epoch = uuid4().hex
    line = [number for number in order for _ in range(2)]
    before, acknowledged = count(fleet.store), 0
    while line:
        part, line = line[: cuts[0]], line[cuts[0] :]
        stored = fleet.store.telemetry.store([batch(number, epoch=epoch) for number in part])
        assert stored["pi", epoch] >= acknowledged
        acknowledged = stored["pi", epoch]
    assert acknowledged == 8
    assert count(fleet.store) - before == 8


def test_nobody_but_enrolled_devices_has_telemetry(fleet: Fleet) -> None:
    fleet.store.devices.revoke("pc", actor=None)
    spoilt = Quarantined("nobody", START_MS, "no reason", b"x")
    assert fleet.store.telemetry.store([batch(1, device="nobody"), batch(1, device="pc")], [spoilt]) == {}
    assert (count(fleet.store), count(fleet.store, "quarantine")) == (0, 0)


def test_what_cannot_be_read_is_kept_and_acknowledged(fleet: Fleet) -> None:
    spoilt = Quarantined("pi", START_MS, "malformed", b"\x93" + b"x" * 100_000, named=("e", 2))
    assert fleet.store.telemetry.store([batch(1)], [spoilt]) == {("pi", "e"): 2}
    row = fleet.store.database.row("SELECT * FROM quarantine")
    assert row is not None
    assert (row["device"], row["reason"], len(row["payload"])) == ("pi", "malformed", 65_536)


def test_all_fields_come_back(fleet: Fleet) -> None:
    full = sample(
        artifact="a" * 64,
        errors=1,
        latency_us=latencies(100, 200),
        rss_bytes=5 * 1024,
        mem_used_bytes=6 * 1024,
        mem_total_bytes=7 * 1024,
        cpu_percent=8.5,
        temp_c=61.5,
        throttled=True,
        power_mw=Reading(2500.0, "ina3221", "board"),
        energy_mj=Reading(12.5, "ina3221", "board"),
        battery_percent=99.0,
        agent_cpu_percent=1.5,
        disk_free_bytes=8 * 1024,
        error_kinds=ErrorKinds(input=1),
        queue_us=latencies(5),
        wifi_dbm=-61.0,
        net_rx_bytes=17,
    )
    fleet.store.telemetry.store([batch(1, full)])
    latest = fleet.store.database.row("SELECT * FROM latest WHERE device = 'pi'")
    assert latest is not None
    assert msgspec.json.decode(latest["sample"], type=Sample) == full
    bare = sample(START_MS + 1)
    fleet.store.telemetry.store([batch(2, bare)])
    assert [s for _, s in fleet.store.series_read.export("pi", START_MS, START_MS + 2)] == [full, bare]


def test_latest_is_the_newest_whatever_the_order(fleet: Fleet) -> None:
    fleet.store.telemetry.store([batch(2, sample(START_MS + 5)), batch(1, sample(START_MS + 1))])
    fleet.store.telemetry.store([batch(3, sample(START_MS - 60_000))])
    row = fleet.store.database.row("SELECT at FROM latest")
    assert row is not None
    assert row["at"] == START_MS + 5


def minutes(store: Store, device: str = "pi") -> list[DeviceMinute]:
    return device_minutes(store.series_read, [device], 0, store.now_ms() + DAY_MS).get(device, [])


def test_minutes_hold_the_merged_histogram_of_the_samples(fleet: Fleet) -> None:
    start = START_MS // 60_000 * 60_000
    first = sample(start + 1000, latency_us=latencies(100, 110), temp_c=50.0, cpu_percent=10.0)
    second = sample(
        start + 2000, latency_us=latencies(10_000), temp_c=60.0, power_mw=Reading(1000.0, "rapl", "p")
    )
    other = sample(start + 61_000, latency_us=latencies(5))
    fleet.store.telemetry.store([batch(1, first)])
    again = open_store(fleet.store.data_dir, fleet.store.now_ms)  # a restart in between
    again.telemetry.store([batch(2, second, other, received_at=start + 62_000)])
    one, two = minutes(again)
    assert (one.at, two.at) == (start, start + 60_000)
    assert (one.inferences, one.temp_c, one.energy_mj) == (6, 60.0, None)
    assert one.latency is not None
    assert total(one.latency) == 3
    assert quantile(one.latency, 1.0) == pytest.approx(10_000, rel=0.011)
    frame = again.series_read.frame(SeriesKey("device", "pi"), start, start + 60_000, span="minute")
    assert (frame.mean("power_mw")[0], frame.samples("cpu_percent")[0]) == (1000.0, 1)
    assert again.series_read.methods("pi") == {"power_mw": "rapl (p)"}
    again.close()


def test_counts_beyond_the_wire_format_stay_at_its_end() -> None:
    column = HistogramColumn.of([Histogram(5, 0, [BUCKET_COUNT_MAX]), Histogram(5, 0, [7])])
    merged = column.merged(np.zeros(2, np.int64), 1)
    assert list(merged) == [Histogram(5, 0, [BUCKET_COUNT_MAX])]


def test_a_minute_is_counted_once_when_a_commit_fails(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry = fleet.store.telemetry
    telemetry.store([batch(1)])

    def full(*_: object, **__: object) -> None:
        raise DiskFullError

    with monkeypatch.context() as patched:
        patched.setattr(fleet.store.events, "append", full)
        fleet.clock.forward(2000)
        with pytest.raises(DiskFullError):
            telemetry.store([batch(2)])
    assert telemetry.store([batch(2)]) == {("pi", "e"): 2}
    assert [m.inferences for m in minutes(fleet.store)] == [6]
    assert count(fleet.store) == 2


def test_a_locked_store_is_an_error_and_nothing_is_half_stored(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepress_server.store import database

    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.01)
    fleet.store.close()
    blocker = fleet.store.database.connect()
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="busy"):
        fleet.store.telemetry.store([batch(1)])
    blocker.execute("ROLLBACK")
    blocker.close()
    assert fleet.store.telemetry.store([batch(1)]) == {("pi", "e"): 1}
    assert [m.inferences for m in minutes(fleet.store)] == [3]


def test_a_board_without_a_clock_appears_when_it_was_heard(fleet: Fleet) -> None:
    """Its samples keep their distances and end at the moment of receipt; good ones beside them stay."""
    fleet.store.telemetry.store([batch(1, sample(1000), sample(2000), sample(START_MS - 10_000))])
    fleet.store.telemetry.store([batch(2, sample(START_MS + 10**10), sample(START_MS + 10**10 - 500))])
    assert times(fleet.store) == [START_MS - 10_000, START_MS - 1000, START_MS - 500, START_MS, START_MS]


def test_at_most_one_event_a_second_names_everyone(fleet: Fleet) -> None:
    before = fleet.store.events.last_id()
    fleet.store.telemetry.store([batch(1)])
    fleet.store.telemetry.store([batch(2), batch(1, device="pc")])
    fleet.clock.forward(1000)
    fleet.store.telemetry.store([batch(3)])
    events = fleet.store.events.after(before)
    assert [event.data["devices"] for event in events] == [["pi"], ["pc", "pi"]]
    assert {(event.kind, event.subject, event.action) for event in events} == {
        ("telemetry", "fleet", "batch")
    }


def work(store: Store) -> None:
    """All that is due."""
    while store.telemetry.step():
        pass


def test_old_samples_go_and_minutes_stay(fleet: Fleet) -> None:
    fleet.store.telemetry.store([batch(1)])
    fleet.clock.forward(DAY_MS + 20 * 60_000)
    work(fleet.store)
    spoilt = [Quarantined("pi", START_MS, str(n), b"") for n in range(QUARANTINE_ROWS + 5)]
    now = START_MS + DAY_MS + 20 * 60_000
    fleet.store.telemetry.store([batch(2, sample(now), received_at=now)], spoilt)
    fleet.clock.forward(60_000)
    work(fleet.store)
    assert times(fleet.store) == [now]
    assert len(minutes(fleet.store)) == 2
    assert count(fleet.store, "quarantine") == QUARANTINE_ROWS
    fleet.clock.forward(200 * DAY_MS)
    work(fleet.store)
    assert (minutes(fleet.store), count(fleet.store, "batches")) == ([], 0)
    hours = fleet.store.series_read.frame(FLEET, 0, fleet.store.now_ms(), span="hour")
    assert hours.total("inferences").sum() == 6


def test_a_thousand_gaps_do_not_grow_the_ledger_for_ever(fleet: Fleet) -> None:
    fleet.store.telemetry.store([batch(2 * n) for n in range(1, 1500)])
    row = fleet.store.database.row("SELECT number, beyond FROM batches")
    assert row is not None
    assert len(json.loads(row["beyond"])) <= 1000
    assert row["number"] >= 900
    assert count(fleet.store) == 1499


@pytest.mark.fault("skewed clock", "times are corrected by what the batch says of its sending, and flagged")
@pytest.mark.parametrize("wrong_ms", [-5 * 3600_000, 3 * 3600_000])
def test_a_wrong_clock_is_corrected_and_named(fleet: Fleet, wrong_ms: int) -> None:
    def sent(number: int, off_ms: int) -> Received:
        taken = [sample(START_MS + off_ms - 2000), sample(START_MS + off_ms - 1000)]
        return Received("pi", START_MS, TelemetryBatch(1, "e", number, taken, sent_at_ms=START_MS + off_ms))

    fleet.store.telemetry.store([sent(1, wrong_ms)])
    assert times(fleet.store) == [START_MS - 2000, START_MS - 1000]
    assert fleet.store.series_read.clocks()["pi"].offset_ms == -wrong_ms
    fleet.store.telemetry.store([sent(2, 0)])
    assert fleet.store.series_read.clocks() == {}


@pytest.mark.fault("negative power", "the batch is set aside with its reason, and those beside it count")
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"power_mw": Reading(-3.0, "ina3221", "board")}, "power_mw of -3 mW"),
        ({"cpu_percent": 101.0}, "cpu_percent of 101 %"),
        ({"inferences": 10**12}, "inferences of 1e\\+12"),
        ({"interval_ms": 10**10}, "covered_ms of 1e\\+10 ms"),
        ({"temp_c": -274.0}, "temp_c of -274"),
        ({"model": ModelStats(1000, 5, output_ks=2.0)}, "output_ks of 2"),
        ({"latency_us": Histogram(5, 0, [10**9, 10**9])}, "more latency_us in one sample"),
    ],
)
def test_what_cannot_be_true_is_set_aside(fleet: Fleet, wrong: dict[str, object], reason: str) -> None:
    stored = fleet.store.telemetry.store([batch(1), batch(2, sample(START_MS, **wrong)), batch(3)])
    assert stored == {("pi", "e"): 3}
    assert count(fleet.store) == 2
    (row,) = fleet.store.quarantine.rows()
    assert re.match(reason, row.reason)
    assert decode_batch(whole_payload(fleet.store, row.id)).number == 2


def whole_payload(store: Store, number: int) -> bytes:
    row = store.database.row("SELECT payload FROM quarantine WHERE id = ?", (number,))
    assert row is not None
    return bytes(row["payload"])


@pytest.mark.attack("a million labels", "only so many labels become series; a device's own figures all count")
def test_labels_without_end_are_not_series_without_end(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(keys_module._MOST, "label", 5)
    made = Fleet(store, clock)
    names = [f"d{i}" for i in range(9)]
    for i, name in enumerate(names):
        made.enrol(name)
        store.devices.change(name, labels={"serial": str(i)}, actor=None)
    store.telemetry.store([batch(1, device=name) for name in names])
    assert len(store.series_read.labels()) == 5
    assert store.series_read.frame(FLEET, START_MS - 60_000, START_MS + 60_000, span="minute").total(
        "inferences"
    ).tolist() == [27.0]


@pytest.mark.attack("texts without end", "methods and digests that a device invents are kept as one")
def test_texts_that_devices_invent_are_bounded(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts_module, "TEXTS_MAX", 4)
    many = [
        sample(START_MS + n, power_mw=Reading(1.0 + n, f"method {n}", "board"), artifact=f"{n:064x}")
        for n in range(9)
    ]
    fleet.store.telemetry.store([batch(1, *many)])
    assert count(fleet.store, "texts") == 4
    found = [s for _, s in fleet.store.series_read.export("pi", START_MS, START_MS + 10)]
    assert [s.power_mw.value for s in found if s.power_mw] == [1.0 + n for n in range(9)]

"""Telemetry into the store: every batch once, in any order, whatever is killed between."""

import json
from collections import Counter

import msgspec
import pytest
from fleet_story import Fleet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_story import START_MS, Clock

from edgepress_devices.histogram import LatencyRecorder, quantile, total
from edgepress_devices.protocol import Histogram, Reading, Sample, TelemetryBatch
from edgepress_server.errors import DiskFullError, StoreError
from edgepress_server.store import Store
from edgepress_server.store.telemetry import HOT_MS, QUARANTINE_ROWS, Quarantined, Received, Telemetry


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


def count(store: Store, table: str = "samples") -> int:
    row = store.database.row(f"SELECT count(*) AS n FROM {table}")
    assert row is not None
    return int(row["n"])


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
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_any_order_with_repeats_stores_each_once(fleet: Fleet, order: list[int], cuts: list[int]) -> None:
    epoch = "-".join(map(str, order)) + str(cuts)
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
        rss_bytes=5,
        mem_used_bytes=6,
        mem_total_bytes=7,
        cpu_percent=8.5,
        temp_c=61.5,
        throttled=True,
        power_mw=Reading(2500.0, "ina3221", "board"),
        energy_mj=Reading(12.5, "ina3221", "board"),
        battery_percent=99.0,
        agent_cpu_percent=1.5,
        disk_free_bytes=8,
    )
    fleet.store.telemetry.store([batch(1, full)])
    row = fleet.store.database.row("SELECT * FROM samples")
    assert row is not None
    assert msgspec.msgpack.decode(row["latency_us"], type=Histogram) == full.latency_us
    assert (row["power_mw"], row["power_method"], row["energy_mj"], row["throttled"]) == (
        2500,
        "ina3221",
        12.5,
        1,
    )
    latest = fleet.store.database.row("SELECT * FROM latest WHERE device = 'pi'")
    assert latest is not None
    assert msgspec.json.decode(latest["sample"], type=Sample) == full
    bare = sample(START_MS + 1)
    fleet.store.telemetry.store([batch(2, bare)])
    row = fleet.store.database.row("SELECT * FROM samples WHERE at = ?", (START_MS + 1,))
    assert row is not None
    absent = [key for key in row.keys() if row[key] is None]  # noqa: SIM118 - a Row iterates over values
    assert {"latency_us", "temp_c", "power_mw", "throttled", "battery_percent", "artifact"} <= set(absent)


def test_latest_is_the_newest_whatever_the_order(fleet: Fleet) -> None:
    fleet.store.telemetry.store([batch(2, sample(START_MS + 5)), batch(1, sample(START_MS + 1))])
    fleet.store.telemetry.store([batch(3, sample(START_MS - 60_000))])
    row = fleet.store.database.row("SELECT at FROM latest")
    assert row is not None
    assert row["at"] == START_MS + 5


def minutes(store: Store) -> list[dict[str, object]]:
    return [
        dict(row) for row in store.database.rows("SELECT * FROM minutes ORDER BY device, minute, artifact")
    ]


def test_minutes_hold_the_merged_histogram_of_the_samples(fleet: Fleet) -> None:
    start = START_MS // 60_000 * 60_000
    first = sample(start + 1000, latency_us=latencies(100, 110), temp_c=50.0, cpu_percent=10.0)
    second = sample(
        start + 2000, latency_us=latencies(10_000), temp_c=60.0, power_mw=Reading(1000.0, "rapl", "p")
    )
    other = sample(start + 61_000, latency_us=latencies(5))
    fleet.store.telemetry.store([batch(1, first)])
    store = fleet.store
    store.telemetry = Telemetry(store.database, store.events, store.profiling)  # a restart in between
    fleet.store.telemetry.store([batch(2, second, other, received_at=start + 62_000)])
    one, two = minutes(fleet.store)
    assert (one["minute"], two["minute"]) == (start, start + 60_000)
    assert (one["inferences"], one["samples"], one["temp_c_max"], one["cpu_count"]) == (6, 2, 60.0, 1)
    assert (one["power_mw_sum"], one["power_count"], one["power_method"]) == (1000.0, 1, "rapl")
    assert one["energy_mj_sum"] is None
    blob = one["latency_us"]
    assert isinstance(blob, bytes)
    merged = msgspec.msgpack.decode(blob, type=Histogram)
    assert total(merged) == 3
    assert quantile(merged, 1.0) == pytest.approx(10_000, rel=0.011)


def test_counts_beyond_the_wire_format_leave_the_minute_readable(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgepress_server.store import minutes as minutes_module

    monkeypatch.setattr(minutes_module, "BUCKET_COUNT_MAX", 3)
    for number in (1, 2):
        fleet.store.telemetry.store([batch(number, sample(START_MS, latency_us=latencies(7, 7)))])
    (row,) = minutes(fleet.store)
    blob = row["latency_us"]
    assert isinstance(blob, bytes)
    assert total(msgspec.msgpack.decode(blob, type=Histogram)) == 2
    assert row["inferences"] == 6


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
    assert [m["inferences"] for m in minutes(fleet.store)] == [6]
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
    assert [m["inferences"] for m in minutes(fleet.store)] == [3]


def test_a_board_without_a_clock_appears_when_it_was_heard(fleet: Fleet) -> None:
    """Its samples keep their distances and end at the moment of receipt; good ones beside them stay."""
    fleet.store.telemetry.store([batch(1, sample(1000), sample(2000), sample(START_MS - 10_000))])
    fleet.store.telemetry.store([batch(2, sample(START_MS + 10**10), sample(START_MS + 10**10 - 500))])
    times = sorted(row["at"] for row in fleet.store.database.rows("SELECT at FROM samples"))
    assert times == [START_MS - 10_000, START_MS - 1000, START_MS - 500, START_MS, START_MS]


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


def test_old_samples_go_and_minutes_stay(fleet: Fleet) -> None:
    fleet.store.telemetry.store([batch(1)])
    fleet.clock.forward(HOT_MS + 1000)
    spoilt = [Quarantined("pi", START_MS, str(n), b"") for n in range(QUARANTINE_ROWS + 5)]
    now = START_MS + HOT_MS
    fleet.store.telemetry.store([batch(2, sample(now), received_at=now)], spoilt)
    assert fleet.store.telemetry.prune() is False
    assert [row["at"] for row in fleet.store.database.rows("SELECT at FROM samples")] == [START_MS + HOT_MS]
    assert len(minutes(fleet.store)) == 2
    assert count(fleet.store, "quarantine") == QUARANTINE_ROWS
    fleet.clock.forward(200 * 24 * 3600 * 1000)
    fleet.store.telemetry.prune()
    assert (minutes(fleet.store), count(fleet.store, "batches")) == ([], 0)


def test_a_thousand_gaps_do_not_grow_the_ledger_for_ever(fleet: Fleet) -> None:
    fleet.store.telemetry.store([batch(2 * n) for n in range(1, 1500)])
    row = fleet.store.database.row("SELECT number, beyond FROM batches")
    assert row is not None
    assert len(json.loads(row["beyond"])) <= 1000
    assert row["number"] >= 900
    assert Counter(r["device"] for r in fleet.store.database.rows("SELECT device FROM samples")) == {
        "pi": 1499
    }

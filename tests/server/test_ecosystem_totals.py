"""Running totals equal brute force over every sample ever stored, and never fall."""

from __future__ import annotations

import pytest
from ecosystem_fleet import A, B, Fleet
from server_story import Clock

from edgepress_devices.histogram import merge
from edgepress_devices.protocol import Sample
from edgepress_server.ecosystem.device_totals import WINDOW_MS, DeviceTotals
from edgepress_server.ecosystem.group_totals import DAY_MS, FACT, HOUR_MS, SETTLE_MS, GroupTotals
from edgepress_server.ecosystem.totals import Total
from edgepress_server.store import Store
from edgepress_server.store.series.keys import SeriesKey

MINUTE_MS = 60_000
PI, JET = SeriesKey("profile", "raspberry-pi-4"), SeriesKey("profile", "jetson-nano")


@pytest.fixture
def fleet(store: Store, clock: Clock) -> Fleet:
    return Fleet(store, clock)


def brute_force(samples: list[Sample], artifact: str) -> Total:
    mine = [sample for sample in samples if (sample.artifact or "") == artifact]
    histogram = merge([s.latency_us for s in mine if s.latency_us is not None])
    return Total(
        sums={
            "covered_ms": sum(s.interval_ms for s in mine),
            "inferences": sum(s.inferences for s in mine),
            "errors": sum(s.errors for s in mine),
            "net_rx_bytes": sum(s.net_rx_bytes or 0 for s in mine),
            "errors_input": sum(s.error_kinds.input for s in mine if s.error_kinds is not None),
            "errors_runtime": 0,
            "errors_timeout": 0,
            "errors_busy": 0,
        },
        samples=len(mine),
        histograms={} if histogram is None else {"latency_us": histogram},
    )


def same(total: Total, expected: Total) -> bool:
    assert (total.sums, total.samples) == (expected.sums, expected.samples)
    assert total.histograms == expected.histograms
    return True


def test_totals_of_a_profile_are_the_sum_of_its_samples(fleet: Fleet, clock: Clock, store: Store) -> None:
    totals = GroupTotals(store.series_read, store.facts)
    pi: list[Sample] = []
    jet: list[Sample] = []
    for step_ms in (0, 30_000, 10 * MINUTE_MS, 5 * HOUR_MS, 3 * DAY_MS):
        clock.forward(step_ms)
        pi += fleet.report("pi-1", 20) + fleet.report("pi-2", 10)
        jet += fleet.report("jet-1", 5)
        found = totals.read([PI, JET], clock.ms)
        assert same(found[PI], brute_force(pi, A)) and same(found[JET], brute_force(jet, A))


def test_totals_outlive_the_rows_and_the_process(fleet: Fleet, clock: Clock, store: Store) -> None:
    totals = GroupTotals(store.series_read, store.facts)
    samples = fleet.report("pi-1", 20)
    for _ in range(4):
        clock.forward(SETTLE_MS)
        samples += fleet.report("pi-1", 3)
        while store.telemetry.step():
            pass
        totals.read([PI], clock.ms)
    assert store.facts.get(FACT)["until"] > clock.ms - 2 * SETTLE_MS
    with store.transaction() as connection:  # as if all that is settled had outlived its time
        connection.execute("DELETE FROM blocks WHERE last_at < ?", (clock.ms - SETTLE_MS - DAY_MS,))
    anew = GroupTotals(store.series_read, store.facts)
    assert same(anew.read([], clock.ms)[PI], brute_force(samples, A))


def test_data_that_comes_late_is_counted(fleet: Fleet, clock: Clock, store: Store) -> None:
    totals = GroupTotals(store.series_read, store.facts)
    samples = fleet.report("pi-1", 20)
    clock.forward(DAY_MS)
    samples += fleet.report("pi-1", 5)
    totals.read([PI], clock.ms)
    samples += fleet.report("pi-1", 7, end_ms=clock.ms - 6 * HOUR_MS)
    clock.forward(6 * MINUTE_MS)
    assert same(totals.read([PI], clock.ms)[PI], brute_force(samples, A))


def test_a_group_that_comes_later_is_counted_from_its_beginning(
    fleet: Fleet, clock: Clock, store: Store
) -> None:
    totals = GroupTotals(store.series_read, store.facts)
    samples = fleet.report("pi-1", 20)
    clock.forward(DAY_MS)
    totals.read([JET], clock.ms)
    assert same(totals.read([PI], clock.ms)[PI], brute_force(samples, A))


def test_a_fact_of_another_version_is_added_up_anew(fleet: Fleet, clock: Clock, store: Store) -> None:
    samples = fleet.report("pi-1", 20)
    for kept in ({"form": 0, "until": clock.ms, "totals": []}, "nonsense", [1]):
        store.facts.set(FACT, kept)
        found = GroupTotals(store.series_read, store.facts).read([PI], clock.ms)
        assert same(found[PI], brute_force(samples, A))


def test_a_device_is_told_of_once_its_minute_is_whole(fleet: Fleet, clock: Clock, store: Store) -> None:
    totals = DeviceTotals(store.series_read, clock.ms)
    samples = [fleet.sample(0)][:0]
    told: dict[tuple[str, str], Total] = {}
    for n in range(40):
        clock.forward(MINUTE_MS)
        samples += fleet.report("pi-1", 30, artifact=A if n < 20 else B)
        for each in totals.advance(["pi-1", "pi-2"], clock.ms + MINUTE_MS):
            before = told.get((each.device, each.artifact), Total())
            assert each.total.samples > before.samples
            told[each.device, each.artifact] = each.total
    clock.forward(5 * MINUTE_MS)
    for each in totals.advance(["pi-1", "pi-2"], clock.ms):
        told[each.device, each.artifact] = each.total
    assert set(told) == {("pi-1", A), ("pi-1", B)}
    assert same(told["pi-1", A], brute_force(samples, A)) and same(told["pi-1", B], brute_force(samples, B))
    assert totals.advance(["pi-1", "pi-2"], clock.ms) == []


def test_late_minutes_of_a_device_are_counted_within_the_window(
    fleet: Fleet, clock: Clock, store: Store
) -> None:
    totals = DeviceTotals(store.series_read, clock.ms)
    clock.forward(20 * MINUTE_MS)
    samples = fleet.report("pi-1", 30, end_ms=clock.ms - 5 * MINUTE_MS)
    (first,) = totals.advance(["pi-1"], clock.ms)
    assert first.total.samples == 30 and first.gauges["temp_c"] > 39
    samples += fleet.report("pi-1", 30, end_ms=clock.ms - 10 * MINUTE_MS)
    (second,) = totals.advance(["pi-1"], clock.ms)
    assert same(second.total, brute_force(samples, A))
    clock.forward(WINDOW_MS)
    samples += fleet.report("pi-1", 30, end_ms=clock.ms - 5 * MINUTE_MS)
    (third,) = totals.advance(["pi-1"], clock.ms)
    assert same(third.total, brute_force(samples, A))

"""The fleet on one page: what is wrong, where, since when, with which model; what moved; what happened."""

from __future__ import annotations

import random

import pytest
from server_story import Browser, Clock
from telemetry_fleet import Fleet, histogram

from edgepress_devices.protocol import ModelStats, Reading, Sample
from edgepress_server.api.telemetry_overview import OverviewAnswer
from edgepress_server.store import Store
from edgepress_server.store.annotations import Annotation
from edgepress_server.telemetry_query.annotate import fewer
from edgepress_server.telemetry_query.desk import TelemetryDesk
from edgepress_server.telemetry_query.movers import NOW_MS, Watch, began

KWS = "a" * 64
MINUTE_MS, HOUR_MS = 60_000, 3_600_000


def usual(at: int, latency_us: float = 1000.0, **more: object) -> Sample:
    told = Sample(at, 10_000, KWS, 20, 0, histogram(*[latency_us] * 20), rss_bytes=50 << 20, temp_c=50.0)
    for name, value in more.items():
        setattr(told, name, value)
    return told


@pytest.fixture
def fleet(store: Store) -> Fleet:
    """Four boards that ran a model for hours, one that is registered, one that was revoked."""
    made = Fleet(store)
    made.artifact(KWS)
    now = store.now_ms()
    for n in range(4):
        name = made.device(f"pi-{n}", site="hall-1")
        made.say(name, running=KWS, release=3)
        made.steady(name, now - 5 * HOUR_MS, now - 30 * MINUTE_MS, usual, every_ms=60_000)
    store.devices.register("new", "raspberry-pi-5", {}, actor=None)
    made.device("gone")
    store.devices.revoke("gone", actor=None)
    return made


def test_one_answer_holds_the_whole_page(viewer: Browser, store: Store, fleet: Fleet) -> None:
    now = store.now_ms()
    for n in range(4):
        power = Reading(2000.0, "ina3221" if n else "estimate:cpu", "board")
        fleet.steady(f"pi-{n}", now - 5 * MINUTE_MS, now, lambda at, power=power: usual(at, power_mw=power))  # type: ignore[misc]
    found = viewer.get("/telemetry/overview?heat=temp_c")
    OverviewAnswer.model_validate(found)
    assert found["devices"] == {"total": 5, "online": 4, "offline": 0, "registered": 1, "revoked": 1}
    assert found["running"][0] | {"p95_us": None} == {
        "digest": KWS,
        "model": "kws",
        "recipe": "none",
        "release": None,
        "devices": 4,
        "online": 4,
        "p95_us": None,
        "error_ratio": 0.0,
        "inferences_per_s": 8.0,
    }
    assert found["now"]["p95_us"] == pytest.approx(1000, rel=0.011)
    assert (found["now"]["power_mw"], found["now"]["power_devices"], found["now"]["power_estimated"]) == (
        8000.0,
        4,
        1,
    )
    assert len(found["sparklines"]["t"]) == 60 == len(found["sparklines"]["series"]["p95_us"])
    assert found["sparklines"]["series"]["inferences_per_s"][-1] == 8.0
    (pis,) = [group for group in found["heat"]["groups"] if group["profile"] == "raspberry-pi-4"]
    assert pis == {
        "profile": "raspberry-pi-4",
        "names": ["pi-0", "pi-1", "pi-2", "pi-3"],
        "status": "oooo",
        "values": [50.0] * 4,
        "problem": "0000",
    }


def test_an_empty_server_has_a_page_too(viewer: Browser) -> None:
    found = viewer.get("/telemetry/overview")
    OverviewAnswer.model_validate(found)
    assert found["devices"]["total"] == 0 and found["now"]["p95_us"] is None
    assert found["problems"] == {"total": 0, "list": []} and found["heat"]["low"] is None


def test_the_same_page_is_not_sent_twice(viewer: Browser, fleet: Fleet) -> None:
    first = viewer.client.get("/api/v1/telemetry/overview")
    again = viewer.client.get("/api/v1/telemetry/overview", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    other = viewer.client.get(
        "/api/v1/telemetry/overview?heat=temp_c", headers={"If-None-Match": first.headers["ETag"]}
    )
    assert other.status_code == 200
    assert viewer.refused(viewer.get("/telemetry/overview?heat=colour", 400)) == "heat"


def test_problems_say_who_where_since_when_and_with_which_model(
    store: Store, fleet: Fleet, clock: Clock
) -> None:
    away_since = store.now_ms()
    fleet.say("pi-3", online=False, running=KWS)
    clock.forward(90 * MINUTE_MS)
    for n in range(3):
        fleet.say(f"pi-{n}", running=KWS)
        fleet.steady(f"pi-{n}", store.now_ms() - 60_000, store.now_ms(), usual)
    desk = TelemetryDesk(store)
    try:
        found = desk.overview.look().problems
    finally:
        desk.close()
    (away,) = found.list
    assert (away.kind, away.devices, away.model, away.since) == ("offline", ["pi-3"], "kws", away_since)
    assert away.sentence == "pi-3 is offline, for 1 hour (kws)."
    assert away.link == "/devices/pi-3" and found.of_device == {"pi-3": 1}


def test_what_ails_a_board_now_is_told_by_its_newest_sample_and_ten_minutes(
    store: Store, fleet: Fleet, clock: Clock
) -> None:
    now = store.now_ms()
    from_ms = now - NOW_MS - 2 * MINUTE_MS
    fleet.steady("pi-0", from_ms, now, lambda at: usual(at, throttled=True, disk_free_bytes=50_000_000))
    fleet.steady("pi-1", from_ms, now, lambda at: usual(at, errors=5))
    fleet.steady("pi-2", from_ms, now, lambda at: usual(at, model=ModelStats(60_000, 100, input_psi=0.61)))
    fleet.steady("pi-3", from_ms, now, usual)
    fleet.settle(clock)
    desk = TelemetryDesk(store)
    try:
        desk.overview.look()
        desk.overview.watch()
        found = desk.overview.look()
    finally:
        desk.close()
    told = {(one.kind, one.severity): (one.devices, one.sentence) for one in found.problems.list}
    assert told == {
        ("disk", "critical"): (["pi-0"], "pi-0 has little disk left: 50 MB left (kws)."),
        ("errors", "critical"): (
            ["pi-1"],
            "Requests fail on pi-1: 20.0 % of the requests of ten minutes (kws).",
        ),
        ("throttled", "warning"): (["pi-0"], "pi-0 is throttled (kws)."),
        ("drift", "warning"): (
            ["pi-2"],
            "Inputs or answers of pi-2 drift from the baseline: PSI 0.61 (kws).",
        ),
    }
    assert found.problems.of_device == {"pi-0": 2, "pi-1": 2, "pi-2": 1}


def test_like_problems_are_one_entry(store: Store, fleet: Fleet, clock: Clock) -> None:
    for n in range(3):
        fleet.say(f"pi-{n}", online=False, running=KWS)
    clock.forward(HOUR_MS)
    fleet.say("pi-3", running=KWS)
    fleet.tell("pi-3", [usual(store.now_ms() - 1000)])
    desk = TelemetryDesk(store)
    try:
        (one,) = desk.overview.look().problems.list
    finally:
        desk.close()
    assert (one.kind, one.severity, one.count) == ("offline", "critical", 3)  # three of four
    assert one.sentence == "3 devices of raspberry-pi-4 are offline, the first for 1 hour (kws)."
    assert one.link is not None and "status%20%3D%20offline" in one.link


def test_who_got_slow_is_told_with_since_when(store: Store, fleet: Fleet, clock: Clock) -> None:
    now = store.now_ms()
    slow_since = now - 25 * MINUTE_MS
    for n in range(3):
        fleet.steady(f"pi-{n}", now - 30 * MINUTE_MS, now, usual)
    fleet.steady(
        "pi-3", now - 30 * MINUTE_MS, now, lambda at: usual(at, 3000.0 if at >= slow_since else 1000.0)
    )
    now = fleet.settle(clock)
    watch = Watch(store.series_read)
    watch.look(store.fleet_pages.devices(), now)
    (mover,) = watch.seen.movers
    assert (mover.device, mover.metric, mover.digest) == ("pi-3", "p95_us", KWS)
    assert mover.factor == pytest.approx(3, rel=0.03)
    assert mover.since is not None and abs(mover.since - slow_since) <= 5 * MINUTE_MS
    assert "latency, p95 is 2.99 ms" in mover.sentence and "3.0 times the usual" in mover.sentence
    assert (watch.seen.seen, watch.seen.of) == (6, 6)


def test_many_that_move_together_are_told_as_a_group(store: Store, fleet: Fleet, clock: Clock) -> None:
    now = store.now_ms()
    for n in range(4):
        fleet.steady(f"pi-{n}", now - 30 * MINUTE_MS, now, lambda at: usual(at, 2000.0))
    now = fleet.settle(clock)
    watch = Watch(store.series_read)
    devices = store.fleet_pages.devices()
    watch.look(devices, now)
    watch.look(devices, now)  # the first cycle is over: its groups are known
    first = watch.seen.movers[0]
    assert (first.device, first.profile, first.digest, first.devices) == (None, "raspberry-pi-4", KWS, 4)
    assert first.sentence.startswith("4 devices of raspberry-pi-4 with aaaaaaaaaaaa: latency, p95 is 1.98 ms")


def test_a_step_up_begins_where_it_stayed_up() -> None:
    nan = float("nan")
    at = list(range(0, 80, 10))
    assert began(at, [1, 1, 9, 1, 9, nan, 8, 9], 9, 1, 0) == 40
    assert began(at, [1, 1, 9, 1, 9, 9, 8, 1], 9, 1, 0) is None  # over
    assert began(at, [9] * 8, 9, 1, 0) is None  # longer than was looked
    assert began(at, [5, 5, 5, 5, 5, 5, 1, 1], 1, 5, 0) == 60  # downwards


def test_annotations_are_merged_where_they_are_many() -> None:
    drawn = random.Random(1)
    at = sorted(drawn.randrange(1_000_000) for _ in range(5000))
    some = [
        Annotation(t, None, drawn.choice(("release", "alert")), str(t), f"no. {t}", severity=None) for t in at
    ]
    found = fewer(some, 100, 0, 1_000_000)
    assert len(found) <= 100 and sum(one.count for one in found) == 5000
    assert [one.at for one in found] == sorted(one.at for one in found)
    assert fewer(some[:50], 100, 0, 1_000_000) == some[:50]


def test_annotations_of_a_device_are_its_own(viewer: Browser, store: Store, fleet: Fleet) -> None:
    found = viewer.get("/telemetry/annotations?device=pi-1")["annotations"]
    assert [one["title"] for one in found] == ["pi-1 enrolled"]
    everyone = viewer.get("/telemetry/annotations")
    assert everyone["merged"] and {one["title"] for one in everyone["annotations"]} == {
        "5 devices enrolled",
        "gone revoked",
    }


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["gone", "new", "pi-0", "pi-1", "pi-2", "pi-3"]),
        ("limit=2&offset=2", ["pi-0", "pi-1"]),
        ("q=hall pi-2", ["pi-2"]),
        ("q=kws&sort=-name", ["pi-3", "pi-2", "pi-1", "pi-0"]),
        ("where=status = registered", ["new"]),
        ("where=label.site = hall-*&limit=1", ["pi-0"]),
        ("sort=-p95_us&limit=3", ["pi-3", "pi-0", "pi-1"]),
        ("sort=temp_c&q=p", ["pi-0", "pi-1", "pi-2", "pi-3", "gone", "new"]),
    ],
)
def test_devices_come_in_pages(
    viewer: Browser, store: Store, fleet: Fleet, query: str, names: list[str]
) -> None:
    fleet.tell("pi-3", [usual(store.now_ms(), 9000.0)])
    found = viewer.get(f"/devices/page?{query}")
    assert [one["name"] for one in found["devices"]] == names
    assert found["total"] == 6 and found["statuses"] == {"online": 4, "registered": 1, "revoked": 1}


def test_a_new_device_is_on_the_page_at_once(viewer: Browser, store: Store, fleet: Fleet) -> None:
    assert viewer.get("/devices/page")["total"] == 6
    store.devices.register("fresh", "raspberry-pi-5", {}, actor=None)
    assert viewer.get("/devices/page?q=fresh")["matching"] == 1
    assert viewer.refused(viewer.get("/devices/page?sort=colour", 400)) == "sort"

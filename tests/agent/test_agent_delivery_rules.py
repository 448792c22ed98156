"""When a device may fetch: its start, its hours, metered links, its owner's limits, and wrong clocks."""

from pathlib import Path

import pytest
from agent_process import command
from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent.clock import NO_CLOCK_S, SignedClock
from edgepress_agent.delivery_rules import Hold, Moment, hold, start_s, strictest_rate
from edgepress_agent.errors import StateFolderError
from edgepress_agent.hours import within
from edgepress_agent.local_limits import (
    LOOK_EVERY_S,
    LocalLimits,
    WatchedLimits,
    parse_rate,
    read_local_limits,
    write_local_limits,
)
from edgepress_agent.metered import LOOK_EVERY_S as METERED_LOOK_S
from edgepress_agent.metered import MeteredLink, parse_metered
from edgepress_devices.delivery_messages import Delivery

NOON_S = 1_800_014_400 - 1_800_014_400 % 86_400 + 12 * 3600  # of some day in 2027
NIGHT = [(22 * 60, 6 * 60)]


def decide(
    delivery: Delivery,
    own: LocalLimits | None = None,
    *,
    clock_s: float = NOON_S,
    start_at_s: float = 0,
    begun: bool = False,
    trusted: bool = True,
    metered: bool | None = None,
) -> Hold | None:
    return hold(
        delivery,
        own or LocalLimits(),
        start_at_s=start_at_s,
        begun=begun,
        moment=Moment(clock_s, trusted),
        metered=lambda: metered,
    )


def test_without_rules_it_goes_on() -> None:
    assert decide(Delivery()) is None


def test_outside_its_hours_it_says_until_when_it_waits() -> None:
    held = decide(Delivery(hours=NIGHT))
    assert held is not None and held.reason == "until 22:00 UTC, its download hours"
    assert decide(Delivery(hours=NIGHT), clock_s=NOON_S + 10.5 * 3600) is None


def test_the_devices_own_hours_make_it_stricter_and_never_looser() -> None:
    own = LocalLimits(hours=[(23 * 60, 24 * 60)])
    held = decide(Delivery(hours=NIGHT), own)
    assert held is not None and held.reason.startswith("until 23:00 UTC")
    late_s = NOON_S + 12.5 * 3600
    assert decide(Delivery(hours=NIGHT), clock_s=late_s) is None
    assert decide(Delivery(hours=NIGHT), own, clock_s=late_s) is not None
    never = decide(Delivery(hours=NIGHT), LocalLimits(hours=[(600, 700)]))
    assert never is not None and "no minute in common" in never.reason


@given(st.integers(1000, 10**9) | st.none(), st.integers(1000, 10**9) | st.none())
def test_the_lower_of_two_rates_holds(wanted: int | None, own: int | None) -> None:
    rate = strictest_rate(Delivery(rate_bytes_s=wanted), LocalLimits(rate_bytes_s=own))
    assert rate == min([each for each in (wanted, own) if each is not None], default=None)


@pytest.mark.parametrize(
    ("rule", "own", "said", "waits"),
    [
        ("allow", "auto", True, False),
        ("wait", "auto", True, True),
        ("wait", "auto", False, False),
        ("wait", "auto", None, False),
        ("wait", "yes", False, True),
        ("wait", "no", True, False),
    ],
)
def test_metered_links(rule: str, own: str, said: bool | None, waits: bool) -> None:
    held = decide(
        Delivery(metered=rule),  # type: ignore[arg-type]
        LocalLimits(metered=own),  # type: ignore[arg-type]
        metered=said,
    )
    assert (held is not None) == waits
    if held is not None:
        assert held.reason == "on a metered link"


def test_a_fleet_starts_spread_out_and_each_device_keeps_its_moment() -> None:
    starts = [start_s(f"pi-{n}", 7, NOON_S, 3600) for n in range(1000)]
    assert starts == [start_s(f"pi-{n}", 7, NOON_S, 3600) for n in range(1000)]
    assert all(NOON_S <= at < NOON_S + 3600 for at in starts)
    for quarter in range(4):
        here = sum(NOON_S + quarter * 900 <= at < NOON_S + quarter * 900 + 900 for at in starts)
        assert 180 < here < 320
    assert start_s("pi-1", 8, NOON_S, 3600) != starts[1]


def test_it_waits_for_its_start_unless_that_has_passed_or_it_had_begun() -> None:
    held = decide(Delivery(start_within_s=3600), start_at_s=NOON_S + 30)
    assert held is not None and held.reason == "until 12:00:30 UTC, its start"
    assert held.seconds == 30
    assert decide(Delivery(start_within_s=3600), start_at_s=NOON_S - 1) is None
    assert decide(Delivery(start_within_s=3600), start_at_s=NOON_S + 30, begun=True) is None


# --- the clock ----------------------------------------------------------------------------------------------


@pytest.mark.fault("clock at 1970", "signed time that passes on counts, and the wrong clock is named")
def test_a_board_that_starts_in_1970_keeps_its_hours_by_signed_time() -> None:
    clock = SignedClock()
    first_s = clock.read(12.0, 1000.0, NOON_S)
    assert (first_s, clock.trusted) == (NOON_S, False)
    held = decide(Delivery(hours=NIGHT), clock_s=first_s, trusted=clock.trusted)
    assert held is not None and "its clock is wrong" in held.reason and "12:00" in held.reason
    night_s = clock.read(12.0 + 36_000, 1000.0 + 36_000, NOON_S)
    assert night_s == NOON_S + 36_000
    assert decide(Delivery(hours=NIGHT), clock_s=night_s) is None


def test_a_clock_without_any_signed_time_is_not_trusted_before_2024() -> None:
    clock = SignedClock()
    clock.read(5.0, 0.0, 0)
    assert not clock.trusted
    clock.read(NO_CLOCK_S + 1, 1.0, 0)
    assert clock.trusted


def test_a_clock_that_is_set_counts_again() -> None:
    clock = SignedClock()
    clock.read(12.0, 0.0, NOON_S)
    assert clock.read(NOON_S + 500.0, 1.0, NOON_S) == NOON_S + 500
    assert clock.trusted


def test_another_director_brings_a_lower_floor() -> None:
    clock = SignedClock()
    far_s = NOON_S + 400 * 86_400
    assert clock.read(NOON_S, 0.0, far_s) == far_s
    assert clock.read(NOON_S, 1.0, 0) == NOON_S


@given(st.lists(st.tuples(st.integers(0, 3600), st.integers(0, 2 * NOON_S), st.integers(0, 3600))))
def test_time_never_goes_back_while_floors_rise(steps: list[tuple[int, int, int]]) -> None:
    clock, floor_s, now_s, last_s = SignedClock(), NOON_S, 0, 0.0
    for passed_s, wall_s, rise_s in steps:
        now_s, floor_s = now_s + passed_s, floor_s + rise_s
        read_s = clock.read(min(wall_s, NOON_S), now_s, floor_s)
        assert read_s >= floor_s
        assert read_s >= last_s + passed_s - 1e-6
        last_s = read_s


# --- the owner's file ---------------------------------------------------------------------------------------


def test_limits_are_noticed_within_seconds_and_a_damaged_file_changes_nothing(tmp_path: Path) -> None:
    watched = WatchedLimits(tmp_path)
    assert watched.read(0.0) == LocalLimits()
    limits = LocalLimits(metered="yes", rate_bytes_s=50_000, hours=NIGHT)
    write_local_limits(tmp_path, limits)
    assert watched.read(LOOK_EVERY_S) == limits
    (tmp_path / "delivery.json").write_text('{"rate_bytes_s": -4}')
    assert watched.read(2 * LOOK_EVERY_S) == limits
    with pytest.raises(StateFolderError, match="edgepress-agent limits"):
        read_local_limits(tmp_path)


def test_rates_are_read_as_people_write_them() -> None:
    assert [parse_rate(text) for text in ("200000", "200KB", "1.5MB/s", "2 mb")] == [
        *(200_000, 200_000),
        *(1_500_000, 2_000_000),
    ]
    for bad in ("", "fast", "-3", "12", "1e9", "9999999999999999"):
        with pytest.raises(StateFolderError, match="200KB"):
            parse_rate(bad)


def test_limits_of_a_device_that_is_not_enrolled_say_what_to_do(tmp_path: Path) -> None:
    result = command("limits", "--rate", "1MB", "--state", str(tmp_path / "none"))
    assert result.returncode == 1
    assert "not enrolled" in result.stderr
    assert not (tmp_path / "none").exists()


# --- NetworkManager -----------------------------------------------------------------------------------------

SHOWN = """GENERAL.METERED:no (guessed)
IP4.ROUTE[1]:dst = 192.168.1.0/24, nh = 0.0.0.0, mt = 100
IP4.ROUTE[2]:dst = 0.0.0.0/0, nh = 192.168.1.1, mt = {wired}
IP6.ROUTE[1]:dst = fe80\\:\\:/64, nh = \\:\\:, mt = 1024

GENERAL.METERED:yes (guessed)
IP4.ROUTE[1]:dst = 0.0.0.0/0, nh = 10.0.0.1, mt = 700
IP6.ROUTE[1]:dst = \\:\\:/0, nh = fe80\\:\\:1, mt = 700

GENERAL.METERED:unknown
"""


def test_the_link_with_the_best_default_route_counts() -> None:
    assert parse_metered(SHOWN.format(wired=100)) is False
    assert parse_metered(SHOWN.format(wired=800)) is True
    assert parse_metered("GENERAL.METERED:unknown\n") is None
    assert parse_metered("") is None


def test_the_network_manager_is_asked_once_a_minute() -> None:
    asked: list[float] = []
    link = MeteredLink(lambda: asked.append(0.0) is None)
    assert link.read(0.0) and link.read(METERED_LOOK_S - 1)
    assert len(asked) == 1
    assert link.read(METERED_LOOK_S)
    assert len(asked) == 2


@given(st.integers(0, 1440), st.integers(0, 1440), st.floats(0, 2e9))
def test_hours_and_their_complement_cover_the_day(begin: int, end: int, clock_s: float) -> None:
    if begin % 1440 != end % 1440:
        assert within([(begin % 1440, end % 1440)], clock_s) != within([(end % 1440, begin % 1440)], clock_s)

"""Rate limits and download hours: pure, clocks passed in."""

from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent.hours import format_hours, opens_s, parse_hours, within
from edgepress_agent.pace import BURST_S, Pace
from edgepress_agent.window import Window
from edgepress_devices.protocol import CHUNK_MAX_BYTES, FETCH_WINDOW

DAY_S = 86_400


@given(st.integers(1000, 20_000_000), st.integers(1, 300), st.floats(0.0, 2.0))
def test_the_rate_is_kept_and_used(rate: int, chunks: int, late_s: float) -> None:
    """Chunks come as soon as they are subscribed to, and the loop wakes up to ``late_s`` late."""
    pace, window = Pace(rate, 0.0), Window(range(chunks), 0.0)
    now_s, took, rounds = 0.0, 0, 0
    while window.remaining:
        opened = window.open(now_s, pace.chunks(now_s, window.room()))
        for n in opened:
            pace.spend(CHUNK_MAX_BYTES, now_s)
            window.arrived(n, now_s)
        took += len(opened) * CHUNK_MAX_BYTES
        most = max(CHUNK_MAX_BYTES, BURST_S * rate) + rate * now_s
        assert took <= most * 1.000001 + 1
        if window.remaining:
            assert rounds < chunks + 5, "it wakes for nothing"
            rounds += 1
            now_s = max(now_s, pace.ready_s()) + min(late_s, CHUNK_MAX_BYTES / rate)
    # At least the rate, but for what a late wake-up costs once the bucket is full.
    assert (
        now_s
        <= (took - CHUNK_MAX_BYTES) / rate * 1.01 + (rounds + 1) * min(late_s, CHUNK_MAX_BYTES / rate) + 1e-3
    )


def test_a_megabyte_at_a_hundred_kilobytes_a_second_takes_ten_seconds() -> None:
    pace, window = Pace(100_000, 0.0), Window(range(17), 0.0)
    now_s = 0.0
    while window.remaining:
        for n in window.open(now_s, pace.chunks(now_s, FETCH_WINDOW)):
            pace.spend(CHUNK_MAX_BYTES, now_s)
            window.arrived(n, now_s)
        now_s = max(now_s, pace.ready_s())
    assert 10.0 <= now_s <= 11.0


def test_what_came_twice_is_paid_for() -> None:
    pace = Pace(64_000, 0.0)
    assert pace.chunks(0.0, 16) == 1
    pace.spend(CHUNK_MAX_BYTES, 0.0)
    pace.spend(CHUNK_MAX_BYTES, 0.0)
    assert pace.chunks(1.5, 16) == 0
    assert pace.chunks(2.0, 16) == 1


def test_without_a_limit_nothing_is_counted() -> None:
    pace = Pace(None, 0.0)
    pace.spend(10**12, 0.0)
    assert pace.chunks(0.0, 16) == 16
    pace.set_rate(64_000, 1.0)
    assert pace.chunks(1.0, 16) == 1


# --- hours --------------------------------------------------------------------------------------------------


def test_hours_over_midnight() -> None:
    hours = parse_hours("22:00-06:00")
    assert hours == [(1320, 360)]
    assert [within(hours, h * 3600) for h in (21.99, 22, 23, 24, 29.99, 30, 36)] == [
        *(False, True, True, True),
        *(True, False, False),
    ]
    assert opens_s([hours], 12 * 3600) == 22 * 3600
    assert opens_s([hours], 23 * 3600) == 23 * 3600


def test_two_lists_of_hours_must_both_allow() -> None:
    assert opens_s([parse_hours("22:00-06:00"), parse_hours("05:00-08:00")], 0.0) == 5 * 3600
    assert opens_s([parse_hours("22:00-06:00"), parse_hours("07:00-08:00")], 0.0) is None


def test_hours_are_written_as_they_are_read() -> None:
    assert format_hours(parse_hours("22:00-06:00, 12:00-13:30")) == "22:00-06:00, 12:00-13:30"
    for bad in ("", "22-6", "25:00-03:00", "10:60-11:00", "10:00", "10:00-11:00;", "-1:00-02:00"):
        try:
            parse_hours(bad)
        except ValueError as error:
            assert "22:00-06:00" in str(error)
        else:
            raise AssertionError(bad)


spans = st.lists(st.tuples(st.integers(0, 1440), st.integers(0, 1440)), max_size=4)


@given(spans, spans, st.integers(0, 3 * DAY_S))
def test_the_next_opening_is_the_first_minute_that_all_hours_allow(
    one: list[tuple[int, int]], two: list[tuple[int, int]], clock_s: int
) -> None:
    found = opens_s([one, two], clock_s)
    minutes = [clock_s, *range(clock_s // 60 * 60 + 60, clock_s + DAY_S + 60, 60)]
    expected = next((at for at in minutes if within(one, at) and within(two, at)), None)
    assert found == expected

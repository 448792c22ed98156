"""The time on samples: what a board's clock may do, and what the samples then carry."""

from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent.sample_clock import STEP_MS, SampleClock


class Times:
    def __init__(self, wall_ms: int) -> None:
        self.wall_ms, self.steady_s = wall_ms, 100.0
        self.clock = SampleClock(lambda: self.wall_ms * 1_000_000, lambda: self.steady_s)

    def pass_ms(self, passed_ms: int, *, set_by_ms: int = 0) -> int:
        self.steady_s += passed_ms / 1000
        self.wall_ms += passed_ms + set_by_ms
        return self.clock.now_ms()


def test_samples_carry_the_boards_time() -> None:
    times = Times(1_000_000)
    assert [times.pass_ms(1000), times.pass_ms(999)] == [1_001_000, 1_001_999]
    assert not times.clock.set_back


def test_a_board_that_wakes_in_1970_learns_the_time_at_once() -> None:
    times = Times(5_000)
    assert times.pass_ms(1000, set_by_ms=1_790_000_000_000) == 1_790_000_006_000
    assert not times.clock.set_back


def test_a_clock_that_is_set_back_a_little_is_waited_for() -> None:
    times = Times(1_000_000)
    assert times.pass_ms(1000, set_by_ms=-3000) == 1_000_000
    assert not times.clock.set_back
    assert times.pass_ms(1000) == 1_000_000
    assert times.pass_ms(3000) == 1_002_000


def test_a_clock_that_is_set_back_far_was_wrong_and_that_is_said_once() -> None:
    times = Times(1_000_000)
    assert times.pass_ms(1000, set_by_ms=-600_000) == 401_000
    assert times.clock.set_back
    assert times.pass_ms(1000) == 402_000
    assert not times.clock.set_back


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(-20_000, 20_000))))
def test_times_go_back_only_where_it_is_said_and_never_by_less_than_a_step(
    changes: list[tuple[int, int]],
) -> None:
    times = Times(10_000_000)
    last = 10_000_000
    for passed_ms, set_by_ms in changes:
        now = times.pass_ms(passed_ms, set_by_ms=set_by_ms)
        if times.clock.set_back:
            assert now == times.wall_ms and now < last + passed_ms - STEP_MS
        else:
            assert now >= last
        last = now

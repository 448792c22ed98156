"""How often the engine looks at rollouts: soon where there is news, seldom where a look takes long."""

from hypothesis import given
from hypothesis import strategies as st

from edgepress_server.link.looks import IDLE_MOST_S, MORE_MOST_S, NEWS_MOST_S, TICK_S, Looks

seconds = st.floats(0.0, 100.0)


def looked(took_s: float, *, more: bool = False) -> Looks:
    looks = Looks()
    looks.looked(50.0, 50.0 + took_s, more=more)
    return looks


def test_the_first_look_is_due_at_once() -> None:
    assert Looks().due_s == 0.0


def test_a_small_fleet_is_looked_at_every_tick_and_with_every_news() -> None:
    looks = looked(0.001)
    assert looks.due_s == 50.001 + TICK_S
    looks.news()
    assert looks.due_s < 50.001 + 0.01


def test_a_large_fleet_that_sleeps_takes_little_of_the_time() -> None:
    took_s = 0.3
    pause_s = looked(took_s).due_s - 50.0 - took_s
    assert took_s / (took_s + pause_s) < 0.05


@given(seconds)
def test_nobody_waits_longer_than_is_said(took_s: float) -> None:
    looks = looked(took_s)
    assert looks.due_s - 50.0 - took_s <= IDLE_MOST_S + 1e-9
    looks.news()
    assert looks.due_s - 50.0 - took_s <= NEWS_MOST_S + 1e-9
    looks.asked()
    assert looks.due_s == 0.0


@given(seconds)
def test_what_is_not_finished_goes_on_once_sending_had_its_time(took_s: float) -> None:
    due_s = looked(took_s, more=True).due_s
    assert due_s == 50.0 + took_s + min(MORE_MOST_S, took_s)


@given(seconds)
def test_news_never_put_a_look_off(took_s: float) -> None:
    looks = looked(took_s, more=True)
    before_s = looks.due_s
    looks.news()
    assert looks.due_s <= before_s

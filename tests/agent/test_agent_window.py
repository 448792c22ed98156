"""The fetch window: what is subscribed to, and what is asked for when."""

from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent.window import NEED_EVERY_S, PATIENCE_S, Window
from edgepress_devices.protocol import FETCH_WINDOW


def test_the_window_opens_at_most_sixteen_and_slides() -> None:
    window = Window(range(40), 0.0)
    assert window.open(0.0) == list(range(FETCH_WINDOW))
    assert window.open(0.0) == []
    window.arrived(3, 1.0)
    assert window.open(1.0) == [FETCH_WINDOW]


def test_a_chunk_that_does_not_come_is_asked_for_after_five_seconds_then_ever_later() -> None:
    window = Window(range(16), 0.0)
    window.open(0.0)
    for n in range(1, 16):
        window.arrived(n, 1.0)
    assert window.deadline_s() == PATIENCE_S
    assert window.ask(4.9) == []
    assert window.ask(5.0) == [0]
    assert window.ask(14.9) == []
    assert window.ask(15.0) == [0]
    assert window.deadline_s() == 35.0


def test_when_nothing_comes_everything_missing_is_asked_for() -> None:
    window = Window(range(40), 0.0)
    window.open(0.0)
    assert window.ask(5.0) == list(range(40))


def test_a_damaged_chunk_is_asked_for_at_once_but_not_over_and_over() -> None:
    window = Window(range(4), 0.0)
    window.open(0.0)
    window.damaged(2, 1.0)
    assert window.ask(1.0) == [2]
    window.damaged(2, 1.1)
    assert window.ask(1.0 + NEED_EVERY_S) == []


def test_a_new_connection_starts_the_waiting_again() -> None:
    window = Window(range(4), 0.0)
    window.open(0.0)
    assert window.reopened(100.0) == [0, 1, 2, 3]
    assert window.ask(104.9) == []
    assert window.ask(105.0) == [0, 1, 2, 3]


@given(st.sets(st.integers(0, 200), min_size=1), st.randoms(use_true_random=False))
def test_everything_that_is_missing_is_subscribed_to_in_the_end(missing: set[int], random: object) -> None:
    window = Window(sorted(missing), 0.0)
    seen: set[int] = set()
    now_s = 0.0
    while window.open(now_s) or window.subscribed:
        assert len(window.subscribed) <= FETCH_WINDOW
        n = random.choice(window.subscribed)  # type: ignore[attr-defined]
        assert window.is_missing(n)
        seen.add(n)
        now_s += 1.0
        window.arrived(n, now_s)
        assert not window.is_missing(n)
    assert seen == missing
    assert window.deadline_s() is None


@given(st.lists(st.floats(0.0, 3.0), max_size=200))
def test_needs_are_a_second_apart(steps: list[float]) -> None:
    window = Window(range(30), 0.0)
    window.open(0.0)
    now_s, last_s = 0.0, -NEED_EVERY_S
    for step in steps:
        now_s += step
        window.damaged(int(now_s) % 16, now_s)
        if window.ask(now_s):
            assert now_s - last_s >= NEED_EVERY_S - 1e-9
            last_s = now_s

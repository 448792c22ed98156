"""The fetch window: what is subscribed to, what is subscribed to again, and what is asked for when."""

from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_agent.window import AGAIN_S, NEED_EVERY_S, OVERTAKEN_S, PATIENCE_S, REFILL, Window
from edgepress_devices.protocol import FETCH_WINDOW


def opened(count: int) -> Window:
    window = Window(range(count), 0.0)
    window.open(0.0)
    return window


def test_the_window_opens_at_most_sixteen_and_is_filled_several_at_a_time() -> None:
    window = Window(range(40), 0.0)
    assert window.open(0.0) == list(range(FETCH_WINDOW))
    assert window.open(0.0) == []
    for n in range(REFILL - 1):
        window.arrived(n, 1.0)
        assert window.open(1.0) == []
    window.arrived(REFILL - 1, 1.0)
    assert window.open(1.0) == list(range(FETCH_WINDOW, FETCH_WINDOW + REFILL))


def test_the_last_chunks_do_not_wait_for_a_full_refill() -> None:
    window = opened(FETCH_WINDOW + 1)
    window.arrived(0, 1.0)
    assert window.open(1.0) == [FETCH_WINDOW]


def test_a_chunk_that_others_overtook_comes_from_the_broker_again_before_the_server_is_asked() -> None:
    window = opened(16)
    for n in range(1, 16):
        window.arrived(n, 0.1)
    assert window.deadline_s() == 0.1 + OVERTAKEN_S
    assert window.again(OVERTAKEN_S) == []
    at_s = 0.1 + OVERTAKEN_S
    assert window.ask(at_s) == []
    assert window.again(at_s) == [0]
    assert window.again(at_s) == []
    assert window.ask(at_s + AGAIN_S - 0.1) == []
    assert window.ask(at_s + AGAIN_S) == [0]
    assert window.ask(at_s + AGAIN_S + 2 * AGAIN_S - 0.1) == []


def test_a_slow_link_that_still_brings_chunks_is_not_asked_for_them_twice() -> None:
    window = opened(16)
    now_s = 0.0
    for n in range(16):  # 10 KB/s: a chunk takes 6.4 s, longer than the patience with silence
        now_s += PATIENCE_S - 0.5 if n == 0 else 6.4
        assert window.again(now_s) == []
        assert window.ask(now_s) == []
        window.arrived(n, now_s)


def test_in_silence_one_chunk_is_tried_again_and_then_everything_missing_is_asked_for() -> None:
    window = opened(40)
    assert window.again(PATIENCE_S - 0.1) == []
    assert window.again(PATIENCE_S) == [0]
    assert window.ask(PATIENCE_S) == []
    at_s = PATIENCE_S + AGAIN_S
    assert window.ask(at_s) == list(range(40))
    assert window.ask(at_s + AGAIN_S - 0.1) == []
    assert window.ask(at_s + AGAIN_S) == list(range(40))
    assert not window.hopeless(at_s + AGAIN_S)
    assert window.hopeless(at_s + 3 * AGAIN_S)


def test_a_chunk_that_comes_ends_the_silence() -> None:
    window = opened(40)
    window.again(PATIENCE_S)
    window.ask(PATIENCE_S + AGAIN_S)
    window.arrived(3, 12.0)
    assert window.unanswered == 0
    assert not window.hopeless(100.0)


def test_a_damaged_chunk_is_asked_for_at_once_but_not_over_and_over() -> None:
    window = opened(4)
    window.damaged(2, 1.0)
    assert window.again(1.0) == []
    assert window.ask(1.0) == [2]
    window.damaged(2, 1.1)
    assert window.ask(1.0 + NEED_EVERY_S) == []


@pytest.mark.fault("broker restarts", "what is on the disk is not subscribed to again")
def test_a_new_connection_subscribes_to_what_has_not_come_and_starts_the_waiting_again() -> None:
    window = opened(4)
    window.arrived(1, 1.0)
    assert window.reopened(100.0) == [0, 2, 3]
    assert window.again(100.0 + PATIENCE_S - 0.1) == []
    assert window.again(100.0 + PATIENCE_S) == [0]


def test_a_window_that_was_closed_goes_on_where_it_was() -> None:
    window = opened(40)
    window.arrived(0, 1.0)
    assert window.close() == list(range(1, 16))
    assert window.deadline_s() is None
    assert window.open(500.0) == list(range(1, 17))
    assert window.again(500.0 + PATIENCE_S - 0.1) == []


# --- whatever happens ---------------------------------------------------------------------------------------


@dataclass
class Broker:
    """Sends what is subscribed to; what it loses it forgets until it is asked for again."""

    random: Random
    loss: float
    on_the_way: list[int] = field(default_factory=list)
    sent: int = 0

    def subscribe(self, chunks: list[int]) -> None:
        for n in chunks:
            self.sent += 1
            if self.random.random() >= self.loss:
                self.on_the_way.append(n)


def fetch(
    count: int, seed: int, loss: float, *, reorder: bool, doubles: float
) -> tuple[list[int], Broker, int]:
    """Fetch ``count`` chunks: (stored, in order; the broker; needs)."""
    random = Random(seed)
    broker = Broker(random, loss)
    window = Window(range(count), 0.0)
    now_s, needs, stored = 0.0, 0, []
    last_need_s = float("-inf")
    for _ in range(20 * count + 2000):
        if not window.remaining:
            break
        broker.subscribe(window.open(now_s))
        broker.subscribe(window.again(now_s))
        missing = window.ask(now_s)
        if missing:
            assert now_s - last_need_s >= NEED_EVERY_S - 1e-9
            last_need_s, needs = now_s, needs + 1
            shown = set(window.subscribed)
            broker.subscribe([n for n in missing if n in shown])
        assert len(window.subscribed) <= FETCH_WINDOW
        if broker.on_the_way:
            place = random.randrange(min(4, len(broker.on_the_way))) if reorder else 0
            n = broker.on_the_way.pop(place)
            if random.random() < doubles:
                broker.on_the_way.append(n)
            now_s += 0.01
            if window.is_missing(n):
                window.arrived(n, now_s)
                stored.append(n)
        else:
            due_s = window.deadline_s()
            assert due_s is not None
            now_s = max(due_s, now_s)
    assert not window.remaining
    return stored, broker, needs


@given(
    st.integers(1, 120),
    st.integers(0, 2**32),
    st.floats(0.0, 0.5),
    st.booleans(),
    st.sampled_from([0.0, 0.3]),
)
def test_every_chunk_is_stored_exactly_once_whatever_is_lost_doubled_or_reordered(
    count: int, seed: int, loss: float, reorder: bool, doubles: float
) -> None:
    stored, _, _ = fetch(count, seed, loss, reorder=reorder, doubles=doubles)
    assert sorted(stored) == list(range(count))


@pytest.mark.parametrize(("loss", "most"), [(0.0, 1.0), (0.05, 1.10), (0.20, 1.35)])
@pytest.mark.fault("broker drops silently", "lost chunks cost one more each, and the server is hardly asked")
def test_loss_costs_what_was_lost_and_little_more(loss: float, most: float) -> None:
    counts = [fetch(1000, seed, loss, reorder=False, doubles=0.0) for seed in range(5)]
    assert sum(broker.sent for _, broker, _ in counts) <= most * 5000
    assert sum(needs for _, _, needs in counts) <= 0.06 * 5000


@given(st.lists(st.floats(0.0, 3.0), max_size=200))
def test_needs_are_a_second_apart(steps: list[float]) -> None:
    window = opened(30)
    now_s, last_s = 0.0, -NEED_EVERY_S
    for step in steps:
        now_s += step
        window.damaged(int(now_s) % 16, now_s)
        window.again(now_s)
        if window.ask(now_s):
            assert now_s - last_s >= NEED_EVERY_S - 1e-9
            last_s = now_s

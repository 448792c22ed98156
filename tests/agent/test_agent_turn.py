"""One at a time, in the order of coming."""

import threading
from collections.abc import Callable

import pytest

from edgepress_agent.turn import QueueFullError, Turn, WaitedTooLongError


def until(turn: Turn, waiting: int) -> None:
    """Wait until so many wait."""
    gate = threading.Event()
    for _ in range(3000):
        if turn.waiting == waiting:
            return
        gate.wait(0.01)
    raise AssertionError(f"{turn.waiting} wait, not {waiting}")


def started(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_they_go_in_as_they_came_and_never_two_at_once() -> None:
    turn, order, inside = Turn(), [], []
    turn.enter()

    def visit(number: int) -> None:
        turn.enter()
        inside.append(number)
        assert len(inside) == 1
        order.append(number)
        inside.remove(number)
        turn.leave()

    threads = []
    for number in range(8):
        threads.append(started(lambda number=number: visit(number)))  # type: ignore[misc]
        until(turn, number + 1)
    turn.leave()
    for thread in threads:
        thread.join(30)
    assert order == list(range(8))
    turn.enter(until_s=0.0)  # it is free again


def test_a_full_queue_turns_away_at_once() -> None:
    turn = Turn()
    turn.enter()
    with pytest.raises(QueueFullError):
        turn.enter(waiting_max=0)
    waiting = started(lambda: turn.enter(waiting_max=1))
    until(turn, 1)
    with pytest.raises(QueueFullError):
        turn.enter(waiting_max=1)
    turn.leave()
    waiting.join(30)
    assert turn.waiting == 0


def test_who_waited_too_long_leaves_the_queue_and_the_next_gets_the_turn() -> None:
    turn = Turn()
    turn.enter()
    with pytest.raises(WaitedTooLongError):
        turn.enter(until_s=0.0)
    assert turn.waiting == 0
    waiting = started(turn.enter)
    until(turn, 1)
    turn.leave()
    waiting.join(30)
    assert not waiting.is_alive()

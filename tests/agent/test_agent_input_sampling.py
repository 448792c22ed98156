"""Sampled inputs: none unless the policy says so, never more than it says, by chance, gone when it ends."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgepress_agent.input_sampling import HOUR_MS, NOTHING, InputSampler
from edgepress_agent.local_limits import FILE, LOOK_EVERY_S, LocalLimits, WatchedLimits, write_local_limits
from edgepress_agent.sketch import Sketch
from edgepress_compression.artifact.baseline import Answer, Baseline
from edgepress_devices.model_messages import INPUT_MAX_BYTES
from edgepress_devices.protocol import InputSample, Sampling

ARTIFACT = "a" * 64
FOREVER_MS = 2**53
START_MS = 1_800_000_000_000  # a whole hour of the clock
SECOND_MS = 1000


class Board:
    """A sampler with a clock and an owner."""

    def __init__(self, policy: Sampling = NOTHING, until_ms: int = FOREVER_MS) -> None:
        self.now_ms = START_MS
        self.allowed = True
        self.withdrawn = 0
        self.random = np.random.default_rng(0)
        self.sampler = InputSampler(
            lambda: self.allowed,
            self._withdraw,
            clock_ms=lambda: self.now_ms,
            draw=lambda below: int(self.random.integers(below)),
        )
        self.sampler.follow(ARTIFACT)
        self.sampler.set_policy(policy, until_ms)
        self.sent: list[InputSample] = []

    def _withdraw(self) -> None:
        self.withdrawn += 1

    def ask(self, value: float, results: dict[str, NDArray[Any]] | None = None, **more: Any) -> None:
        self.sampler.offer(
            ARTIFACT, {"x": np.full((1, 4), value, np.float32)}, results or {}, **{"sketch": None, **more}
        )

    def run(self, seconds: int, first: int = 0) -> None:
        """A request and a look for what is to be sent every second; request n is about n."""
        for n in range(first, first + seconds):
            self.ask(float(n))
            self.now_ms += SECOND_MS
            self.sent += self.sampler.take()


def values(sent: list[InputSample]) -> list[float]:
    return [float(np.frombuffer(zlib.decompress(one.data), "<f4")[0]) for one in sent]


def test_by_default_nothing_leaves() -> None:
    board = Board()
    board.run(7200)
    assert board.sent == [] and board.withdrawn == 1


@pytest.mark.parametrize("per_hour", [1, 7, 60, 100, 600])
def test_never_more_than_the_policy_says_in_any_hour_of_the_clock(per_hour: int) -> None:
    board = Board(Sampling(per_hour=per_hour))
    board.run(4 * 3600)
    hours = [(one.at_ms - START_MS) // HOUR_MS for one in board.sent]
    counts = [hours.count(hour) for hour in range(4)]
    assert counts[1:3] == [per_hour] * 2  # the first slot and the last one are not whole
    assert max(counts) <= per_hour
    assert len(set(values(board.sent))) == len(board.sent)
    assert {one.why for one in board.sent} == {"random"}


def test_the_slot_in_which_the_agent_started_is_left_out() -> None:
    board = Board(Sampling(per_hour=6))
    board.now_ms = START_MS + 300 * SECOND_MS  # in the middle of a slot of 600 s
    board.run(320)
    assert board.sent == []
    board.run(600, first=320)
    (sent,) = board.sent
    assert 600 <= (sent.at_ms - START_MS) // SECOND_MS < 1200


def test_a_clock_that_goes_back_gives_no_more() -> None:
    board = Board(Sampling(per_hour=6))
    board.run(3600)
    board.now_ms -= 2000 * SECOND_MS
    board.run(1999)
    assert len(board.sent) <= 6


def test_every_request_of_a_slot_has_the_same_chance() -> None:
    board = Board(Sampling(per_hour=60))
    board.run(10 * 3600 + 60)
    places = np.bincount([int(value) % 60 for value in values(board.sent)], minlength=60)
    halves = places[:30].sum() / places.sum()
    assert len(board.sent) >= 590 and 0.42 < halves < 0.58  # four standard deviations


def test_only_unsure_answers_where_the_policy_asks_for_them() -> None:
    sketch = Sketch(Baseline(rows=1, looks=(), features=(), answer=Answer("y", "probabilities")))
    board = Board(Sampling(per_hour=3600, low_confidence_percent=60))
    for n in range(180):
        sure = n % 2 == 0
        board.ask(float(n), {"y": np.array([[0.9, 0.1]] if sure else [[0.55, 0.45]])}, sketch=sketch)
        board.now_ms += SECOND_MS
        board.sent += board.sampler.take()
    assert board.sent and all(value % 2 == 1 for value in values(board.sent))
    assert {(one.label, one.why) for one in board.sent} == {(0, "low confidence")}
    assert all(one.confidence == pytest.approx(0.55) for one in board.sent)


def test_without_a_baseline_nobody_is_unsure() -> None:
    board = Board(Sampling(per_hour=3600, low_confidence_percent=60))
    board.run(300)
    assert board.sent == []


@pytest.mark.parametrize("end", ["policy", "expiry", "owner"])
@pytest.mark.attack(
    "input after its policy ended", "what waits on the device is dropped and nothing is added"
)
def test_when_the_policy_ends_nothing_leaves_any_more(end: str) -> None:
    until_ms = START_MS + 200 * SECOND_MS
    board = Board(Sampling(per_hour=3600), until_ms if end == "expiry" else FOREVER_MS)
    board.run(199)
    assert board.sent and not board.withdrawn
    if end == "policy":
        board.sampler.set_policy(Sampling(), FOREVER_MS)
    board.allowed = end != "owner"
    sent = len(board.sent)
    board.now_ms += SECOND_MS
    board.run(600)
    assert len(board.sent) == sent and board.withdrawn == 1


def test_inputs_of_a_model_before_are_not_sent_as_anothers() -> None:
    board = Board(Sampling(per_hour=3600))
    board.run(90)
    board.sampler.follow("b" * 64)
    board.sent.clear()
    board.run(120)  # late requests of the old model
    assert board.sent == []


def test_an_input_that_is_too_large_is_left_out_whole() -> None:
    board = Board(Sampling(per_hour=60))
    noise = np.random.default_rng(0).random((1, 3, 96, 96), np.float32)
    for _ in range(180):
        board.sampler.offer(ARTIFACT, {"x": noise}, {}, None)
        board.now_ms += SECOND_MS
        board.sent += board.sampler.take()
    assert board.sent == []
    flat = np.zeros((1, 3, 96, 96), np.float32)
    for _ in range(180):
        board.sampler.offer(ARTIFACT, {"x": flat}, {}, None)
        board.now_ms += SECOND_MS
        board.sent += board.sampler.take()
    assert board.sent and all(len(one.data) <= INPUT_MAX_BYTES for one in board.sent)
    assert board.sent[0].shape == [1, 3, 96, 96] and board.sent[0].dtype == "float32"


def test_the_owners_word_is_kept_and_one_that_cannot_be_read_counts_as_no(tmp_path: Path) -> None:
    own = WatchedLimits(tmp_path)
    now_s = 0.0
    assert own.inputs_may_leave(now_s)
    for limits, may in ((LocalLimits(inputs="never"), False), (LocalLimits(rate_bytes_s=2000), True)):
        write_local_limits(tmp_path, limits)
        now_s += LOOK_EVERY_S
        assert own.inputs_may_leave(now_s) is may
    (tmp_path / FILE).write_bytes(b'{"inputs": "nev')
    assert not own.inputs_may_leave(now_s + LOOK_EVERY_S)
    assert not WatchedLimits(tmp_path).inputs_may_leave(0.0)

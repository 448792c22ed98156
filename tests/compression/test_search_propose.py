"""Which trial next, on an objective that is known everywhere: fewer trials, nothing twice, budgets first."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
import pytest

from edgepress_compression.search.budget import Budget
from edgepress_compression.search.front import hypervolume, within
from edgepress_compression.search.improve import expected_improvement, normal
from edgepress_compression.search.propose import Proposer
from edgepress_compression.search.space import Parameter, Point, Space
from edgepress_compression.search.surrogate import Belief, believe
from edgepress_compression.search.trial import Figures, Trial

SPACE = Space(
    (
        Parameter("channels", (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4)),
        Parameter("bits", (None, 6.0, 5.0, 4.5, 4.0, 3.5, 3.0, 2.5)),
        Parameter("numbers", ("fp32", "int8")),
    )
)


def figures(point: Point) -> Figures:
    """Costs multiply, losses add and then fall off a cliff: as real models do."""
    kept, bits, int8 = point["channels"], point["bits"] or 32.0, point["numbers"] == "int8"
    bits = min(bits, 8.0) if int8 else bits
    harm = 3.0 * (1 - kept) ** 2 + 12.0 * 2.0 ** (-1.2 * bits) + 0.1 * int8
    return Figures(
        drop=0.02 * harm + 0.3 * max(0.0, harm - 0.8) ** 2,
        drop_error=0.001,
        latency_us=1000 * kept**1.3 * (0.45 if int8 else 1.0) + 20,
        artifact_bytes=int(1_000_000 * kept * bits / 32) + 1000,
        samples=100,
    )


def play(budget: Budget, count: int, seed: int = 0, trials: list[Trial] | None = None) -> list[Trial]:
    propose = Proposer(SPACE, budget, (), seed)
    done = list(trials or [])
    while len(done) < count:
        trial = propose(done)
        if trial is None:
            break
        done.append(msgspec.structs.replace(trial, state="done", figures=figures(trial.point), seconds=1.0))
    return done


def covered(found: list[Figures]) -> float:
    rows = [(one.drop or 0.0, math.log2((one.latency_us or 1) / 1020), math.log2((one.artifact_bytes or 1) / 1.001e6)) for one in found]  # fmt: skip  # noqa: E501
    return hypervolume(np.array(rows), np.array([0.1, 0.0, 0.0]))


EVERY = [figures(point) for point in SPACE.points(np.random.default_rng(0))]


def test_a_seventh_of_the_points_covers_nearly_what_all_of_them_do() -> None:
    """The best choice of as many, made with all figures known, covers 98 %."""
    shares = [covered([t.figures for t in play(Budget(), 17, seed) if t.figures]) for seed in range(3)]
    rng = np.random.default_rng(0)
    drawn = [
        covered([EVERY[0], *(EVERY[i] for i in rng.choice(len(EVERY), 16, replace=False))]) for _ in range(3)
    ]
    assert np.median(shares) >= 0.945 * covered(EVERY)
    assert np.median(shares) > 1.05 * np.median(drawn)


def test_a_tight_budget_is_met_early() -> None:
    budget = Budget(latency_us=330.0, artifact_bytes=110_000, max_drop=0.02)
    able = sum(within(one, budget) is True for one in EVERY)
    assert 0 < able <= 6, "the test is only worth something where few points are within"
    trials = play(budget, 20)
    assert any(within(one.figures, budget) for one in trials)


def test_nothing_is_tried_twice_and_everything_in_the_end() -> None:
    small = Space((Parameter("channels", (1.0, 0.7, 0.4)), *SPACE.parameters[2:]))
    propose = Proposer(small, Budget(), (), 0)
    trials: list[Trial] = []
    while (trial := propose(trials)) is not None:
        known = figures({**trial.point, "bits": None})
        trials.append(msgspec.structs.replace(trial, state="done", figures=known, seconds=1.0))
    assert len(trials) == small.size() == len({tuple(one.point.values()) for one in trials})


def test_a_search_that_was_interrupted_goes_on_as_it_would_have() -> None:
    whole = play(Budget(max_drop=0.01), 12)
    resumed = play(Budget(max_drop=0.01), 12, trials=whole[:7])
    assert [one.point for one in whole] == [one.point for one in resumed]


def test_workers_at_the_same_time_get_different_trials() -> None:
    done = play(Budget(), 8)
    propose = Proposer(SPACE, Budget(), (), 0)
    first = propose(done)
    assert first is not None
    second = propose([*done, first])
    assert second is not None and second.point != first.point and second.number == first.number + 1


def test_trials_that_failed_stop_nothing() -> None:
    done = play(Budget(), 5)
    failed = [msgspec.structs.replace(one, state="failed", figures=None, error="no") for one in done[1:]]
    assert Proposer(SPACE, Budget(), (), 0)([done[0], *failed]) is not None


def test_a_belief_is_sure_where_it_was_told_and_never_against_the_order_of_levels() -> None:
    rng = np.random.default_rng(0)
    seen = rng.random((12, 2))
    values = 2 * seen[:, 0] + seen[:, 1] ** 3
    belief = believe(
        seen, values, np.full(12, 1e-3), np.concatenate([seen, [[0.0, 0.0], [1.0, 1.0]]]), rises=True
    )
    np.testing.assert_allclose(belief.mean[:12], values, atol=0.05)
    assert belief.deviation[:12].max() < belief.deviation.max()
    assert belief.mean[-2] < belief.mean[-1]


@pytest.mark.parametrize("z", [-6.0, -1.5, -0.1, 0.0, 0.3, 2.2, 6.0])
def test_the_normal_distribution_function_is_right(z: float) -> None:
    assert normal(np.array([z]))[0] == pytest.approx(0.5 * (1 + math.erf(z / math.sqrt(2))), abs=1e-6)


def test_a_gain_within_the_budget_is_worth_more_than_one_beyond() -> None:
    gain: Callable[[float], np.ndarray] = lambda limit: expected_improvement(  # noqa: E731
        [Belief(np.array([0.2, 0.7]), np.full(2, 0.01)), Belief(np.array([0.7, 0.2]), np.full(2, 0.01))],
        np.array([[0.9, 0.9]]),
        np.zeros(2),
        np.ones(2),
        np.array([limit, math.inf]),
        np.random.default_rng(0),
    )
    free, bound = gain(math.inf), gain(0.5)
    assert free[0] == pytest.approx(free[1], rel=0.1)
    assert bound[0] > 2 * bound[1]

"""Pareto fronts, hypervolumes, the best point, the nearest one and what blocks it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgepress_compression.search.budget import Budget
from edgepress_compression.search.front import (
    best,
    blocked,
    excess,
    front,
    hypervolume,
    nearest,
    pareto,
    within,
)
from edgepress_compression.search.trial import Figures, Trial

POINTS = st.tuples(st.integers(1, 9), st.integers(1, 4)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.integers(0, 6).map(float))
)


def trial(number: int, drop: float, latency_us: float, size: int = 1000, **more: object) -> Trial:
    figures = Figures(drop=drop, latency_us=latency_us, artifact_bytes=size, samples=100)
    return Trial(number=number, recipe={"name": f"r{number}"}, state="done", figures=figures, **more)  # type: ignore[arg-type]


@given(POINTS)
def test_the_front_is_every_point_that_none_dominates_once(points: np.ndarray) -> None:
    kept = pareto(points)
    for row, point in enumerate(points):
        dominated = any((other <= point).all() and (other < point).any() for other in points)
        twin = any((points[earlier] == point).all() for earlier in range(row))
        assert kept[row] == (not dominated and not twin)


@settings(deadline=None)
@given(POINTS)
def test_the_hypervolume_is_the_count_of_dominated_cells(points: np.ndarray) -> None:
    reference = np.full(points.shape[1], 7.0)  # whole numbers: the volume is a number of unit cells
    cells = np.stack(np.meshgrid(*[np.arange(7)] * points.shape[1], indexing="ij"), -1)
    cells = cells.reshape(-1, points.shape[1])
    covered = (points[None] <= cells[:, None]).all(axis=2).any(axis=1)
    assert hypervolume(points, reference) == pytest.approx(covered.sum())


@given(POINTS, st.integers(0, 8))
def test_another_point_never_makes_the_hypervolume_smaller(points: np.ndarray, row: int) -> None:
    reference = np.full(points.shape[1], 7.0)
    fewer = np.delete(points, min(row, len(points) - 1), axis=0)
    assert hypervolume(fewer, reference) <= hypervolume(points, reference) + 1e-9


def test_what_is_beyond_the_reference_covers_nothing() -> None:
    assert hypervolume(np.array([[8.0, 0.0]]), np.array([7.0, 7.0])) == 0.0


def test_only_trials_judged_on_all_rows_are_on_the_front() -> None:
    few = Figures(drop=-0.5, latency_us=1.0, artifact_bytes=1, samples=25)
    partly = Trial(number=1, recipe={}, state="done", figures=few)
    predicted = trial(2, 0.0, 1.0, 1, stage="predicted")
    failed = Trial(number=3, recipe={}, state="failed", error="no")
    whole = trial(0, 0.0, 10.0)
    assert front([whole, partly, predicted, failed], Budget()) == [whole]


def test_the_best_is_within_every_limit_and_the_cheapest_for_its_drop() -> None:
    trials = [
        trial(0, 0.0, 100.0, 4000),
        trial(1, 0.004, 45.0, 1000),
        trial(2, 0.009, 44.0, 990),  # hardly better for more than twice the drop
        trial(3, 0.05, 20.0, 500),  # loses too much
    ]
    chosen = best(trials, trials[0].figures or Figures(), Budget(latency_us=50.0, max_drop=0.01))
    assert chosen is not None and chosen.number == 1


def test_what_a_device_measured_goes_before_what_was_only_predicted() -> None:
    trials = [
        trial(0, 0.0, 100.0, 4000),
        trial(1, 0.004, 45.0, 1000),
        trial(2, 0.001, 49.0, 2000, stage="measured"),
    ]
    chosen = best(trials, trials[0].figures or Figures(), Budget(latency_us=50.0, max_drop=0.01))
    assert chosen is not None and chosen.number == 2


def test_an_unknown_figure_is_neither_within_nor_beyond_its_limit() -> None:
    figures = Figures(latency_us=5.0)
    assert within(figures, Budget(latency_us=10.0)) is True
    assert within(figures, Budget(latency_us=10.0, max_drop=0.01)) is None
    assert within(figures, Budget(latency_us=1.0, max_drop=0.01)) is False


def test_an_impossible_budget_names_the_nearest_point_and_what_blocks_it() -> None:
    trials = [
        trial(0, 0.0, 40_000.0, title="the model as it is"),
        trial(1, 0.034, 11_200.0, title="int8, a quarter of the channels"),
        trial(2, 0.008, 17_000.0, title="int8"),
    ]
    budget = Budget(latency_us=10_000.0, max_drop=0.01)
    assert best(trials, trials[0].figures or Figures(), budget) is None
    near = nearest(trials, budget)
    assert near is not None and near.number == 2
    assert blocked(trials, budget) == [
        "The smallest latency found is 11.2 ms (int8, a quarter of the channels), at 3.4 points lost; within "
        "at most 1 points lost it is 17 ms (int8). The budget asks for 10 ms."
    ]


def test_a_limit_that_is_met_only_alone_says_what_it_costs() -> None:
    trials = [trial(0, 0.0, 40_000.0, title="as it is"), trial(1, 0.2, 9_000.0, title="tiny")]
    said = blocked(trials, Budget(latency_us=10_000.0, max_drop=0.01))
    assert said == [
        "The smallest latency found is 9 ms (tiny), at 20.0 points lost; within at most 1 points lost it is "
        "40 ms (as it is). The budget asks for 10 ms."
    ]


@given(st.floats(0.0, 0.5), st.floats(1.0, 1e6), st.floats(1.0, 1e6), st.floats(0.0, 0.1))
def test_the_excess_is_nothing_exactly_within(drop: float, us: float, limit_us: float, most: float) -> None:
    figures, budget = Figures(drop=drop, latency_us=us), Budget(latency_us=limit_us, max_drop=most)
    assert (excess(figures, budget) == 0.0) == within(figures, budget)

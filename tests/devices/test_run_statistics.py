"""Statistics of runs: what is thrown out is far away, and intervals hold what they claim."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_devices.microbench.run_statistics import (
    mean_of,
    mean_of_visits,
    median,
    outlier_bounds,
    quantile,
    t95,
    without_outliers,
)

times = st.floats(0.1, 1e6)
visits = st.lists(st.lists(times, max_size=20), min_size=1, max_size=6).filter(any)


@given(st.lists(times, min_size=1, max_size=60), st.floats(0, 1))
def test_a_quantile_lies_between_the_values_and_grows(values: list[float], share: float) -> None:
    assert min(values) <= quantile(values, share) <= max(values)
    assert quantile(values, share / 2) <= quantile(values, share)
    assert (quantile(values, 0.0), quantile(values, 1.0)) == (min(values), max(values))


@given(visits)
def test_the_median_is_never_an_outlier_and_nothing_is_invented(rows: list[list[float]]) -> None:
    kept = without_outliers(rows)
    pooled = [value for row in rows for value in row]
    assert len(kept) == len(rows)
    assert all(set(left) <= set(row) for left, row in zip(kept, rows, strict=True))
    low, high = outlier_bounds(pooled)
    assert low <= median(pooled) <= high
    assert any(kept)  # never everything


@given(visits)
def test_visits_that_differ_never_make_the_interval_narrower(rows: list[list[float]]) -> None:
    pooled = mean_of([value for row in rows for value in row])
    together = mean_of_visits(rows)
    assert together.mean == pooled.mean
    assert together.ci95 >= pooled.ci95


@given(st.lists(times, min_size=2, max_size=50), st.floats(0.1, 1e3))
def test_an_interval_scales_with_its_unit(values: list[float], factor: float) -> None:
    one, other = mean_of(values), mean_of([factor * value for value in values])
    assert other.mean == pytest.approx(factor * one.mean, rel=1e-9)
    assert other.ci95 == pytest.approx(factor * one.ci95, rel=1e-6, abs=1e-6 * other.mean)


def test_a_run_that_was_interrupted_is_thrown_out_and_a_tick_is_not() -> None:
    assert without_outliers([[10.0, 10.1, 9.9, 10.0, 55.0]]) == [[10.0, 10.1, 9.9, 10.0]]
    equal = [[3.0] * 20 + [4.0] * 3 + [40.0]]
    assert without_outliers(equal, resolution=1.0) == [[3.0] * 20 + [4.0] * 3]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(7)
    hits = 0
    for _ in range(600):
        mean = mean_of([rng.gauss(100.0, 5.0) for _ in range(6)])
        hits += abs(mean.mean - 100.0) <= mean.ci95
    assert 0.92 <= hits / 600 <= 0.98


def test_runs_of_few_visits_that_disagree_are_not_sure_however_many_they_are() -> None:
    rng = random.Random(3)
    rows = [[rng.gauss(level, 0.1) for _ in range(300)] for level in (100.0, 104.0, 97.0)]
    assert mean_of_visits(rows).ci95 > 5.0  # 900 independent runs would claim 0.2


def test_one_value_says_nothing_of_its_spread() -> None:
    assert mean_of([5.0]) == (5.0, math.inf)
    with pytest.raises(ValueError, match="no values"):
        mean_of([])
    with pytest.raises(ValueError, match="single value"):
        t95(0)


def test_students_t_comes_down_to_the_normal_distribution_without_a_jump_up() -> None:
    column = [t95(n) for n in range(1, 200)]
    assert column == sorted(column, reverse=True)
    assert column[-1] == pytest.approx(1.97, abs=0.01)

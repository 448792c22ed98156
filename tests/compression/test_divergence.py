"""PSI, KS and what chance gives: against plain numpy, and against samples of one distribution."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_compression.artifact import divergence as d

counts = st.integers(1, 24).flatmap(
    lambda bins: st.tuples(*[st.lists(st.integers(0, 500), min_size=bins, max_size=bins)] * 2)
)


def plain_psi(expected, actual):
    """Bin by bin, as the definition has it."""
    if not sum(expected) or not sum(actual):
        return 0.0
    used = [(q, p) for q, p in zip(expected, actual, strict=True) if q or p]
    m, n, half = sum(expected), sum(actual), 0.5 * len(used)
    shares = [((q + 0.5) / (m + half), (p + 0.5) / (n + half)) for q, p in used]
    return sum((p - q) * math.log(p / q) for q, p in shares)


def plain_ks(expected, actual):
    if not sum(expected) or not sum(actual):
        return 0.0
    farthest = 0.0
    for bins in range(1, len(expected) + 1):
        q, p = sum(expected[:bins]) / sum(expected), sum(actual[:bins]) / sum(actual)
        farthest = max(farthest, abs(q - p))
    return farthest


@given(counts)
def test_psi_is_the_definition_and_never_negative(both) -> None:
    expected, actual = both
    assert d.psi(expected, actual) == pytest.approx(plain_psi(expected, actual), abs=1e-9)
    assert d.psi(expected, actual) >= 0.0
    assert d.psi(expected, actual) == pytest.approx(d.psi(actual, expected), abs=1e-9)
    assert 0.0 <= d.psi_beyond_chance(expected, actual, 5) <= d.psi_beyond_chance(expected, actual)
    assert (
        d.psi_beyond_chance(expected, actual) <= d.psi_unbiased(expected, actual) <= d.psi(expected, actual)
    )


@given(counts)
def test_ks_is_the_definition_and_a_share(both) -> None:
    expected, actual = both
    assert d.ks(expected, actual) == pytest.approx(plain_ks(expected, actual), abs=1e-9)
    assert 0.0 <= d.ks(expected, actual) <= 1.0


@given(st.lists(st.integers(0, 100), min_size=1, max_size=24), st.integers(1, 5))
def test_the_same_shares_are_no_drift(expected, times) -> None:
    actual = [times * count for count in expected]
    assert d.ks(expected, actual) == pytest.approx(0.0, abs=1e-12)
    assert d.psi_unbiased(expected, actual) == 0.0


def test_ks_of_bins_is_at_most_that_of_the_samples() -> None:
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 400), rng.normal(0.4, 1.2, 300)
    edges = np.quantile(a, np.arange(1, 10) / 10)
    binned = [np.bincount(np.searchsorted(edges, x), minlength=10) for x in (a, b)]
    whole = ks_2samp(a, b).statistic
    assert whole - 0.1 <= d.ks(*binned) <= whole


@pytest.mark.parametrize("requests", [50, 100, 1000])
def test_chance_alone_is_seldom_taken_for_drift(requests) -> None:
    """Of 15 features without drift the worst one is above 0 in 5 % of minutes, above 0.25 in hardly any."""
    rng = np.random.default_rng(requests)
    expected = rng.multinomial(1000, [0.1] * 10, size=(1000, 15))  # what baselines saw
    minutes = rng.multinomial(requests, [0.1] * 10, size=(1000, 15))
    worst = [
        max(d.psi_beyond_chance(q, p, 15) for q, p in zip(*minute, strict=True))
        for minute in zip(expected, minutes, strict=True)
    ]
    assert np.mean(np.array(worst) > 0.0) < 0.06
    assert np.mean(np.array(worst) > 0.25) < 0.002


def test_the_mean_of_psi_by_chance_is_what_is_taken_off() -> None:
    rng = np.random.default_rng(1)
    shares = np.array([0.05, 0.1, 0.1, 0.1, 0.15, 0.15, 0.1, 0.1, 0.1, 0.05])
    pairs = [(rng.multinomial(400, shares), rng.multinomial(300, shares)) for _ in range(500)]
    found = np.mean([d.psi(q, p) for q, p in pairs])
    said = np.mean([d.psi_chance(q, p) for q, p in pairs])
    assert found == pytest.approx(said, rel=0.1)


def test_quantiles_of_chi_squared_are_within_two_hundredths() -> None:
    from scipy.stats import chi2

    for freedom in (2, 5, 9, 21, 99):
        for share in (0.95, 0.99, 0.9985):
            assert d._chi_squared(freedom, share) == pytest.approx(chi2.ppf(share, freedom), rel=0.02)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=1000))
def test_classes_are_put_into_few_groups_and_none_is_lost(classes) -> None:
    groups = d.class_groups(classes)
    assert len(groups) == len(classes) and int(groups.max()) < d.GROUPS_MAX
    assert (np.diff(groups) >= 0).all()
    assert int(d.grouped(classes, groups).sum()) == sum(classes)
    if len(classes) <= d.GROUPS_MAX:
        assert groups.tolist() == list(range(len(classes)))


def test_groups_of_many_classes_have_about_equal_shares() -> None:
    grouped = d.grouped([1] * 1000, d.class_groups([1] * 1000))
    assert grouped.tolist() == [50] * 20

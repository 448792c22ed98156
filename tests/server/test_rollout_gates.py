"""Gates: their bounds against an oracle, and what each says of figures that hold, miss, or say too little."""

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgepress_devices.histogram import LatencyRecorder
from edgepress_devices.protocol import Histogram
from edgepress_server.rollout.figures import Arm, ProfileFigures
from edgepress_server.rollout.gates import judge
from edgepress_server.rollout.statistics import (
    beta_cdf,
    clopper_pearson,
    mean_bounds,
    quantile_bounds,
    t_quantile,
    welch_bounds,
    wilson,
)
from edgepress_server.store.rollout_policy import Gates


@given(a=st.floats(0.5, 2000), b=st.floats(0.5, 2000), x=st.floats(0, 1))
def test_the_incomplete_beta_function_is_scipys(a: float, b: float, x: float) -> None:
    assert beta_cdf(a, b, x) == pytest.approx(float(stats.beta.cdf(x, a, b)), abs=1e-9)


@given(p=st.floats(0.6, 0.999), freedom=st.floats(1, 1e5))
@settings(max_examples=50)
def test_the_quantiles_of_students_t_are_scipys(p: float, freedom: float) -> None:
    assert t_quantile(p, freedom) == pytest.approx(float(stats.t.ppf(p, freedom)), rel=1e-6)


@given(n=st.integers(0, 500), share=st.floats(0, 1), confidence=st.floats(0.6, 0.999))
@settings(max_examples=50)
def test_bounds_of_a_share_hold_it_and_are_the_published_ones(
    n: int, share: float, confidence: float
) -> None:
    hits = round(share * n)
    lower, upper = clopper_pearson(hits, n, confidence)
    wilson_lower, wilson_upper = wilson(hits, n, confidence)
    assert 0 <= lower <= upper <= 1 and 0 <= wilson_lower <= wilson_upper <= 1
    if n:
        assert lower - 1e-12 <= hits / n <= upper + 1e-12
        exact = stats.binomtest(hits, n)
        both = exact.proportion_ci(2 * confidence - 1, method="exact")  # one-sided at `confidence` each
        assert (lower, upper) == pytest.approx((both.low, both.high), abs=1e-6)
        both = exact.proportion_ci(2 * confidence - 1, method="wilson")
        assert (wilson_lower, wilson_upper) == pytest.approx((both.low, both.high), abs=1e-6)


def test_welch_is_scipys() -> None:
    rng = random.Random(7)
    new, base = [rng.gauss(12, 3) for _ in range(9)], [rng.gauss(10, 1) for _ in range(25)]
    lower, upper = welch_bounds(new, base, 1.0, 0.95)
    theirs = stats.ttest_ind(new, base, equal_var=False).confidence_interval(0.90)
    assert (lower, upper) == pytest.approx((theirs.low, theirs.high))


def test_a_mean_of_one_value_is_not_known() -> None:
    assert mean_bounds([3.0], 0.95) == (-math.inf, math.inf)


def test_the_bounds_of_a_quantile_cover_it_as_often_as_they_say() -> None:
    """1,000 fleets of which the true p95 is known: below the lower bound, and above the upper, in at most 5 %
    of them (n counts a quarter: these inferences are independent, so the bounds are wider than needed)."""
    rng, true_p95 = random.Random(1), math.exp(1.6448536)
    outside_low = outside_high = 0
    for _ in range(300):
        recorder = LatencyRecorder()
        for _ in range(600):
            recorder.record(1000 * math.exp(rng.gauss(0, 1)))
        histogram = recorder.take()
        assert histogram is not None
        lower, value, upper = quantile_bounds(histogram, 0.95, 0.95)
        assert lower <= value <= upper
        outside_low += lower > 1000 * true_p95
        outside_high += upper < 1000 * true_p95
    assert outside_low <= 15 and outside_high <= 15


# --- verdicts ---------------------------------------------------------------------------------------------


def latency(ms: float, n: int = 2000, spread: float = 0.05) -> Histogram:
    rng, recorder = random.Random(n), LatencyRecorder()
    for _ in range(n):
        recorder.record(1000 * ms * (1 + spread * rng.random()))
    found = recorder.take()
    assert found is not None
    return found


def arm(ms: float | None = None, devices: int = 3, n: int = 2000, **values: float) -> Arm:
    names = [f"d{i}" for i in range(devices)]
    return Arm(
        devices=devices,
        latency=None if ms is None else latency(ms, n),
        rss_bytes={d: [values["rss_mb"] * 1e6 + i for i in range(5)] for d in names}
        if "rss_mb" in values
        else {},
        energy_mj=(
            {d: [values["mj"] * (1 + 0.01 * i + 0.002 * k) for i in range(5)] for k, d in enumerate(names)}
            if "mj" in values
            else {}
        ),
    )


def figures(**more: Any) -> ProfileFigures:
    return ProfileFigures(**{"profile": "pi", "committed": 3, "failed": 0, **more})


@pytest.mark.parametrize(
    ("claim", "gates", "seen", "state", "said"),
    [
        ("faster than allowed", {"p95_us": 12_000}, {"new": arm(8)}, "kept", "12 ms allowed"),
        ("slower than allowed", {"p95_us": 6_000}, {"new": arm(8)}, "missed", "p95 8."),
        ("at the limit", {"p95_us": 8_400}, {"new": arm(8, n=400)}, "undecided", "8.4 ms allowed"),
        ("too few inferences", {"p95_us": 12_000}, {"new": arm(8, n=99)}, "undecided", "99 inferences"),
        (
            "too few devices",
            {"p95_us": 12_000, "min_devices": 4},
            {"new": arm(8)},
            "undecided",
            "of 3 devices",
        ),
        (
            "as fast as before",
            {"p95_ratio": 1.15},
            {"new": arm(8), "before": arm(8)},
            "kept",
            "before (between",
        ),
        (
            "slower than before and than the others",
            {"p95_ratio": 1.1},
            {"new": arm(10), "before": arm(8), "control": arm(8.6)},
            "missed",
            "of those not told",
        ),
        (
            "slower than before, as all are this afternoon",
            {"p95_ratio": 1.1},
            {"new": arm(10), "before": arm(8), "control": arm(10)},
            "kept",
            "of those not told",
        ),
        (
            "slower than others, as these boards always were",
            {"p95_ratio": 1.1},
            {"new": arm(10), "before": arm(10), "control": arm(8)},
            "kept",
            "before",
        ),
        ("nothing to compare", {"p95_ratio": 1.1}, {"new": arm(10)}, "undecided", "nothing to compare"),
        ("little memory", {"rss_bytes": 80_000_000}, {"new": arm(rss_mb=60)}, "kept", "of 3 devices"),
        ("much memory", {"rss_bytes": 50_000_000}, {"new": arm(rss_mb=60)}, "missed", "50 MB allowed"),
        (
            "memory of one device: its minutes count",
            {"rss_bytes": 80_000_000},
            {"new": arm(rss_mb=60, devices=1)},
            "kept",
            "of 5 minutes",
        ),
        (
            "less energy",
            {"energy_ratio": 1.0},
            {"new": arm(mj=8), "before": arm(mj=10)},
            "kept",
            "before, 1 x",
        ),
        (
            "more energy",
            {"energy_ratio": 1.0},
            {"new": arm(mj=12), "before": arm(mj=10)},
            "missed",
            "12.3 mJ an inference",
        ),
        (
            "about the same energy",
            {"energy_ratio": 1.0},
            {"new": arm(mj=10), "before": arm(mj=10)},
            "undecided",
            "against",
        ),
        (
            "it cannot be measured",
            {"energy_ratio": 1.0},
            {"new": arm(8)},
            "undecided",
            "0 minutes of 0 devices",
        ),
        (
            "it agrees",
            {"min_agreement": 0.98},
            {"compared": 5000, "agreed": 4980},
            "kept",
            "4980 of 5000",
        ),
        ("it disagrees", {"min_agreement": 0.98}, {"compared": 5000, "agreed": 4700}, "missed", "94 %"),
        (
            "ten answers prove little",
            {"min_agreement": 0.98},
            {"compared": 10, "agreed": 10},
            "undecided",
            "10 of 10",
        ),
        ("nobody compared", {"min_agreement": 0.98}, {}, "undecided", "no answers were compared"),
        ("nobody failed", {"max_failure_ratio": 0.02}, {}, "kept", "0 of 3 failed"),
        (
            "surely too many failed",
            {"max_failure_ratio": 0.02},
            {"failed": 9},
            "missed",
            "surely more than",
        ),
    ],
)
def test_a_gate_where(claim: str, gates: dict[str, Any], seen: dict[str, Any], state: str, said: str) -> None:
    (verdict,) = judge(Gates(**gates), figures(**seen), complete=False)
    assert (verdict.state, claim) == (state, claim), verdict.words
    assert said in verdict.words


def test_one_failure_of_four_waits_for_more_until_nobody_is_left() -> None:
    gates = Gates(max_failure_ratio=0.02)
    (verdict,) = judge(gates, figures(failed=1), complete=False)
    assert verdict.state == "undecided"
    (verdict,) = judge(gates, figures(failed=1), complete=True)
    assert verdict.state == "missed" and "nobody is left" in verdict.words


def test_where_nobody_committed_only_failures_are_judged() -> None:
    gates = Gates(max_failure_ratio=0.5, p95_us=5, rss_bytes=1, energy_ratio=1.0)
    assert [v.gate for v in judge(gates, figures(committed=0, failed=1), complete=True)] == ["failures"]
    assert judge(gates, figures(committed=0, failed=0), complete=True) == []


@given(
    ms=st.floats(1, 50),
    base=st.floats(1, 50),
    n=st.integers(1, 3000),
    ratio=st.floats(0.5, 3),
)
@settings(max_examples=40, deadline=None)
def test_no_figures_are_both_kept_and_missed_and_more_slowness_never_helps(
    ms: float, base: float, n: int, ratio: float
) -> None:
    gates = Gates(p95_ratio=ratio)
    rank = {"kept": 0, "undecided": 1, "missed": 2}

    def verdict(now_ms: float) -> int:
        (found,) = judge(gates, figures(new=arm(now_ms, n=n), before=arm(base)), complete=True)
        return rank[found.state]

    assert verdict(ms) <= verdict(1.5 * ms)

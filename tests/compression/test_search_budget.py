"""Budgets: numbers with units from people, or one sentence that says what to write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_compression.errors import BudgetError
from edgepress_compression.search.budget import (
    Budget,
    check,
    parse_bytes,
    parse_drop,
    parse_energy_mj,
    parse_latency_us,
)


@pytest.mark.parametrize(
    ("parse", "text", "expected"),
    [
        (parse_latency_us, "20ms", 20_000.0),
        (parse_latency_us, " 850 us ", 850.0),
        (parse_latency_us, "1.5s", 1_500_000.0),
        (parse_latency_us, ".5 ms", 500.0),
        (parse_bytes, "2MB", 2_000_000),
        (parse_bytes, "512KiB", 524_288),
        (parse_bytes, "400,000 B", 400_000),
        (parse_energy_mj, "5mJ", 5.0),
        (parse_energy_mj, "0.2 J", 200.0),
        (parse_drop, "1.0", 0.01),
        (parse_drop, "0", 0.0),
        (parse_drop, "2.5%", 0.025),
        (parse_drop, "1 point", 0.01),
    ],
)
def test_what_people_write_is_read_in_the_unit_of_the_field(parse, text, expected) -> None:  # type: ignore[no-untyped-def]
    assert parse(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("parse", "text", "says"),
    [
        (parse_latency_us, "20", "has no unit. Say 20ms"),
        (parse_latency_us, "20 MS", "Did you mean ms"),
        (parse_latency_us, "-5ms", "above 0"),
        (parse_latency_us, "0ms", "above 0"),
        (parse_latency_us, "fast", "is no number with a unit"),
        (parse_latency_us, "9" * 100 + "ms", "is no number with a unit"),
        (parse_bytes, "2", "has no unit. Say 2MB"),
        (parse_bytes, "2 apples", "unknown unit"),
        (parse_bytes, "0.1B", "less than one byte"),
        (parse_energy_mj, "5", "has no unit. Say 5mJ"),
        (parse_drop, "-1", "from 0 to 100"),
        (parse_drop, "101", "from 0 to 100"),
        (parse_drop, "1ms", "in points"),
        (parse_drop, "nan", "is no number"),
    ],
)
def test_what_cannot_be_meant_is_answered_with_what_to_write(parse, text, says) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(BudgetError, match=says):
        parse(text)


@given(st.text(max_size=60))
def test_no_text_makes_anything_but_a_positive_number_or_an_error_for_people(text: str) -> None:
    for parse in (parse_latency_us, parse_bytes, parse_energy_mj):
        try:
            assert parse(text) > 0
        except BudgetError:
            pass
    try:
        assert 0 <= parse_drop(text) <= 1
    except BudgetError:
        pass


@given(st.floats(0.001, 1e6, allow_nan=False), st.sampled_from(["us", "ms", "s"]))
def test_a_number_and_its_unit_come_back_as_they_were_written(value: float, unit: str) -> None:
    factor = {"us": 1.0, "ms": 1e3, "s": 1e6}[unit]
    assert parse_latency_us(f"{value:.6f}{unit}") == pytest.approx(float(f"{value:.6f}") * factor)


@pytest.mark.parametrize(
    "budget",
    [
        Budget(latency_us=0.0),
        Budget(latency_us=float("nan")),
        Budget(artifact_bytes=-1),
        Budget(energy_mj=float("inf")),
        Budget(max_drop=1.5),
        Budget(max_drop=-0.1),
    ],
)
def test_a_budget_of_numbers_that_no_device_has_is_refused(budget: Budget) -> None:
    with pytest.raises(BudgetError):
        check(budget)


def test_a_budget_says_itself_in_words() -> None:
    asked = Budget(latency_us=20_000, artifact_bytes=2_000_000, max_drop=0.01)
    assert asked.words() == "20 ms, 2.00 MB, at most 1 points lost"
    assert Budget().words() == "no limit"

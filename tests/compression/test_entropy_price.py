"""The price finds the bytes asked for, and the last few bytes are found by widening zero."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress_compression.errors import RecipeError
from edgepress_compression.passes.entropy.fit import narrowest
from edgepress_compression.passes.entropy.price import PriceControl


@given(
    target=st.floats(2_000, 40_000),
    sense=st.floats(0.3, 1.5),  # how steeply bytes fall with the logarithm of the price
    balance=st.floats(1e-6, 1e-1),
)
def test_bytes_that_lag_behind_come_to_the_target(target: float, sense: float, balance: float) -> None:
    """A stand-in for training: bytes move each time a twentieth of the way to those that the price asks."""
    bits, now = 0.0, 8 * 50_000.0

    def measure() -> int:
        return round(500 + 1.1 * now / 8)

    control = PriceControl(target_bytes=target, fixed_bytes=500, measure=measure, ramp=0.5)
    decisions = 400
    for number in range(decisions):
        price = control.price(number / decisions, now, balance)
        wanted = 8 * 50_000 * math.exp(-sense * math.log1p(price / (0.01 * balance)))
        now += (wanted - now) / 20
    bits = now
    assert control.estimate(bits) == pytest.approx(target, rel=0.1)


def test_zero_is_widened_no_more_than_needed() -> None:
    asked = []

    def bytes_at(widening: float) -> int:
        asked.append(widening)
        return round(1000 * math.exp(-widening))

    widening = narrowest(bytes_at, 700)
    assert bytes_at(widening) <= 700
    assert bytes_at(widening - 0.01) > 700
    assert len(asked) < 25
    assert narrowest(bytes_at, 1000) == 0.0


def test_a_target_that_no_zeros_reach_is_refused_with_what_can_be() -> None:
    with pytest.raises(RecipeError, match=r"still takes 900 bytes"):
        narrowest(lambda widening: 900, 700)

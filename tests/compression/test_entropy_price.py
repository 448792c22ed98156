"""The price finds the bytes asked for, and the last few bytes are found by widening zero."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from blobs import blobs
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import mlp

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.passes.entropy import entropy
from edgepress_compression.passes.entropy.entropy import tensor_forms
from edgepress_compression.passes.entropy.fit import narrowest
from edgepress_compression.passes.entropy.latents import PricedIntegers
from edgepress_compression.passes.entropy.price import PriceControl
from edgepress_compression.training.checkpoint import TrainingCheckpoint
from edgepress_compression.training.loop import Schedule, fine_tune
from edgepress_compression.training.losses import loss_for

torch.set_num_threads(1)
DATA = blobs(500)


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


class Stop(Exception):
    pass


def test_a_training_that_was_stopped_goes_on_to_the_same_integers(tmp_path: Path) -> None:
    def trained(path: Path | None, stop_after: int | None = None) -> bytes:
        graph = mlp(np.random.default_rng(0))
        executor = Executor(graph)
        priced = PricedIntegers(executor, tensor_forms(graph, executor, entropy.Options()))
        control = PriceControl(150, 0, measure=lambda: round(priced.bits / 8), ramp=0.5)
        priced.pace(control, every=7)
        steps = 0

        def check() -> None:
            nonlocal steps
            steps += 1
            if stop_after is not None and steps > stop_after:
                raise Stop

        split = DATA.split("train")
        fine_tune(
            executor,
            split,
            loss_for(graph, "classification", label_share=1.0),
            priced,
            Schedule(steps=60, batch_size=20, learning_rate=3e-3),
            rows=np.arange(len(split)),
            teacher=None,
            seed=0,
            checkpoint=None if path is None else TrainingCheckpoint(path, every_s=0.0),
            check_cancelled=check,
        )
        return b"".join(code.integers.tobytes() + code.scales.tobytes() for code in priced.codes().values())

    path = tmp_path / "training"
    with pytest.raises(Stop):
        trained(path, stop_after=33)
    assert trained(path) == trained(None)

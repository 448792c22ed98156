"""The price finds the bytes asked for; for the last few the weights that matter least go."""

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
from edgepress_compression.passes.entropy.fit import fewest_zeroed
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


def test_no_more_weights_are_zeroed_than_needed() -> None:
    asked = []

    def bytes_at(zeroed: float) -> int:
        asked.append(zeroed)
        return round(100_000 * (1 - 0.9 * zeroed))

    zeroed = fewest_zeroed(bytes_at, 70_000)
    assert bytes_at(zeroed) <= 70_000
    assert bytes_at(zeroed - 0.005) > 70_000
    assert len(asked) < 25
    assert fewest_zeroed(bytes_at, 100_000) == 0.0


def test_a_target_that_no_zeros_reach_is_refused_with_what_can_be() -> None:
    with pytest.raises(RecipeError, match=r"still takes 900 bytes"):
        fewest_zeroed(lambda zeroed: 900, 700)


def test_weights_that_matter_least_for_their_bits_are_zeroed_first() -> None:
    """Two layers: the gradient of one is ten times that of the other, which so loses its weights."""
    executor = Executor(mlp(np.random.default_rng(0)))
    graph = mlp(np.random.default_rng(0))
    forms = tensor_forms(graph, executor, entropy.Options(step=0.5))
    priced = PricedIntegers(executor, forms)
    for name, gradient in (("w1", 10.0), ("w2", 1.0)):
        executor.weights[name].grad = torch.full_like(executor.weights[name], gradient)
    priced.collect()
    before = {name: code.integers for name, code in priced.codes().items()}
    priced.zero_least(0.02)
    after = {name: code.integers for name, code in priced.codes().items()}
    lost = {name: int(((before[name] != 0) & (after[name] == 0)).sum()) for name in ("w1", "w2")}
    nonzero = sum(int(np.count_nonzero(before[name])) for name in ("w1", "w2"))
    assert lost["w2"] > 0
    assert sum(lost.values()) >= int(0.02 * nonzero)
    assert lost["w1"] == 0
    assert np.abs(before["w2"][(before["w2"] != 0) & (after["w2"] == 0)]).max() == 1
    priced.zero_least(0.0)
    np.testing.assert_array_equal(priced.codes()["w2"].integers, before["w2"])


class Stop(Exception):
    pass


def test_a_training_that_was_stopped_goes_on_to_the_same_integers_and_zeroes_the_same(tmp_path: Path) -> None:
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
        codes = list(priced.codes().values())
        priced.zero_least(0.01)
        codes += priced.codes().values()
        assert sum(np.count_nonzero(code.integers) for code in priced.codes().values()) > 0
        return b"".join(code.integers.tobytes() + code.scales.tobytes() for code in codes)

    path = tmp_path / "training"
    with pytest.raises(Stop):
        trained(path, stop_after=33)
    whole = trained(None)
    assert trained(path) == whole
    assert trained(path) == whole  # nothing is left to train: only what was remembered says what goes

"""fine-tune: what is zero or coded stays so, the rest learns, and nothing worse than before is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from blobs import blobs
from tiny_models import mlp

from edgepress_compression.artifact.codes import SharedWeights
from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.passes.learning.fine_tune import Options, run
from edgepress_compression.passes.state import PassState
from edgepress_compression.training.loop import top1
from edgepress_devices.profile import load_profile

torch.set_num_threads(1)


def state_of(seed: int = 0, **changes: Any) -> PassState:
    graph = mlp(np.random.default_rng(seed))
    return PassState(graph=graph, profile=load_profile("x86-pc"), dataset=blobs(1000), **changes)


def accuracy(state: PassState) -> float:
    assert state.dataset is not None
    test = state.dataset.split("test")
    return top1(Executor(state.graph), test, np.arange(len(test)), "y")


FAST = Options(steps=200, batch_size=32, learning_rate=1e-2, label_share=1.0, shift=0.0)


def test_it_learns_and_what_is_zero_stays_zero() -> None:
    state = state_of()
    weight = state.graph.weights["w1"].copy()
    weight[:, ::2] = 0
    state.graph.set_weight("w1", weight)
    before = accuracy(state)
    run(state, FAST)
    assert accuracy(state) > before + 0.2
    assert not state.graph.weights["w1"][:, ::2].any()
    assert not np.array_equal(state.graph.weights["w1"], weight)


def test_zeros_may_come_back_where_the_recipe_lets_them() -> None:
    state = state_of()
    weight = state.graph.weights["w1"].copy()
    weight[:, ::2] = 0
    state.graph.set_weight("w1", weight)
    run(state, Options(steps=20, batch_size=32, learning_rate=1e-2, label_share=1.0, keep_zeros=False))
    assert state.graph.weights["w1"][:, ::2].any()


def test_a_coded_tensor_stays_as_it_was_coded_and_the_rest_is_trained() -> None:
    state = state_of()
    codebook = np.array([-0.5, 0.0, 0.5], np.float32)
    indices = np.random.default_rng(1).integers(0, 3, (32, 16)).astype(np.int32)
    code = SharedWeights(indices, codebook)
    state.graph.set_weight("w1", code.weights())
    state.codes["w1"] = code
    before = state.graph.weights["w2"].copy()
    run(state, FAST)
    np.testing.assert_array_equal(state.graph.weights["w1"], code.weights())
    assert state.codes == {"w1": code}
    assert not np.array_equal(state.graph.weights["w2"], before)


def test_what_lost_accuracy_is_taken_back_and_said() -> None:
    state = state_of()
    run(state, FAST)
    good = {name: array.copy() for name, array in state.graph.weights.items()}
    run(state, Options(steps=30, batch_size=8, learning_rate=30.0, label_share=1.0))
    for name, array in state.graph.weights.items():
        np.testing.assert_array_equal(array, good[name])
    assert any("weights from before are kept" in sentence for sentence in state.warnings)


def test_without_data_it_says_what_to_give() -> None:
    state = PassState(graph=mlp(np.random.default_rng(0)), profile=load_profile("x86-pc"))
    with pytest.raises(RecipeError, match="give a data set"):
        run(state, Options())

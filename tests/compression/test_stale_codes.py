"""Passes that move weights forget the codes of what they moved, so that the artifact can be written."""

from __future__ import annotations

import numpy as np
import pytest
from blobs import blobs, state
from tiny_models import cnn, mlp

from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.data.dataset import Dataset, dataset_from_arrays
from edgepress_compression.passes.learning import pretrain
from edgepress_compression.passes.pruning import prune
from edgepress_compression.passes.state import PassState


def code(work: PassState, *names: str) -> None:
    for name in names:
        step = np.array([0.05], np.float32)
        work.codes[name] = ScaledIntegers(np.rint(work.graph.weights[name] / step).astype(np.int32), step)
        work.graph.set_weight(name, work.codes[name].weights())


@pytest.mark.parametrize("data", [None, blobs(1000)])
def test_pruned_weights_lose_their_codes(data: Dataset | None) -> None:
    work = state(mlp(np.random.default_rng(0)), data)
    code(work, "w1", "b1", "w2")
    before = dict(work.graph.weights)
    prune.run(work, prune.Options(steps=20, batch_size=32, blind_sparsity=0.3, most_lost_points=100.0))
    assert (work.graph.weights["w1"] != before["w1"]).any()
    assert set(work.codes) == ({"b1"} if data is None else set())  # without data biases stay
    assert work.artifact_bytes(work) > 0


def test_pre_trained_weights_lose_their_codes_and_others_keep_them() -> None:
    rng = np.random.default_rng(0)
    pictures = rng.standard_normal((160, 1, 8, 8)).astype(np.float32)
    work = state(
        cnn(np.random.default_rng(0)),
        dataset_from_arrays("noise", {"x": pictures, "labels": np.arange(160) % 3}),
    )
    code(work, "conv.weight", "fc.weight")
    before = dict(work.graph.weights)
    pretrain.run(work, pretrain.Options(steps=3, batch_size=16))
    assert (work.graph.weights["conv.weight"] != before["conv.weight"]).any()
    assert set(work.codes) == {"fc.weight"}  # the classifier is not touched
    assert work.artifact_bytes(work) > 0

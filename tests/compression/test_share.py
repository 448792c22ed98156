"""Weight sharing: few values a tensor, indices that give them back bit for bit, trained centroids."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from blobs import blobs, state
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.cluster import KMeans
from tiny_models import cnn, mlp, normal

from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.sharing import kmeans, share
from edgepress_compression.passes.state import PassState
from edgepress_compression.training.loop import top1

torch.set_num_threads(1)
DATA = blobs(3000)


def assert_codes_are_true(work: PassState) -> None:
    assert work.codes
    for name, code in work.codes.items():
        np.testing.assert_array_equal(code.codebook[code.indices], work.graph.weights[name])
        assert code.indices.dtype == np.int32
        assert code.codebook.dtype == np.float32
        assert code.indices.shape == work.graph.weights[name].shape


def sparse_mlp() -> Graph:
    graph = mlp(np.random.default_rng(0), hidden=64)
    w1 = graph.weights["w1"]
    graph.set_weight("w1", np.where(np.abs(w1) < 0.2, np.float32(0), w1))
    return graph


def test_without_data_every_large_weight_gets_its_nearest_of_few_values() -> None:
    work = state(sparse_mlp(), None)
    before = work.graph.copy()
    share.run(work, share.Options(blind_bits=5))
    assert_codes_are_true(work)
    code = work.codes["w1"]
    assert np.count_nonzero(code.codebook) <= 32
    np.testing.assert_array_equal(work.graph.weights["w1"] == 0, before.weights["w1"] == 0)
    assert np.abs(work.graph.weights["w1"] - before.weights["w1"]).max() < 0.1
    (stage,) = work.stages
    assert stage.bits is not None
    assert 2 < stage.bits < 5
    assert "b2" not in work.codes  # four numbers: a codebook would be larger
    np.testing.assert_array_equal(
        work.graph.weights["b2"], before.weights["b2"].astype(np.float16).astype(np.float32)
    )


def test_training_moves_shared_values_and_keeps_indices_and_zeros() -> None:
    untrained = state(sparse_mlp(), DATA)
    share.run(untrained, share.Options(bits=3, steps=1, learning_rate=1e-9))
    work = state(sparse_mlp(), DATA)
    share.run(work, share.Options(bits=3, steps=100, learning_rate=3e-3))
    assert_codes_are_true(work)
    np.testing.assert_array_equal(work.codes["w1"].indices, untrained.codes["w1"].indices)
    assert not np.array_equal(work.codes["w1"].codebook, untrained.codes["w1"].codebook)
    np.testing.assert_array_equal(work.graph.weights["w1"] == 0, untrained.graph.weights["w1"] == 0)
    one, other = work.stages[0].accuracy, untrained.stages[0].accuracy
    assert one is not None
    assert other is not None
    assert one > other + 0.1


def test_the_gradient_of_a_value_is_the_sum_over_its_weights() -> None:
    graph = sparse_mlp()
    codes = {"w1": kmeans.share(graph.weights["w1"], 4)}
    graph.set_weight("w1", codes["w1"].codebook[codes["w1"].indices])
    executor = Executor(graph)
    codebooks = share.Codebooks(executor, codes)
    x = {"x": torch.from_numpy(normal(np.random.default_rng(2), 10, 16))}
    executor(x)["y"].square().mean().backward()
    codebooks.collect()
    table = codebooks.parameters()[0]
    indices = torch.from_numpy(codes["w1"].indices.astype(np.int64))
    values = torch.from_numpy(codes["w1"].codebook.copy()).requires_grad_()
    executor.weights["w1"].data = torch.empty(
        0
    )  # whatever the executor holds: autograd through the lookup decides
    hidden = torch.relu(x["x"] @ values[indices].T + executor.weights["b1"])
    (hidden @ executor.weights["w2"].T + executor.weights["b2"]).square().mean().backward()
    assert table.grad is not None
    assert values.grad is not None
    expected = torch.where(values.detach() != 0, values.grad, torch.zeros(()))
    torch.testing.assert_close(table.grad, expected, rtol=1e-4, atol=1e-6)


def test_statistics_of_operators_are_not_shared() -> None:
    work = state(cnn(np.random.default_rng(0)), None)
    share.run(work, share.Options(blind_bits=1, elements_per_value=1))
    assert "var" not in work.codes
    assert "conv.weight" in work.codes


def test_kmeans_is_as_good_as_scikit_learns_from_the_same_start() -> None:
    values = np.random.default_rng(0).standard_normal(2000)
    ours = kmeans.kmeans(values, 8)
    start = np.linspace(values.min(), values.max(), 8).reshape(-1, 1)
    theirs = KMeans(8, init=start, n_init=1, max_iter=300, tol=0).fit(values.reshape(-1, 1))

    def inertia(centroids: np.ndarray) -> float:
        return float(np.min((values[:, None] - centroids) ** 2, axis=1).sum())

    assert inertia(ours) == pytest.approx(theirs.inertia_, rel=0.02)


FLOATS = st.floats(-1e4, 1e4, width=32)


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, max_side=12), elements=FLOATS),
    st.integers(1, 40),
)
def test_sharing_any_tensor_keeps_shape_zeros_and_the_number_of_values(array: np.ndarray, count: int) -> None:
    code = kmeans.share(array, count)
    decoded = code.codebook[code.indices]
    assert decoded.shape == array.shape
    assert not decoded[array == 0].any()
    assert np.count_nonzero(code.codebook) <= count
    assert len(np.unique(code.indices)) == len(code.codebook)
    assert np.isfinite(decoded).all()


def test_where_few_values_lose_too_much_weights_are_rounded_more_finely() -> None:
    graph = sparse_mlp()
    learn = state(graph, DATA)
    share.run(learn, share.Options(bits=8, elements_per_value=1, steps=150, learning_rate=1e-2))
    good = learn.graph
    work = state(good.copy(), DATA)
    share.run(work, share.Options(bits=1, steps=1, learning_rate=1e-9))
    assert_codes_are_true(work)
    assert any("rounded more finely" in warning for warning in work.warnings)
    split = DATA.split("test")
    before, after = (top1(Executor(g), split, np.arange(len(split)), "y") for g in (good, work.graph))
    assert after > before - 0.02

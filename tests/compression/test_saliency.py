"""What weights are worth, against brute force: autograd's Hessian, refitted least squares."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from blobs import blobs
from onnx import helper
from tiny_models import cnn, mlp, model, normal

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.layer_distillation.paired_inputs import PairedMoments, paired_inputs
from edgepress_compression.passes.pruning.layer_update import prune_layer
from edgepress_compression.passes.pruning.saliency import KINDS, scores
from edgepress_compression.passes.pruning.saliency.magnitude import lamp
from edgepress_compression.passes.pruning.saliency.obd import root_of_loss_hessian
from edgepress_compression.passes.pruning.saliency.obs import quadratic, remove_one_by_one, without
from edgepress_compression.training.losses import Loss, loss_for

torch.set_num_threads(1)
SPLIT = blobs(200).split("train")
ROWS = np.arange(12)


def small() -> tuple[Executor, Loss]:
    graph = mlp(np.random.default_rng(3), hidden=5)
    return Executor(graph), loss_for(graph, "classification", label_share=1.0)


def mean_loss(executor: Executor, loss: Loss, rows: np.ndarray = ROWS) -> torch.Tensor:
    outputs = executor({"x": torch.from_numpy(SPLIT.fetch(rows)["x"])})
    return loss(outputs, torch.from_numpy(SPLIT.labels[rows]), {})


def linear(weights: np.ndarray) -> Graph:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)
    proto = model([node], {"w": weights}, input_shape=["N", 16], output_shape=["N", len(weights)])
    return load_model(proto.SerializeToString())


def exact_diagonal(executor: Executor, loss: Loss, name: str) -> torch.Tensor:
    weight = executor.weights[name]
    (gradient,) = torch.autograd.grad(mean_loss(executor, loss), weight, create_graph=True)
    second = [
        torch.autograd.grad(one, weight, retain_graph=True)[0].reshape(-1)[place]
        for place, one in enumerate(gradient.reshape(-1))
    ]
    return torch.stack(second).reshape(weight.shape)


@pytest.mark.parametrize("name", ["w1", "w2"])
def test_obd_is_half_the_diagonal_of_the_hessian_times_the_squared_weight(name: str) -> None:
    executor, loss = small()
    found = scores("obd", executor, SPLIT, np.tile(ROWS, 150), loss, [name], seed=0)[name]
    exact = executor.weights[name].detach() ** 2 * exact_diagonal(executor, loss, name) / 2
    assert float((found - exact).abs().mean() / exact.abs().mean()) < 0.05


def test_the_root_of_the_losss_hessian_is_its_root() -> None:
    logits = torch.randn(1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    each = torch.eye(6, dtype=torch.float64)
    rows = root_of_loss_hessian(logits.expand(6, 6), each)  # S e_c, row by row: S^T
    p = logits.softmax(dim=1)[0]
    torch.testing.assert_close(rows.T @ rows, torch.diag(p) - torch.outer(p, p))


def test_fisher_is_the_mean_of_single_samples_and_taylor_that_of_batches() -> None:
    executor, loss = small()
    weight = executor.weights["w1"]
    single = [
        torch.autograd.grad(mean_loss(executor, loss, ROWS[i : i + 1]), weight)[0] ** 2 for i in range(12)
    ]
    by_fisher = scores("fisher", executor, SPLIT, ROWS, loss, ["w1"], seed=0)["w1"]
    torch.testing.assert_close(by_fisher, weight.detach() ** 2 * torch.stack(single).mean(0) / 2)
    whole = torch.autograd.grad(mean_loss(executor, loss), weight)[0]
    by_taylor = scores("taylor", executor, SPLIT, ROWS, loss, ["w1"], seed=0, batch_size=12)["w1"]
    torch.testing.assert_close(by_taylor, (weight.detach() * whole) ** 2)


@pytest.mark.parametrize("kind", KINDS)
def test_every_measure_is_a_number_a_weight_and_changes_nothing(kind: str) -> None:
    graph = cnn(np.random.default_rng(0))
    executor = Executor(graph)
    before = {name: weight.detach().clone() for name, weight in executor.weights.items()}
    rng = np.random.default_rng(1)
    pictures = normal(rng, 9, 1, 8, 8)

    class Samples:
        labels = rng.integers(0, 3, 9)
        fetch = staticmethod(lambda rows: {"x": pictures[rows]})

        def __len__(self) -> int:
            return 9

    names = ["conv.weight", "fc.weight"]
    loss = loss_for(graph, "classification", label_share=1.0)
    first, again = (
        scores(kind, executor, Samples(), np.arange(9), loss, names, seed=2, batch_size=3)  # type: ignore[arg-type]
        for _ in range(2)
    )
    for name in names:
        assert first[name].shape == executor.weights[name].shape
        assert bool((first[name] >= 0).all())
        assert bool((first[name] > 0).any())
        torch.testing.assert_close(first[name], again[name], rtol=0, atol=0)
    executor.train()  # as in a training that asks on its way
    on_the_way = scores(kind, executor, Samples(), np.arange(9), loss, names, seed=2, batch_size=3)  # type: ignore[arg-type]
    assert executor.training
    assert not executor.resume_state()["statistics"]
    for name in names:
        torch.testing.assert_close(on_the_way[name], first[name], rtol=0, atol=0)
    for name, weight in executor.weights.items():
        assert weight.grad is None
        torch.testing.assert_close(weight.detach(), before[name], rtol=0, atol=0)


def test_what_a_layer_is_given_is_seen_as_deployed() -> None:
    executor = Executor(cnn(np.random.default_rng(0)))
    original = Executor(cnn(np.random.default_rng(0)))
    pictures = normal(np.random.default_rng(1), 9, 1, 8, 8)

    def look() -> PairedMoments:
        rows, wanted = np.arange(9), ["fc.weight"]
        found = paired_inputs(
            original, executor, lambda rows: {"x": pictures[rows]}, rows, wanted, batch_size=3, seed=0
        )
        return found["fc.weight"]

    deployed = look().own
    executor.train()
    torch.testing.assert_close(look().own, deployed, rtol=0, atol=0)
    assert executor.training
    assert not executor.resume_state()["statistics"]


def test_obs_says_what_removing_a_weight_costs_when_the_others_are_refitted() -> None:
    """Least squares: the exact optimum without a weight, by brute force for every weight."""
    rng = np.random.default_rng(7)
    mixed = rng.standard_normal((16, 16))
    x = rng.standard_normal((60, 16)) @ mixed
    weights = rng.standard_normal(16)
    hessian = x.T @ x / len(x)
    inverse = np.linalg.inv(hessian)
    costs, moved = [], []
    for q in range(16):
        rest = np.arange(16) != q
        fitted = np.zeros(16)
        fitted[rest] = np.linalg.lstsq(x[:, rest], x @ weights, rcond=None)[0]
        moved.append(fitted)
        costs.append(0.5 * np.mean((x @ (fitted - weights)) ** 2))
    np.testing.assert_allclose(weights**2 / (2 * np.diagonal(inverse)), costs, rtol=1e-6)
    one = np.ones(16, bool)
    after, kept = remove_one_by_one(weights, inverse, one, np.array([1]), np.zeros(16, np.int64))
    best = int(np.argmin(costs))
    assert best != int(np.argmin(np.abs(weights)))  # magnitude would take another
    assert np.flatnonzero(~kept).tolist() == [best]
    np.testing.assert_allclose(after, moved[best], atol=1e-9)


def test_after_many_removals_the_rest_is_still_the_least_squares_of_what_is_kept() -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal((90, 20)) @ rng.standard_normal((20, 20))
    weights = rng.standard_normal(20)
    inverse = np.linalg.inv(x.T @ x / len(x))
    part_of = np.repeat([0, 1], 10)
    removable = np.ones(20, bool)
    removable[3] = False
    after, kept = remove_one_by_one(weights, inverse, removable, np.array([8, 3]), part_of)
    assert [int((~kept[part_of == part]).sum()) for part in (0, 1)] == [8, 3]
    assert kept[3]
    fitted = np.linalg.lstsq(x[:, kept], x @ weights, rcond=None)[0]
    np.testing.assert_allclose(after[kept], fitted, atol=1e-7)
    assert not after[~kept].any()


def test_an_inverse_without_some_rows_is_the_inverse_without_them() -> None:
    rng = np.random.default_rng(6)
    matrix = rng.standard_normal((9, 9))
    matrix = matrix @ matrix.T + np.eye(9)
    rest = np.delete(np.arange(9), [2, 7])
    found = without(np.linalg.inv(matrix), np.array([2, 7]))
    np.testing.assert_allclose(found, np.linalg.inv(matrix[np.ix_(rest, rest)]), atol=1e-10)


def test_the_hessian_of_least_squares_is_the_second_moment_of_its_inputs() -> None:
    graph = linear(normal(np.random.default_rng(0), 2, 16))
    executor = Executor(graph)
    found = quadratic(executor, SPLIT, np.arange(40), loss_for(graph, "other", label_share=0.0))
    x = SPLIT.fetch(np.arange(40))["x"].astype(np.float64)
    exact = np.kron(np.eye(2), x.T @ x / 40)
    exact += 1e-3 * np.diagonal(exact).mean() * np.eye(32)
    np.testing.assert_allclose(np.linalg.inv(found.inverse), exact, rtol=1e-3, atol=1e-4)
    assert not found.gradient.any()


def test_the_gradient_leads_back_to_the_original() -> None:
    """One Gauss-Newton step of a linear model is the whole way."""
    rng = np.random.default_rng(0)
    original, moved = linear(normal(rng, 2, 16)), linear(normal(rng, 2, 16))
    executor = Executor(moved)
    loss = loss_for(moved, "other", label_share=0.0)
    found = quadratic(executor, SPLIT, np.arange(100), loss, original=Executor(original))
    flat = executor.weights["w"].detach().numpy().reshape(-1) - found.inverse @ found.gradient
    assert np.abs(flat.reshape(2, 16) - original.weights["w"]).max() < 0.05


def test_obs_refuses_a_model_that_is_too_large_and_says_what_to_take() -> None:
    graph = mlp(np.random.default_rng(0), hidden=300)
    loss = loss_for(graph, "classification", label_share=1.0)
    with pytest.raises(RecipeError, match=r'at most 3,500; this one has 6,304\. Use saliency = "layer-obs"'):
        scores("obs", Executor(graph), SPLIT, ROWS, loss, ["w1"], seed=0)


def moments_of(x: np.ndarray, t: np.ndarray, *, bias: str | None, rows_first: bool = True) -> PairedMoments:
    own, other = torch.from_numpy(x).T[None], torch.from_numpy(t).T[None]  # (1, inputs, samples)
    return PairedMoments(
        own @ own.transpose(1, 2),
        other @ own.transpose(1, 2),
        own.sum(2),
        other.sum(2),
        len(x),
        rows_first,
        bias,
    )


@pytest.mark.parametrize("rows_first", [True, False])
@pytest.mark.parametrize("bias", [None, "b"])
def test_the_rest_of_a_layer_is_the_least_squares_of_the_originals_outputs(
    bias: str | None, rows_first: bool
) -> None:
    rng = np.random.default_rng(7)
    t = rng.standard_normal((4000, 8)) @ rng.standard_normal((8, 8)) + 1
    x = 0.7 * t + 1.5 * rng.standard_normal(t.shape) + 0.5  # the compressed model's inputs differ
    weight = rng.standard_normal((3, 8))
    given = torch.from_numpy(weight if rows_first else np.ascontiguousarray(weight.T))

    def worst_half(score: torch.Tensor, sparsity: float) -> torch.Tensor:
        order = torch.argsort(score.reshape(-1), stable=True)
        kept = torch.ones(score.numel(), dtype=torch.bool)
        kept[order[: int(sparsity * score.numel())]] = False
        return kept.reshape(score.shape)

    done = prune_layer(given, moments_of(x, t, bias=bias, rows_first=rows_first), worst_half, 0.5)
    kept = done.kept.numpy() if rows_first else done.kept.numpy().T
    found = done.weight.numpy() if rows_first else done.weight.numpy().T
    assert int((~kept).sum()) == 12
    assert not found[~kept].any()
    for row in range(3):
        columns = [x[:, kept[row]], np.ones((len(x), 1))] if bias else [x[:, kept[row]]]
        fitted = np.linalg.lstsq(np.concatenate(columns, 1), t @ weight[row], rcond=None)[0]
        exact = np.mean((t @ weight[row] - np.concatenate(columns, 1) @ fitted) ** 2)
        ours = np.mean((t @ weight[row] - x @ found[row] - float(done.bias_gain[row])) ** 2)
        assert ours <= 1.02 * exact + 1e-3  # damped a little


def test_the_first_weight_to_go_is_the_one_that_costs_least_by_brute_force() -> None:
    rng = np.random.default_rng(8)
    x = rng.standard_normal((500, 6)) @ rng.standard_normal((6, 6))
    weight = rng.standard_normal((1, 6))
    costs = []
    for q in range(6):
        rest = np.arange(6) != q
        fitted = np.linalg.lstsq(x[:, rest], x @ weight[0], rcond=None)[0]
        costs.append(np.mean((x @ weight[0] - x[:, rest] @ fitted) ** 2))
    seen: list[torch.Tensor] = []

    def one(score: torch.Tensor, sparsity: float) -> torch.Tensor:
        seen.append(score)
        return score > score.min()

    done = prune_layer(torch.from_numpy(weight), moments_of(x, x, bias=None), one, 1 / 6)
    assert torch.nonzero(~done.kept[0])[:, 0].tolist() == [int(np.argmin(costs))]


def test_grouped_convolutions_are_read_group_by_group() -> None:
    rng = np.random.default_rng(9)
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=2)
    proto = model(
        [node], {"w": normal(rng, 4, 2, 3, 3)}, input_shape=["N", 4, 8, 8], output_shape=["N", 4, 6, 6]
    )
    graph = load_model(proto.SerializeToString())
    executor = Executor(graph)
    pictures = normal(rng, 20, 4, 8, 8)
    moments = paired_inputs(
        executor, executor, lambda rows: {"x": pictures[rows]}, np.arange(20), ["w"], batch_size=5, seed=0
    )["w"]
    weight = executor.weights["w"].detach()
    done = prune_layer(weight, moments, lambda score, level: score > score.median(), 0.5)
    assert done.weight.shape == weight.shape
    plain = torch.where(done.kept, weight, 0.0)
    answers = executor({"x": torch.from_numpy(pictures)})["y"].detach()

    def error(candidate: torch.Tensor) -> float:
        with torch.no_grad():
            executor.weights["w"].copy_(candidate)
            return float((executor({"x": torch.from_numpy(pictures)})["y"] - answers).square().mean())

    assert error(done.weight) < error(plain)


def test_lamp_is_relative_to_the_larger_weights_of_the_tensor() -> None:
    torch.testing.assert_close(lamp(torch.tensor([3.0, -1.0, 2.0])), torch.tensor([9 / 9, 1 / 14, 4 / 13]))

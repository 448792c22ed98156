"""Refits after a cut never make held-out samples worse, and each layer sees what those before it give."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from test_width_cost import residual
from tiny_models import model, normal

from edgepress_compression.evaluate import open_session, run
from edgepress_compression.executor import Executor
from edgepress_compression.graph.channels import ChannelGroup, channel_groups, cut
from edgepress_compression.graph.load import load_model
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.pruning import paired_walk
from edgepress_compression.passes.pruning.channels_refit import is_held_out, refit, row_batches
from edgepress_compression.passes.pruning.channels_score import channel_spreads, gate_scores
from edgepress_compression.passes.pruning.least_squares import Moments, fit_layer
from edgepress_compression.training.losses import loss_for

torch.set_num_threads(1)


def chain(rng: np.random.Generator, *, layers: int, width: int, twins: bool = False) -> Graph:
    """Dense layers with a Relu between; with `twins` the second half of each repeats the first."""
    nodes, weights = [], dict[str, np.ndarray]()
    sizes = [8, *[width] * (layers - 1), 4]
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        source, last = f"r{number - 1}" if number else "x", number == layers - 1
        target = "y" if last else f"h{number}"
        nodes.append(helper.make_node("Gemm", [source, f"w{number}", f"b{number}"], [target], transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [target], [f"r{number}"]))
        w, b = normal(rng, outputs, inputs, scale=(2 / inputs) ** 0.5), normal(rng, outputs, scale=0.1)
        if twins and not last:
            w[outputs // 2 :], b[outputs // 2 :] = w[: outputs // 2], b[: outputs // 2]
        weights |= {f"w{number}": w, f"b{number}": b}
    proto = model(nodes, weights, input_shape=["N", 8], output_shape=["N", 4])
    return load_model(proto.SerializeToString())


def free(graph: Graph) -> list[ChannelGroup]:
    return [one for one in channel_groups(graph) if one.fixed is None]


def distance(before: Graph, after: Graph, x: np.ndarray) -> float:
    old, new = (run(open_session(one.serialize()), {"x": x})[0] for one in (before, after))
    return float(np.square(old - new).mean() / old.var())


def held_out(graph: Graph, count: int, batch_size: int) -> np.ndarray:
    batches = row_batches(graph, np.arange(count), batch_size)
    return np.concatenate([rows for n, rows in enumerate(batches) if is_held_out(n, len(batches))])


@pytest.mark.parametrize("name", ["chain", "residual"])
@pytest.mark.parametrize("count", [2, 5, 16, 40, 200])
def test_a_refit_never_makes_held_out_samples_worse(name: str, count: int) -> None:
    """However few the samples, and whatever was cut: a fit that is no better on them is not made."""
    rng = np.random.default_rng(count)
    graph = chain(rng, layers=6, width=24) if name == "chain" else residual(rng)
    shape = (8,) if name == "chain" else (3, 8, 8)
    x = normal(rng, count, *shape)
    groups = free(graph)
    kept = {group.name: rng.permutation(group.units) >= group.units // 4 for group in groups}
    after = cut(graph, kept)
    judged = x[held_out(graph, count, 16)]
    bare = distance(graph, after, judged)
    fitted = refit(
        graph, after, groups, kept, lambda rows: {"x": x[rows]}, np.arange(count), batch_size=16, seed=0
    )
    assert distance(graph, after, judged) <= bare * (1 + 1e-4)
    if count == 200:  # enough to gain something
        assert fitted > 1
        assert distance(graph, after, judged) < 0.8 * bare
        assert distance(graph, after, normal(rng, 100, *shape)) < 0.9 * bare


def test_one_sample_is_not_fitted_to() -> None:
    """There is nothing to hold out beside it."""
    rng = np.random.default_rng(0)
    graph = chain(rng, layers=3, width=16)
    groups = free(graph)
    kept = {groups[0].name: np.arange(16) > 3}
    after = cut(graph, kept)
    cut_alone = after.serialize()
    x = normal(rng, 1, 8)
    assert (
        refit(graph, after, groups, kept, lambda rows: {"x": x[rows]}, np.arange(1), batch_size=4, seed=0)
        == 0
    )
    assert after.serialize() == cut_alone


def test_many_layers_in_a_row_are_fitted_each_to_what_it_gets_now() -> None:
    """Half of the units repeat the others and go. Each reader can make up for that, and only once: fitted to
    what they got before the layers in front of them were, thirty layers multiply the same repair.
    """
    rng = np.random.default_rng(0)
    graph = chain(rng, layers=30, width=16, twins=True)
    groups = free(graph)
    kept = {group.name: np.arange(16) < 8 for group in groups}
    after = cut(graph, kept)
    x = normal(rng, 400, 8)
    bare = distance(graph, after, x)
    refit(graph, after, groups, kept, lambda rows: {"x": x[rows]}, np.arange(400), batch_size=32, seed=0)
    assert bare > 0.5
    assert distance(graph, after, x) < 0.01


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 30),
    st.integers(1, 40),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_no_output_of_a_layer_loses_on_held_out_samples(
    groups: int, outputs: int, inputs: int, samples: int, move_bias: bool, seed: int
) -> None:
    rng = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    truth, weights, bias = (
        drawn(groups, outputs, inputs),
        drawn(groups, outputs, inputs),
        drawn(groups, outputs),
    )

    def samples_of(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        x = drawn(groups, inputs, count) + 0.3
        return x, truth @ x + 2 * drawn(groups, outputs, count)

    fitted, judged = samples_of(samples), samples_of(20)
    fit = fit_layer(weights, bias, Moments.of(*fitted), Moments.of(*judged), move_bias=move_bias)

    def error(w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:  # from the samples, not from their moments
        return (judged[1] - w @ judged[0] - b.unsqueeze(2)).square().mean(2)

    torch.testing.assert_close(fit.before, error(weights, bias))
    torch.testing.assert_close(fit.after, error(fit.weights, fit.bias))
    assert (fit.after <= fit.before).all()
    if not move_bias:
        torch.testing.assert_close(fit.bias, bias)


def test_enough_samples_without_noise_give_the_weights_back() -> None:
    rng = torch.Generator().manual_seed(0)
    truth = torch.randn((1, 3, 10), generator=rng, dtype=torch.float64)
    x = torch.randn((2, 1, 10, 500), generator=rng, dtype=torch.float64) + 1
    moments = [Moments.of(one, truth @ one + 4.0) for one in x]
    nothing = torch.zeros_like(truth)
    fit = fit_layer(nothing, nothing[..., 0], moments[0], moments[1], move_bias=True)
    torch.testing.assert_close(fit.weights, truth, atol=0.02, rtol=0)
    torch.testing.assert_close(fit.bias, torch.full((1, 3), 4.0, dtype=torch.float64), atol=0.05, rtol=0)


def test_batches_that_do_not_fit_into_memory_join_where_pictures_are_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    graph = residual(rng)
    x = normal(rng, 40, 3, 8, 8)
    layers = ["w1", "dw", "w2", "fc"]
    batches = [np.arange(n, n + 4) for n in range(0, 40, 4)]
    seen: dict[str, np.ndarray] = {}

    def remember(call: object, names: object, values: list[torch.Tensor | None]) -> None:
        name = names[1] if len(names) > 1 else ""  # type: ignore[arg-type, index]
        if name in layers and values[0] is not None:
            seen[name] = values[0].detach().numpy().copy()

    monkeypatch.setattr(paired_walk, "_MOST_BYTES", 2 * 6 * 4 * 6 * 64 * 4)
    executor = Executor(graph)
    with torch.no_grad():
        walk = paired_walk.PairedWalk(executor, executor, lambda rows: {"x": x[rows]}, batches, layers)
        assert [walk.room[name] for name in layers] == [4, 4, 4, 10]
        for name in walk.layers:
            for number, before, after in walk.at(name):
                executor({"x": torch.from_numpy(x[batches[number]])}, watch=remember)
                for stop in (before, after):
                    got = stop.inputs()[0]
                    assert got is not None
                    np.testing.assert_array_equal(got.numpy(), seen[name])
        wanted = executor({"x": torch.from_numpy(x[batches[9]])})["y"]
        torch.testing.assert_close(walk.end(9)[0]["y"], wanted)


def two_channels(rng: np.random.Generator, scale: float) -> Graph:
    """x (N, 3, 6, 6) -> y (N, 2, 6, 6): scores, and what may be boxes, `scale` times as wide."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Conv", ["r", "w1"], ["y"]),
    ]
    weights = {"w0": normal(rng, 8, 3, 3, 3), "w1": normal(rng, 2, 8, 1, 1)}
    weights["w1"][1] *= scale
    proto = model(nodes, weights, input_shape=["N", 3, 6, 6], output_shape=["N", 2, 6, 6])
    return load_model(proto.SerializeToString())


def test_a_wide_channel_of_the_output_does_not_decide_alone_what_matters() -> None:
    x = normal(np.random.default_rng(1), 32, 3, 6, 6)

    def scores(scale: float) -> np.ndarray:
        graph = two_channels(np.random.default_rng(0), scale)
        loss = loss_for(graph, "other", label_share=0.0)
        groups = free(graph)
        found = gate_scores(
            Executor(graph), groups, lambda rows: {"x": x[rows]}, np.arange(32), loss, batch_size=4, seed=0
        )
        return found[groups[0].name]

    np.testing.assert_allclose(scores(8.0), scores(1.0), rtol=0.02)


def test_a_spread_is_that_of_a_channel_but_never_below_a_tenth_of_the_widest() -> None:
    rng = np.random.default_rng(0)
    graph = two_channels(rng, 3.0)
    x = normal(rng, 12, 3, 6, 6)
    executor = Executor(graph)
    spread = channel_spreads(executor, lambda rows: {"x": x[rows]}, np.arange(12), 5)["y"]
    y = executor.run({"x": x})["y"]
    np.testing.assert_allclose(spread.numpy()[0, :, 0, 0], y.std(axis=(0, 2, 3)), rtol=1e-4)
    narrow = two_channels(np.random.default_rng(0), 1e-3)
    least = channel_spreads(Executor(narrow), lambda rows: {"x": x[rows]}, np.arange(12), 5)["y"]
    assert float(least[0, 1]) == pytest.approx(0.1 * float(least[0, 0]))

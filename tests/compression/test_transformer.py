"""Attention blocks found, folded and grouped; sparse integers."""

import numpy as np
import pytest
import torch
from onnx import helper
from tiny_transformer import sentences, transformer

from edgepress_compression.errors import RecipeError
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.rewrite import grouped
from edgepress_compression.passes.rewrite.grouped import assign, group_projection
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.transformer import deep_compression, fold_attention
from edgepress_compression.passes.transformer.attention import attention_blocks, feed_forwards
from edgepress_compression.passes.transformer.folded_graph import Folding
from edgepress_compression.passes.transformer.masked_refit import masked_refit
from edgepress_compression.passes.transformer.shared_projection import all_projections, grouped_projection
from edgepress_compression.passes.transformer.sparse_integers import (
    Form,
    SparseIntegers,
    n_of_m_mask,
    row_scales,
)
from edgepress_devices.profile import load_profile

RNG = np.random.default_rng(3)
QUICK = {"steps": 6, "batch_size": 16, "local_steps": 4}


def answers(graph: Graph, feed: dict[str, np.ndarray]) -> np.ndarray:
    return run(open_session(graph.serialize()), feed)[0]


def feed(rows: int = 5) -> dict[str, np.ndarray]:
    return sentences(np.random.default_rng(9)).split("test").fetch(np.arange(rows))


@pytest.mark.parametrize("rows_of_mask", [False, True])
def test_blocks_are_found_with_their_parts(rows_of_mask: bool) -> None:
    graph = transformer(RNG, rows_of_mask=rows_of_mask)
    blocks = attention_blocks(graph)
    assert [block.query.weight for block in blocks] == ["b0.q.weight", "b1.q.weight"]
    block = blocks[1]
    assert (block.heads, block.head_size, block.scale) == (4, 4, 0.5)
    assert (block.input, block.key.bias, block.value.result) == ("b0.result", "b1.k.bias", "b1.v")
    assert (block.output.result, block.mask) == ("b1.out", "wide_mask" if rows_of_mask else "mask")
    assert [(p.up.weight, p.down.weight) for p in feed_forwards(graph)] == [
        ("b0.up.weight", "b0.down.weight"),
        ("b1.up.weight", "b1.down.weight"),
    ]


def test_a_softmax_that_ends_a_classifier_is_no_block() -> None:
    graph = transformer(RNG, blocks=1)
    graph.proto.graph.node.append(helper.make_node("Softmax", ["logits"], ["p"], axis=-1))
    graph.proto.graph.output[0].name = "p"
    graph.refresh()
    assert len(attention_blocks(graph)) == 1


@pytest.mark.parametrize("rows_of_mask", [False, True])
def test_a_folded_block_is_attention_among_the_parts_of_tokens(rows_of_mask: bool) -> None:
    """Against the paper's definition, computed with numpy."""
    graph = transformer(RNG, blocks=1, rows_of_mask=rows_of_mask)
    block = attention_blocks(graph)[0]
    parts, width = 2, 8
    rng = np.random.default_rng(4)
    weights = {
        name: rng.standard_normal((width, width) if name.endswith("weight") else width).astype(np.float32)
        for p in (block.query, block.key, block.value, block.output)
        for name in (p.weight, p.bias or "")
    }
    shown = graph.copy()
    Folding(shown, parts).attention(block, weights)
    for name in (block.input, block.output.result):
        shown.proto.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    given = feed()
    _, x, result = run(open_session(shown.serialize()), given)
    n, length, _ = x.shape
    tokens = x.reshape(n, length * parts, width)

    def heads(one: str) -> np.ndarray:  # (N, heads, L F, head size)
        projection = getattr(block, one)
        made = tokens @ weights[projection.weight] + weights[projection.bias]
        return made.reshape(n, length * parts, 2, 4).transpose(0, 2, 1, 3)

    scores = heads("query") @ heads("key").transpose(0, 1, 3, 2) * block.scale
    hidden = np.repeat(given["attention_mask"] == 0, parts, axis=1)
    scores = scores - 1e4 * hidden[:, None, None, :]
    shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    context = (shares @ heads("value")).transpose(0, 2, 1, 3).reshape(n, length * parts, width)
    wanted = context @ weights[block.output.weight] + weights[block.output.bias]
    np.testing.assert_allclose(result, wanted.reshape(x.shape), atol=1e-4)


def test_folding_keeps_a_quarter_of_the_projections() -> None:
    graph = transformer(RNG)
    before = graph.weight_bytes()
    blocks = attention_blocks(graph)
    projections = [p for b in blocks for p in (b.query, b.key, b.value, b.output)]
    weights = all_projections(graph, projections, {}, 2)
    folding = Folding(graph, 2)
    for block in blocks:
        folding.attention(block, weights)
    # four projections of 16 x 16 + 16 in two blocks become 8 x 8 + 8; scales and nothing else come anew
    assert before - graph.weight_bytes() == 4 * (8 * (16 * 16 + 16) - 8 * (8 * 8 + 8)) - 4
    assert not any(name.startswith("b0.q.") for name in graph.weights)


def test_shared_parts_come_back_exactly() -> None:
    """A projection that does the same to each part of a token already is found by the closed form."""
    graph = transformer(RNG, blocks=1)
    block = attention_blocks(graph)[0]
    part = RNG.standard_normal((8, 8)).astype(np.float32)
    graph.set_weight("b0.q.weight", np.kron(np.eye(2, dtype=np.float32), part))
    graph.set_weight("b0.q.bias", np.tile(graph.weights["b0.q.bias"][:8], 2))
    found = all_projections(graph, [block.query], {}, 2)
    np.testing.assert_allclose(found["b0.q.weight"], part, atol=2e-2)
    np.testing.assert_allclose(found["b0.q.bias"], graph.weights["b0.q.bias"][:8], atol=1e-5)


def test_a_grouped_layer_of_a_block_diagonal_matrix_gives_the_same() -> None:
    graph = transformer(RNG, blocks=1)
    block = attention_blocks(graph)[0]
    blocks = RNG.standard_normal((4, 4, 4)).astype(np.float32)
    matrix = np.zeros((16, 16), np.float32)
    for group in range(4):
        matrix[4 * group : 4 * group + 4, 4 * group : 4 * group + 4] = blocks[group]
    graph.set_weight("b0.v.weight", matrix)
    before = answers(graph, feed())
    group_projection(graph, block.value, grouped_projection(graph, block.value, None, 4), 4)
    np.testing.assert_allclose(answers(graph, feed()), before, atol=2e-2)
    (node,) = [n for n in graph.proto.graph.node if n.op_type == "Conv"]
    assert graph.weights[node.input[1]].shape == (16, 4, 1)


def test_units_go_where_they_are_explained_best_in_groups_of_equal_size() -> None:
    gains = np.array([[9.0, 0], [8, 0], [7, 6], [0, 1]])
    assert assign(gains).tolist() == [0, 0, 1, 1]
    with pytest.raises(RecipeError, match="cannot be divided"):
        assign(np.zeros((5, 2)))


@pytest.mark.parametrize("kept, of", [(2, 4), (1, 4), (4, 8)])
@pytest.mark.parametrize("axis", [0, 1])
def test_masks_keep_n_of_m_inputs_of_every_output(kept: int, of: int, axis: int) -> None:
    scores = torch.rand(24, 16)
    mask = n_of_m_mask(scores, kept, of, axis)
    by_output, by_score = (mask, scores) if axis == 0 else (mask.T, scores.T)
    groups = by_output.reshape(len(by_output), -1, of)
    assert (groups.sum(dim=2) == kept).all()
    values = by_score.reshape(len(by_output), -1, of)
    lowest_kept = values.masked_fill(~groups, 2.0).amin(dim=2)
    highest_cut = values.masked_fill(groups, -1.0).amax(dim=2)
    assert (lowest_kept >= highest_cut).all()


def test_what_survives_a_mask_makes_up_for_the_rest_as_least_squares_would() -> None:
    inputs = RNG.standard_normal((300, 12)) @ RNG.standard_normal((12, 12))
    rows = torch.from_numpy(RNG.standard_normal((5, 12)))
    mask = n_of_m_mask(rows.abs(), 2, 4, 0)
    found = masked_refit(rows, mask, torch.from_numpy(inputs.T @ inputs / 300)).numpy()
    assert not found[~mask.numpy()].any()
    for row, kept, made in zip(rows.numpy(), mask.numpy(), found, strict=True):
        best = np.linalg.lstsq(inputs[:, kept], inputs @ row, rcond=None)[0]
        least = np.square(inputs @ row - inputs[:, kept] @ best).sum()
        plain = np.square(inputs @ (row - row * kept)).sum()
        error = np.square(inputs @ (row - made)).sum()
        assert error - least < 0.1 * (plain - least)


@pytest.mark.parametrize("clip", ["sawb", "mse"])
def test_scales_lose_less_than_the_largest_weight_as_clip(clip: str) -> None:
    weight = torch.from_numpy(RNG.standard_normal((3, 2000)).astype(np.float32))
    scales = row_scales(weight, 4, 0, clip)  # type: ignore[arg-type]

    def error(step: torch.Tensor) -> torch.Tensor:
        rounded = (weight / step[:, None]).round().clamp(-7, 7) * step[:, None]
        return (rounded - weight).square().mean()

    assert error(scales) < 0.8 * error(weight.abs().amax(dim=1) / 7)


def test_trained_integers_keep_mask_and_range() -> None:
    graph = transformer(RNG, blocks=1)
    executor = Executor(graph)
    name = "b0.up.weight"
    weight = executor.weights[name].detach()
    mask = n_of_m_mask(weight.abs(), 2, 4, 1)
    constraint = SparseIntegers(executor, {name: Form(1, row_scales(weight * mask, 4, 1, "mse"), mask)}, 4)
    optimizer = torch.optim.Adam(constraint.parameters(), lr=0.1)
    start = constraint.codes()[name].integers
    for _ in range(3):
        executor.zero_grad()
        given = {key: torch.from_numpy(array) for key, array in feed().items()}
        executor(given)["logits"].square().sum().backward()
        constraint.collect()
        optimizer.step()
        constraint.apply()
    code = constraint.codes()[name]
    assert (code.integers != start).any()
    assert not code.integers[~mask.numpy()].any()
    assert np.abs(code.integers).max() <= 7
    np.testing.assert_array_equal(code.weights(), executor.weights[name].detach().numpy())


def state_of(graph: Graph) -> PassState:
    return PassState(graph=graph, profile=load_profile("x86-pc"), dataset=sentences(RNG), seed=0)


def test_folding_runs_from_start_to_end() -> None:
    state = state_of(transformer(RNG))
    fold_attention.run(state, fold_attention.Options(feed_forward=True, **QUICK))  # type: ignore[arg-type]
    assert [stage.name for stage in state.stages] == [
        "fold attention, 2 blocks in 2 parts",
        "fit 4 parts, 4 steps each",
        "train, 6 steps of 16",
    ]
    assert answers(state.graph, feed()).shape == (5, 2)
    assert "b0.q.weight" not in state.graph.weights
    assert "b1.up.weight" not in state.graph.weights


def test_only_the_last_layers_are_folded_when_asked() -> None:
    state = state_of(transformer(RNG))
    fold_attention.run(state, fold_attention.Options(layers=1, **QUICK))  # type: ignore[arg-type]
    assert "b0.q.weight" in state.graph.weights
    assert "b1.q.weight" not in state.graph.weights


def test_grouping_runs_from_start_to_end() -> None:
    state = state_of(transformer(RNG))
    grouped.run(state, grouped.Options(**QUICK))  # type: ignore[arg-type]
    assert sum(node.op_type == "Conv" for node in state.graph.proto.graph.node) == 2 * 5
    assert answers(state.graph, feed()).shape == (5, 2)


def test_deep_compression_leaves_sparse_integers_that_the_artifact_can_code() -> None:
    state = state_of(transformer(RNG, width=64, hidden=128, blocks=1))
    deep_compression.run(state, deep_compression.Options(**QUICK))  # type: ignore[arg-type]
    code = state.codes["b0.q.weight"]
    np.testing.assert_array_equal(state.graph.weights["b0.q.weight"], code.weights())
    zeros = (state.graph.weights["b0.q.weight"].T.reshape(64, -1, 4) == 0).sum(axis=2)
    assert (zeros >= 2).all()
    assert state.stages[-1].bits is not None and state.stages[-1].bits < 4


@pytest.mark.parametrize("run_pass", [fold_attention, grouped, deep_compression])
def test_without_data_to_train_on_they_refuse(run_pass: object) -> None:
    state = PassState(graph=transformer(RNG), profile=load_profile("x86-pc"))
    with pytest.raises(RecipeError, match="give a data set with a split named train"):
        run_pass.run(state, run_pass.Options())  # type: ignore[attr-defined]


def test_heads_that_the_parts_do_not_divide_stay_and_the_report_says_so() -> None:
    state = state_of(transformer(RNG, blocks=1))
    fold_attention.run(state, fold_attention.Options(parts=3))
    assert "no attention block" in state.warnings[0]

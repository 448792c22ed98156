"""Weightless: a layer is what its filter gives, the rest is trained around it, artifacts hold the filter."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
import torch
from blobs import blobs, state
from tiny_models import mlp

from edgepress_compression.artifact.read import decode, tensors
from edgepress_compression.artifact.write import write_artifact
from edgepress_compression.codec.bloomier import Bloomier
from edgepress_compression.codec.registry import SYMBOL_CODERS
from edgepress_compression.expect import make_probe
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes import bloomier
from edgepress_compression.passes.pruning import prune
from edgepress_compression.passes.sharing import share
from edgepress_compression.passes.sharing.kmeans import share as cluster
from edgepress_compression.passes.state import PassState
from edgepress_compression.recipe import check_recipe, load_recipe

torch.set_num_threads(1)
DATA = blobs(3000)
EASY = bloomier.Options(
    bits=2, prices=(2.0,), seeds=2, samples=40, steps=60, smaller_than="gaps", most_lost_points=30.0
)


def pruned_mlp(kept: float = 0.1) -> Graph:
    graph = mlp(np.random.default_rng(0), hidden=256)
    for name in ("w1", "w2"):
        array = graph.weights[name]
        cut = np.quantile(np.abs(array), 1 - kept)
        graph.set_weight(name, np.where(np.abs(array) < cut, np.float32(0), array))
    return graph


def weightless(options: bloomier.Options = EASY) -> PassState:
    work = state(pruned_mlp(), DATA)
    bloomier.run(work, options)
    return work


def test_the_layer_is_what_its_filter_decodes_to_with_false_positives_beside_all_kept_weights() -> None:
    before = pruned_mlp().weights["w1"]
    work = weightless()
    code = work.codes["w1"]
    out = np.empty(code.indices.size, np.uint8)
    Bloomier().decode(memoryview(code.ready["bloomier"]), len(code.codebook), code.indices.shape, out)
    np.testing.assert_array_equal(out, code.indices.reshape(-1))
    after = work.graph.weights["w1"]
    np.testing.assert_array_equal(code.codebook[code.indices], after)
    assert (after[before != 0] != 0).all()
    false = np.count_nonzero(after[before == 0])
    assert false > 0
    (stage,) = work.stages
    assert stage.note is not None
    assert f"{false / np.count_nonzero(before == 0):.2%}" in stage.note


def test_the_rest_is_trained_and_what_was_pruned_there_stays_pruned() -> None:
    before = pruned_mlp()
    work = weightless()
    assert not np.array_equal(work.graph.weights["b1"], before.weights["b1"])
    np.testing.assert_array_equal(work.graph.weights["w2"] == 0, before.weights["w2"] == 0)
    np.testing.assert_array_equal(
        work.codes["w1"].codebook == 0, cluster(before.weights["w1"], 4).codebook == 0
    )


@pytest.mark.parametrize("most_lost_points", [100.0, 1e-6])  # trained; given up for finer rounding
def test_sharing_afterwards_keeps_the_filter_and_the_artifact_holds_it(most_lost_points: float) -> None:
    work = weightless()
    ready = work.codes["w1"].ready["bloomier"]
    share.run(work, share.Options(bits=2, steps=30, most_lost_points=most_lost_points))
    assert work.codes["w1"].ready["bloomier"] == ready
    assert "w2" in work.codes
    model = work.graph.serialize()
    artifact = write_artifact(
        model,
        name="m",
        profile="p",
        recipe={},
        provenance={},
        metadata={},
        probe=make_probe(work.graph, sample=None, seed=0),
        codes=work.codes,
    )
    assert {entry.name: entry.coding for entry in tensors(artifact)}["w1"] == "bloomier"
    assert decode(artifact) == model


def test_a_filter_that_loses_too_much_is_not_taken() -> None:
    work = state(mlp(np.random.default_rng(0), hidden=256), DATA)
    prune.run(work, prune.Options(sparsity=0.9, steps=200, most_lost_points=50.0))
    before = work.graph.weights["w1"].copy()
    options = msgspec.structs.replace(
        EASY, prices=(0.01,), steps=1, learning_rate=1e-9, most_lost_points=0.01
    )
    bloomier.run(work, options)
    assert not work.codes
    np.testing.assert_array_equal(work.graph.weights["w1"], before)
    assert "lost too much" in (work.stages[-1].note or "")
    assert any("exact weights" in warning for warning in work.warnings)


def test_a_filter_no_smaller_than_lossless_coding_is_not_taken() -> None:
    options = bloomier.Options(bits=2, prices=(1000.0,), seeds=1, samples=40, steps=1)
    work = weightless(options)
    assert not work.codes
    assert work.stages[0].accuracy is None


def test_without_labels_or_pruning_nothing_changes_and_the_report_says_why() -> None:
    work = state(pruned_mlp(), None)
    bloomier.run(work, EASY)
    assert any("labelled" in warning for warning in work.warnings)
    dense = state(mlp(np.random.default_rng(0), hidden=256), DATA)
    bloomier.run(dense, EASY)
    assert any("prune" in warning for warning in dense.warnings)
    assert not work.codes
    assert not dense.codes


def test_the_best_of_several_seeds_does_no_more_harm_than_the_first() -> None:
    clean = cluster(pruned_mlp().weights["w1"], 4)
    harm = np.random.default_rng(3).exponential(1.0, clean.indices.shape)

    def done(filtered: bloomier.Filtered) -> float:
        wrong = filtered.code.indices != clean.indices
        return float((harm[wrong] * clean.codebook[filtered.code.indices[wrong]] ** 2).sum())

    first, best = (bloomier.best_filter(clean, harm, 1.0, seeds=seeds) for seeds in (1, 12))
    assert done(best) < done(first)


@pytest.mark.parametrize("among", ["all", "gaps"])
def test_what_a_filter_must_beat_is_really_coded(among: str) -> None:
    clean = cluster(pruned_mlp().weights["w1"], 4)
    flat = clean.indices.reshape(-1).astype(np.uint8)
    gaps = SYMBOL_CODERS["gaps"].encode(flat, len(clean.codebook), clean.indices.shape)
    assert gaps is not None
    smallest = bloomier.smallest_lossless(clean, among)  # type: ignore[arg-type]
    assert smallest == len(gaps) if among == "gaps" else smallest <= len(gaps)


def test_the_recipe_prunes_filters_and_shares() -> None:
    assert [name for name, _ in check_recipe(load_recipe("weightless"))] == ["prune", "bloomier", "share"]

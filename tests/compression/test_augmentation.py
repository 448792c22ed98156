"""Augmentation: what must stay a sample does, mixtures are those of the papers, and seeds repeat it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_models import cnn, mlp

from edgepress_compression.data.dataset import load_dataset
from edgepress_compression.data.typos import with_typos
from edgepress_compression.executor import Executor
from edgepress_compression.training.augment import Augment, augmented, cropped, flipped, mixed
from edgepress_compression.training.features import Seen, attention, feature_distance, matched_names

PICTURES = np.random.default_rng(0).standard_normal((40, 3, 12, 16)).astype(np.float32)
seeds = st.integers(0, 2**32 - 1)


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_a_flipped_picture_is_the_picture_or_its_mirror(seed: int) -> None:
    result = flipped(PICTURES, np.random.default_rng(seed))
    same = (result == PICTURES).all(axis=(1, 2, 3))
    mirrored = (result == PICTURES[..., ::-1]).all(axis=(1, 2, 3))
    assert (same | mirrored).all()


def test_about_half_are_flipped() -> None:
    many = np.random.default_rng(1).standard_normal((400, 1, 8, 8)).astype(np.float32)
    turned = (flipped(many, np.random.default_rng(2)) != many).any(axis=(1, 2, 3)).mean()
    assert 0.4 < turned < 0.6


@given(seeds, st.floats(0, 0.9))
@settings(max_examples=20, deadline=None)
def test_a_crop_shows_a_window_of_the_allowed_size(seed: int, most: float) -> None:
    height, width = 24, 32
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    where = np.broadcast_to(np.stack([rows, columns]).astype(np.float32), (5, 2, height, width))
    result = cropped(np.ascontiguousarray(where), most, np.random.default_rng(seed))
    assert result.shape == where.shape
    least = np.sqrt(1 - most)
    for picture in result:
        for axis, size in ((0, height), (1, width)):
            lines = picture[axis].mean(axis=1 - axis)  # which row (column) of the original stands here
            assert (np.diff(lines) >= 0).all()
            assert lines[-1] - lines[0] + 1 >= np.floor(least * size) - 1


def test_mixup_is_the_blend_that_its_share_says() -> None:
    inputs, mix = mixed({"x": PICTURES}, Augment(mixup=0.4), np.random.default_rng(3))
    assert mix is not None and 0 <= mix.share <= 1
    expected = mix.share * PICTURES + (1 - mix.share) * PICTURES[mix.partner]
    assert np.allclose(inputs["x"], expected, atol=1e-5)
    assert sorted(mix.partner) == list(range(40))


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_cutmix_says_the_share_of_pixels_that_stayed(seed: int) -> None:
    inputs, mix = mixed({"x": PICTURES}, Augment(cutmix=1.0), np.random.default_rng(seed))
    assert mix is not None
    moved = [i for i in range(40) if mix.partner[i] != i]
    for i in moved[:3]:
        stayed = (inputs["x"][i] == PICTURES[i]).all(axis=0).mean()
        assert stayed == pytest.approx(mix.share)


def test_tokens_and_rows_of_numbers_are_no_pictures() -> None:
    tokens, rows = np.arange(20).reshape(4, 5), np.ones((4, 7), np.float32)
    every = Augment(flip=True, shift=0.2, crop=0.5, mixup=1.0, cutmix=1.0)
    result = augmented({"ids": tokens, "x": rows}, every, np.random.default_rng(0))
    assert (result["ids"] == tokens).all() and (result["x"] == rows).all()
    assert mixed({"ids": tokens}, every, np.random.default_rng(0))[1] is None


def test_nothing_asked_for_is_nothing_done_and_a_seed_repeats() -> None:
    assert augmented({"x": PICTURES}, Augment(), np.random.default_rng(0))["x"] is PICTURES
    every = Augment(flip=True, shift=0.1, crop=0.3, noise=0.1)
    first, again, other = (
        augmented({"x": PICTURES}, every, np.random.default_rng(s))["x"] for s in (1, 1, 2)
    )
    assert (first == again).all() and (first != other).any()


@given(st.text(alphabet="abcdefghij klmnop.,!", max_size=60), seeds)
@settings(max_examples=50, deadline=None)
def test_typos_keep_the_number_of_words_and_their_punctuation(text: str, seed: int) -> None:
    result = with_typos(text, 1.0, np.random.default_rng(seed))
    assert len(result.split(" ")) == len(text.split(" "))
    for before, after in zip(text.split(" "), result.split(" "), strict=True):
        assert abs(len(before) - len(after)) <= 1
        assert before == after or (before.isalpha() and len(before) >= 3)
    assert with_typos(text, 0.0, np.random.default_rng(seed)) == text


def test_every_kind_of_slip_is_made() -> None:
    rng = np.random.default_rng(0)
    slips = {with_typos("keyboard", 1.0, rng) for _ in range(400)}
    assert {"ekyboard", "eyboard", "kkeyboard"} <= slips
    assert "keybiard" in {with_typos("keyboard", 1.0, rng) for _ in range(4000)}  # i is beside o


def test_features_of_the_same_weights_are_at_no_distance_and_others_are() -> None:
    graph = cnn(np.random.default_rng(0))
    names = matched_names(graph, graph)
    assert names == ["r"]
    other = cnn(np.random.default_rng(1))
    x = {"x": torch.from_numpy(np.random.default_rng(2).standard_normal((5, 1, 8, 8)).astype(np.float32))}

    def seen(model: object) -> dict[str, torch.Tensor]:
        collector = Seen(names)
        Executor(model)(x, watch=collector)  # type: ignore[arg-type]
        return collector.values

    assert float(feature_distance(seen(graph), seen(graph)).detach()) == 0
    far = feature_distance(seen(other), seen(graph))
    assert float(far.detach()) > 0.1 and far.requires_grad


def test_fewer_channels_are_compared_by_where_they_look() -> None:
    wide = torch.rand(3, 8, 5, 5)
    assert float(feature_distance({"a": wide[:, :4].repeat(1, 1, 1, 1)}, {"a": wide}).detach()) > 0
    doubled = wide.repeat(1, 2, 1, 1)  # the same attention with twice the channels
    assert float(feature_distance({"a": doubled}, {"a": wide})) == pytest.approx(0, abs=1e-9)
    assert torch.allclose(attention(wide).norm(dim=1), torch.ones(3))


def test_graphs_without_common_activations_have_nothing_to_match() -> None:
    assert matched_names(mlp(np.random.default_rng(0)), cnn(np.random.default_rng(0))) == ["r"]
    assert float(feature_distance({}, {})) == 0


def test_a_text_is_trained_on_with_slips_and_tested_without(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "film", "##m", *"abcdefghijklmnopqrstuvwxyz"]
    words += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    (tmp_path / "vocabulary.txt").write_text("\n".join(words))
    (tmp_path / "train.tsv").write_text("1\tgood film\n" * 50)
    (tmp_path / "texts.toml").write_text(
        'name = "texts"\n[source]\nkind = "text"\nvocabulary = "vocabulary.txt"\nmax_length = 16\n'
        'ids = "tokens"\n[splits.train]\npath = "train.tsv"\n'
    )
    split = load_dataset(tmp_path / "texts.toml").split("train")
    assert split.misspelled is not None
    rows = np.arange(50)
    plain = split.fetch(rows)["tokens"]
    assert (split.misspelled(rows, 0.0, np.random.default_rng(0))["tokens"] == plain).all()
    typed = split.misspelled(rows, 1.0, np.random.default_rng(0))["tokens"]
    assert typed.shape == plain.shape
    assert (typed != plain).any(axis=1).mean() > 0.9

"""Shifted pictures move whole, each by its own amount, and nothing else moves at all."""

from __future__ import annotations

import numpy as np

from edgepress_compression.training.shift import shifted


def test_pictures_move_by_at_most_the_fraction_and_repeat_their_border() -> None:
    picture = np.arange(10 * 12, dtype=np.float32).reshape(1, 1, 10, 12)
    batch = np.repeat(picture, 200, axis=0)
    moved = shifted(batch, 0.1, np.random.default_rng(0))
    assert moved.shape == batch.shape
    padded = np.pad(picture[0, 0], 1, mode="edge")
    choices = {padded[i : i + 10, j : j + 12].tobytes() for i in range(3) for j in range(3)}
    seen = {one[0].tobytes() for one in moved}
    assert seen == choices


def test_what_is_no_picture_stays() -> None:
    rng = np.random.default_rng(0)
    for array in (
        np.ones((3, 20), np.float32),
        np.ones((3, 1, 4, 40), np.float32),
        np.ones((2, 1, 9, 9), np.int64),
    ):
        assert shifted(array, 0.2, rng) is array

"""Bits of integers by their neighbours: the total falls as the slopes say, structure is cheap."""

from __future__ import annotations

import math

import numpy as np
import torch

from edgepress_compression.codec.context import Context
from edgepress_compression.passes.entropy.density import slopes

torch.set_num_threads(1)


def sparse(rows: int, columns: int, share: float, seed: int = 0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    kept = rng.random((rows, columns)) < share
    return torch.from_numpy((kept * rng.choice([-1, 1], (rows, columns))).astype(np.float32))


def test_bits_of_unstructured_zeros_are_their_entropy() -> None:
    for share in (0.05, 0.2, 0.4):
        integers = sparse(200, 300, share)
        p = float((integers != 0).float().mean())
        entropy = -p * math.log2(p) - (1 - p) * math.log2(1 - p) + p
        assert abs(slopes(integers).bits / integers.numel() - entropy) < 0.03 * entropy + 0.002


def test_bits_are_about_those_of_the_coder() -> None:
    structured = sparse(200, 300, 0.3)
    structured[:, ::3] = 0
    structured[::2] = 0
    for integers in (sparse(200, 300, 0.05), structured):
        symbols = (integers + 1).to(torch.uint8).numpy().reshape(-1)
        coded = 8 * len(Context().encode(symbols, 3, (200, 300)))
        assert 0.8 < slopes(integers).bits / coded < 1.2


def test_a_nonzero_alone_is_dearer_than_one_among_many() -> None:
    integers = torch.zeros(50, 60)
    integers[10] = sparse(1, 60, 0.5)[0]
    integers[:, 20] = sparse(1, 50, 0.5, seed=1)[0]
    first = slopes(integers).first
    alone, in_row, in_both = first[30, 40], first[10, 40], first[10, 20]
    assert alone > in_row + 2
    assert in_row > in_both
    assert alone > 6


def test_the_gradient_pulls_to_zero_with_the_bits_that_a_step_saves() -> None:
    integers = 3 * sparse(40, 40, 0.2) + sparse(40, 40, 0.2, seed=1)
    table = slopes(integers)
    latents = torch.tensor([[0.4, -0.9], [1.2, -2.7]]).repeat(20, 20)
    gradient = table.gradient(latents)
    assert float(gradient[0, 0]) == float(table.first[0, 0])
    assert float(gradient[0, 1]) == -float(table.first[0, 1])
    assert float(gradient[1, 0]) == float(table.further[0])
    assert float(gradient[1, 1]) == -float(table.further[1])
    assert (table.first >= 0).all()
    assert (table.further >= 0).all()


def test_a_matrix_of_zeros_costs_next_to_nothing() -> None:
    assert slopes(torch.zeros(500, 800)).bits < 8 * 12
    assert slopes(torch.zeros(1, 10)).bits < 24

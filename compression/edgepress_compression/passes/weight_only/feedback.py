"""Rounding onto given grids, the error of each input made up for by those not yet rounded.

GPTQ (Frantar et al. 2023, equations 2 and 3, algorithm 1): the inputs of a layer are taken one at a time, and
with the inverse second moments of the layer's inputs (passes/layer_matrix.py) each error is spread over the
rest of its row. With blocks the grid of a block is fitted when its first input comes, to the weights as they
have become by then (section 4, "grouping").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress_compression.passes.layer_matrix import LayerMatrix
from edgepress_compression.passes.weight_only.affine import Grid, fit_grid

_CHUNK = 64  # columns whose errors are spread together over those after them; a power of 2, as blocks are


@dataclass(frozen=True)
class BlockIntegers:
    """Of a layer: weights are scales * integers, a scale for each output and block of inputs."""

    integers: np.ndarray  # (groups, outputs, inputs) int32 in the matrix' own order
    scales: np.ndarray  # (groups, outputs, blocks) float64
    lows: np.ndarray  # (groups, outputs, blocks) int64

    def values(self, block: int) -> np.ndarray:
        """(groups, outputs, inputs) float64"""
        inputs = self.integers.shape[2]
        repeated: np.ndarray = np.repeat(self.scales, block, axis=2)[:, :, :inputs]
        return np.asarray(self.integers * repeated, np.float64)


def round_in_blocks(
    matrix: LayerMatrix, bits: int, block: int | None, *, symmetric: bool, clip: bool = True
) -> BlockIntegers:
    """`block` inputs share a scale, and the matrix must be in natural order; None: all of an output's.

    Weights that are 0 stay 0. Without moments of inputs each weight is rounded for itself.
    """
    groups, outputs, inputs = matrix.rows.shape
    width = inputs if block is None else block
    if block is not None and not (matrix.order == np.arange(inputs)).all():
        raise ValueError("blocks need the inputs in their natural order")
    work = np.take_along_axis(matrix.rows, matrix.order[:, None, :], axis=2).copy()
    pruned = work == 0
    count = -(-inputs // width)
    scales = np.empty((groups, outputs, count))
    lows = np.empty((groups, outputs, count), np.int64)
    whole = np.empty((groups, outputs, inputs), np.int32)
    chunk = _CHUNK if block is None else min(block, _CHUNK)  # a block starts where all errors are spread
    for start in range(0, inputs, chunk):
        stop = min(start + chunk, inputs)
        errors = np.empty((groups, outputs, stop - start))
        for i in range(start, stop):
            number = i // width
            if i % width == 0:
                rows = work[:, :, i : i + width].reshape(groups * outputs, -1)
                grid = fit_grid(rows, bits, symmetric=symmetric, clip=clip)
                scales[:, :, number] = grid.scales.reshape(groups, outputs)
                lows[:, :, number] = grid.lows.reshape(groups, outputs)
            grid = Grid(scales[:, :, number].reshape(-1), lows[:, :, number].reshape(-1), bits)
            now = work[:, :, i]
            chosen = grid.nearest(now.reshape(-1, 1)).reshape(groups, outputs)
            chosen = np.where(pruned[:, :, i], 0.0, chosen)
            whole[:, :, i] = chosen
            if matrix.factor is None:
                continue
            errors[:, :, i - start] = (now - chosen * scales[:, :, number]) / matrix.factor[:, i, i][:, None]
            if i + 1 < stop:
                work[:, :, i + 1 : stop] -= (
                    errors[:, :, i - start, None] * matrix.factor[:, None, i, i + 1 : stop]
                )
        if matrix.factor is not None and stop < inputs:
            work[:, :, stop:] -= errors @ matrix.factor[:, start:stop, stop:]
    integers = np.empty_like(whole)
    np.put_along_axis(integers, np.broadcast_to(matrix.order[:, None, :], whole.shape), whole, axis=2)
    return BlockIntegers(integers, scales, lows)

"""Rounding by cost: each weight takes the integer whose error and whose bits together cost least.

    cost(k) = g (w - k step)^2 / factor^2 / 2 + price * bits(k)

in nats of the model's answers, `price` in nats a bit. As in feedback.py (GPTQ, Frantar et al. 2023) inputs of
a layer are taken one at a time and the error of each is spread over those to come. What is new is the price:
the lower integer, or 0, is taken where the bits saved are worth more than the error they bring (the rate-
distortion choice of Ramchandran and Vetterli 1994, here among three integers).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress_compression.passes.layer_matrix import LayerMatrix
from edgepress_compression.passes.rate_distortion.rate_model import RateModel

_BLOCK = 48  # columns whose errors are spread together over those after them


@dataclass(frozen=True)
class Rounded:
    """`integers` (groups, outputs, inputs) int32 in the matrix' own order; `loss` nats, as estimated."""

    integers: np.ndarray
    loss: float


def round_by_cost(matrix: LayerMatrix, steps: np.ndarray, rate: RateModel, price: float) -> Rounded:
    """steps: (groups, outputs) float64. The rate's rows are the outputs, its columns the inputs."""
    if matrix.factor is None:
        return _apart(matrix, steps, rate, price)
    groups, outputs, inputs = matrix.rows.shape
    order, factor = matrix.order, matrix.factor
    work = np.take_along_axis(matrix.rows, order[:, None, :], axis=2) / steps[:, :, None]
    zero, other = (_ordered(bits, matrix) for bits in (rate.zero, rate.other))
    # error in steps, squared, to bits
    worth = 0.5 * matrix.outputs * steps**2 / price  # (groups, outputs)
    whole = np.empty((groups, outputs, inputs), np.int32)
    loss = 0.0
    for start in range(0, inputs, _BLOCK):
        stop = min(start + _BLOCK, inputs)
        errors = np.empty((groups, outputs, stop - start))
        for i in range(start, stop):
            diagonal = factor[:, i, i][:, None]
            now = work[:, :, i]
            chosen = _cheapest(now, worth / diagonal**2, zero[:, :, i], other[:, :, i], rate)
            whole[:, :, i] = chosen
            error = (now - chosen) / diagonal  # (groups, outputs)
            errors[:, :, i - start] = error
            if i + 1 < stop:
                work[:, :, i + 1 : stop] -= error[:, :, None] * factor[:, None, i, i + 1 : stop]
        if stop < inputs:
            work[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
        loss += float((worth * np.square(errors).sum(axis=2)).sum()) * price
    integers = np.empty_like(whole)
    np.put_along_axis(integers, np.broadcast_to(order[:, None, :], whole.shape), whole, axis=2)
    return Rounded(integers, loss)


def _apart(matrix: LayerMatrix, steps: np.ndarray, rate: RateModel, price: float) -> Rounded:
    """Every weight for itself."""
    scaled = matrix.rows[0] / steps[0][:, None]
    worth = np.broadcast_to(0.5 * (matrix.outputs[0] * steps[0] ** 2 / price)[:, None], scaled.shape)
    chosen = _cheapest(scaled, worth, rate.zero, rate.other, rate)
    loss = float((worth * np.square(scaled - chosen)).sum()) * price
    return Rounded(chosen[None].astype(np.int32), loss)


def _cheapest(
    scaled: np.ndarray, worth: np.ndarray, zero: np.ndarray, other: np.ndarray, rate: RateModel
) -> np.ndarray:
    """The cheapest of the nearest integer, the one below it, and 0; as float64."""
    nearest = np.rint(scaled)
    lower = nearest - np.sign(nearest)
    best = np.zeros_like(nearest)
    least = worth * scaled * scaled + zero
    for candidate in (lower, nearest):
        index = np.clip(candidate, -rate.reach, rate.reach).astype(np.int64) + rate.reach
        cost = worth * np.square(scaled - candidate) + other + rate.table[index]
        better = (cost < least) & (candidate != 0)
        best = np.where(better, candidate, best)
        least = np.where(better, cost, least)
    return np.asarray(best, np.float64)


def _ordered(bits: np.ndarray, matrix: LayerMatrix) -> np.ndarray:
    """(rows, columns) as (groups, outputs, inputs) in the order of rounding."""
    shaped = bits.reshape(matrix.rows.shape)
    return np.take_along_axis(shaped, matrix.order[:, None, :], axis=2)

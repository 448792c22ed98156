"""Rounding on a trellis: a search that looks ahead for the whole numbers of codec/trellis.py, with feedback.

As in cost_rounding.py the error of each weight is spread over those to come, so what comes depends on the
path: each of the eight paths that are kept (the best into each state; Viterbi's algorithm) carries the
remaining weights of its row as its own errors have changed them (per-survivor processing, Raheli, Polydoros
and Tzou 1995). After `_BLOCK` inputs the best path is taken and its errors are spread over all that is left.
Inputs are taken as they stand, since the decoder's states run in that order.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from edgepress_compression.codec.trellis import NEXT, STATES
from edgepress_compression.passes.layer_matrix import LayerMatrix
from edgepress_compression.passes.rate_distortion.cost_rounding import Rounded
from edgepress_compression.passes.rate_distortion.rate_model import RateModel

FINENESS: Final = 0.62  # of the trellis' step to a plain one, for the same harm a bit: measured
LEAST_INPUTS: Final = 32  # a shorter row is over before the paths part
_BLOCK: Final = 96
_ROWS: Final = 2048  # at a time, which bounds the memory

_GRID: Final = (np.arange(STATES) & 1).astype(np.float32)  # of each state


def _sources() -> tuple[np.ndarray, np.ndarray]:
    """For each state the two that lead to it, and by which parity; (STATES, 2) each."""
    into: list[list[tuple[int, int]]] = [[] for _ in range(STATES)]
    for state in range(STATES):
        for parity in (0, 1):
            into[int(NEXT[state, parity])].append((state, parity))
    table = np.array(into)
    return table[:, :, 0], table[:, :, 1]


_FROM, _PARITY = _sources()


def round_on_trellis(matrix: LayerMatrix, steps: np.ndarray, rate: RateModel, price: float) -> Rounded:
    """steps: (groups, outputs), of the fine grid. `rate` is of the symbols, its rows the outputs. The matrix
    must be in natural order. The result's integers lie on the fine grid."""
    outputs = matrix.rows.shape[1]
    worth = 0.5 * matrix.outputs * steps**2 / price  # (groups, outputs), from a squared step to bits
    work = (matrix.rows / steps[:, :, None]).astype(np.float32)
    shape = matrix.rows.shape
    zero, other = rate.zero.reshape(shape), rate.other.reshape(shape)
    factor = None if matrix.factor is None else matrix.factor.astype(np.float32)
    values = np.empty(shape, np.int32)
    loss = 0.0
    for start in range(0, outputs, _ROWS):
        rows = slice(start, min(start + _ROWS, outputs))
        search = _Search(factor, worth[:, rows].astype(np.float32), rate)
        values[:, rows], spent = search.run(work[:, rows], zero[:, rows], other[:, rows])
        loss += spent * price
    return Rounded(values, loss)


class _Search:
    """Of some rows of a matrix. Arrays are (groups, rows, STATES, ...)."""

    def __init__(self, factor: np.ndarray | None, worth: np.ndarray, rate: RateModel) -> None:
        self._factor, self._worth, self._rate = factor, worth, rate

    def run(self, work: np.ndarray, zero: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, float]:
        """work: (groups, rows, inputs) in fine steps, is changed. (values int32, error in bits)."""
        groups, rows, inputs = work.shape
        values = np.empty(work.shape, np.int32)
        costs = np.full((groups, rows, STATES), np.inf, np.float32)
        costs[:, :, 0] = 0.0
        loss = 0.0
        for start in range(0, inputs, _BLOCK):
            stop = min(start + _BLOCK, inputs)
            bits = zero[:, :, start:stop], other[:, :, start:stop]
            taken, errors, last = self._block(work[:, :, start:stop], start, bits, costs)
            values[:, :, start:stop] = taken
            if self._factor is not None and stop < inputs:
                work[:, :, stop:] -= errors @ self._factor[:, start:stop, stop:]
            loss += float((self._worth * np.square(errors).sum(axis=2)).sum(dtype=np.float64))
            costs = np.full_like(costs, np.inf)
            np.put_along_axis(costs, last[:, :, None], 0.0, axis=2)
        return values, loss

    def _block(
        self, work: np.ndarray, start: int, bits: tuple[np.ndarray, np.ndarray], costs: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(values, errors, both (groups, rows, length), and the state after the block (groups, rows))."""
        groups, rows, length = work.shape
        ahead = np.repeat(work[:, :, None, :], STATES, axis=2)
        sources = np.empty((length, groups, rows, STATES), np.int8)
        found = np.empty((length, groups, rows, STATES), np.float32)
        wrong = np.empty((length, groups, rows, STATES), np.float32)
        for i in range(length):
            factor = None if self._factor is None else self._factor[:, start + i, start + i :]
            diagonal = np.float32(1.0) if factor is None else factor[:, :1, None]
            now = ahead[:, :, :, i]
            value, cost = self._candidates(
                now, self._worth[:, :, None] / diagonal**2, bits[0][:, :, i, None], bits[1][:, :, i, None]
            )
            paths = (costs[..., None] + cost)[:, :, _FROM, _PARITY]  # (groups, rows, STATES, 2)
            second = paths[..., 1] < paths[..., 0]
            costs = np.where(second, paths[..., 1], paths[..., 0])
            source = np.where(second, _FROM[:, 1], _FROM[:, 0])
            reached = value[:, :, _FROM, _PARITY]
            found[i] = np.where(second, reached[..., 1], reached[..., 0])
            sources[i] = source
            wrong[i] = (np.take_along_axis(now, source, axis=2) - found[i]) / diagonal
            if i + 1 < length:
                rest = ahead[:, :, :, i + 1 :]
                rest = np.take_along_axis(rest, source[..., None], axis=2)
                if factor is not None:
                    rest -= wrong[i][..., None] * factor[:, None, None, 1 : length - i]
                ahead[:, :, :, i + 1 :] = rest
        return _trace(sources, found, wrong, costs.argmin(axis=2))

    def _candidates(
        self, now: np.ndarray, worth: np.ndarray, zero: np.ndarray, other: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """For each parity the nearest number on each state's grid, or 0, and its cost in bits.

        Both (..., STATES, 2).
        """
        size, sign = np.abs(now), np.where(now < 0, np.float32(-1.0), np.float32(1.0))
        values = np.empty((*now.shape, 2), np.float32)
        costs = np.empty((*now.shape, 2), np.float32)
        for parity in (0, 1):
            symbol = 2 * np.rint(((size + _GRID) / 2 - parity) / 2) + parity
            symbol = np.maximum(symbol, np.float32(parity))
            value = 2 * symbol - np.where(symbol > 0, _GRID, np.float32(0.0))
            index = np.clip(sign * symbol, -self._rate.reach, self._rate.reach).astype(np.int32)
            spent = np.where(symbol == 0, zero, other + self._rate.table[index + self._rate.reach])
            cost = worth * np.square(size - value) + spent
            if parity == 0:
                nothing = worth * np.square(size) + zero
                value = np.where(nothing < cost, np.float32(0.0), value)
                cost = np.minimum(nothing, cost)
            costs[..., parity] = cost
            values[..., parity] = sign * value
        return values, costs


def _trace(
    sources: np.ndarray, found: np.ndarray, wrong: np.ndarray, last: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best path back from `last` (groups, rows): its values and errors, and `last`."""
    length = len(sources)
    values = np.empty((*last.shape, length), np.int32)
    errors = np.empty((*last.shape, length), np.float32)
    state = last[..., None]
    for i in range(length - 1, -1, -1):
        values[..., i] = np.take_along_axis(found[i], state, axis=2)[..., 0]
        errors[..., i] = np.take_along_axis(wrong[i], state, axis=2)[..., 0]
        state = np.take_along_axis(sources[i], state, axis=2).astype(np.intp)
    return values, errors, last

"""The loops of rANS over a walk of the tensor, in numpy: the specification of native/rans.h.

All lanes of a block go in lock step, so a step is a handful of array operations whatever the number of lanes.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec.bytestream import CodecError
from edgepress_compression.codec.coder import Symbols

STATE_LOW = 1 << 16


@dataclass(frozen=True)
class Walk:
    """The order of elements, their lanes and contexts: drawn in rans.py."""

    rows: int
    columns: int
    by_columns: bool  # rows of the walk are columns of the tensor
    row_class: NDArray[np.uint8] | None  # (rows,)
    column_class: NDArray[np.uint8] | None  # (columns,)
    column_classes: int
    pivot: int | None  # with it, the token before in the row is part of the context
    lanes: int

    def row_order(self) -> NDArray[np.int64]:
        """The rows as they are visited."""
        if self.row_class is None:
            return np.arange(self.rows)
        return np.argsort(self.row_class, kind="stable").astype(np.int64)

    def contexts(self, tokens: Symbols) -> NDArray[np.int64]:
        """The context of each element (rows, columns) when all tokens are known."""
        context = np.zeros((self.rows, self.columns), np.int64)
        if self.row_class is not None:
            context += self.row_class[:, None].astype(np.int64) * self.column_classes
        if self.column_class is not None:
            context += self.column_class
        if self.pivot is not None:
            context *= 3
            context += 1
            before = self.matrix(tokens)[:, :-1]
            context[:, 1:] += before > self.pivot
            context[:, 1:] -= before < self.pivot
        return context

    def matrix(self, elements: Symbols) -> Symbols:
        """A view of the tensor's elements (flat, C order) as (rows, columns)."""
        if self.by_columns:
            return elements.reshape(self.columns, self.rows).T
        return elements.reshape(self.rows, self.columns)


def decode(
    walk: Walk,
    frequency: NDArray[np.int64],
    precision: int,
    states: NDArray[np.int64],
    words: NDArray[np.int64],
    out: Symbols,
) -> None:
    """Tokens to ``out`` (flat). ``frequency`` (contexts, tokens). Raises CodecError unless words and states
    end as an encoder begins."""
    contexts, tokens = frequency.shape
    token_of = np.repeat(np.tile(np.arange(tokens), contexts), frequency.reshape(-1))
    start = np.cumsum(frequency, 1) - frequency
    frequency_of = frequency.reshape(-1)[token_of + (np.arange(len(token_of)) >> precision) * tokens]
    place_of = (np.arange(len(token_of)) & ((1 << precision) - 1)) - start.reshape(-1)[
        token_of + (np.arange(len(token_of)) >> precision) * tokens
    ]
    states = states.copy()
    order, matrix = walk.row_order(), walk.matrix(out)
    rows_factor = walk.column_classes * (1 if walk.pivot is None else 3)
    column_slots = np.zeros(walk.columns, np.int64)
    if walk.column_class is not None:
        column_slots = walk.column_class.astype(np.int64) * (1 if walk.pivot is None else 3) << precision
    mask, at = (1 << precision) - 1, 0
    for first in range(0, walk.rows, walk.lanes):
        rows = order[first : first + walk.lanes]
        state = states[: len(rows)]
        row_slots = np.zeros(len(rows), np.int64)
        if walk.row_class is not None:
            row_slots = walk.row_class[rows].astype(np.int64) * rows_factor << precision
        before = np.full(len(rows), 0 if walk.pivot is None else 1 << precision)
        block = np.empty((walk.columns, len(rows)), out.dtype)
        for column in range(walk.columns):
            slot = (state & mask) + (row_slots + column_slots[column]) + before
            token = token_of[slot]
            state = frequency_of[slot] * (state >> precision) + place_of[slot]
            low = np.flatnonzero(state < STATE_LOW)
            if len(low):
                if at + len(low) > len(words):
                    raise CodecError("the words of the lanes end early")
                state[low] = state[low] << 16 | words[at : at + len(low)]
                at += len(low)
            block[column] = token
            if walk.pivot is not None:
                before = (1 + (token > walk.pivot).astype(np.int64) - (token < walk.pivot)) << precision
        states[: len(rows)] = state
        matrix[rows] = block.T
    if at != len(words):
        raise CodecError("bytes are left over after the words of the lanes")
    if (states != STATE_LOW).any():
        raise CodecError("the lanes do not end as an encoder begins them")


def encode(
    walk: Walk, frequency: NDArray[np.int64], precision: int, tokens: Symbols
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The states (lanes,) and words with which ``decode`` gives ``tokens`` (flat) back."""
    start = np.cumsum(frequency, 1) - frequency
    contexts, matrix, order = walk.contexts(tokens), walk.matrix(tokens), walk.row_order()
    states = np.full(walk.lanes, STATE_LOW)
    words: list[NDArray[np.int64]] = []  # last first
    for first in range((walk.rows - 1) // walk.lanes * walk.lanes, -1, -walk.lanes):
        rows = order[first : first + walk.lanes]
        where = contexts[rows].T, matrix[rows].T.astype(np.int64)
        f_block, start_block = frequency[where], start[where]  # (columns, rows)
        state = states[: len(rows)]
        for column in range(walk.columns - 1, -1, -1):
            f = f_block[column]
            full = np.flatnonzero(state >= f << (32 - precision))
            if len(full):
                words.append(state[full][::-1] & 0xFFFF)
                state[full] >>= 16
            state = (state // f << precision) + state % f + start_block[column]
        states[: len(rows)] = state
    return states, np.concatenate(words)[::-1] if words else np.zeros(0, np.int64)

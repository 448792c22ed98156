"""Trellis: two interleaved grids of whole numbers, and which one holds is told by the symbols before.

A symbol k stands for a whole number v on a grid twice as fine as one of its own would be::

    grid 0    v = 2 k              ... -4 -2  0  2  4 ...
    grid 1    v = 2 k - sign(k)    ... -3 -1  0  1  3 ...

The grid is the lowest bit of a state of three bits (s2 s1 s0) that is 0 before the first symbol of each row
and moves on with the parity p = k mod 2 of each symbol::

    s0' = s1 xor s0      s1' = s2 xor p      s2' = s0

which is the 8-state code of Ungerboeck (1982, table I: parity checks 13 and 04, octal). An encoder that
looks ahead (Viterbi) has nearly the precision of the fine grid for the bits of the coarse one (trellis-coded
quantization, Marcellin and Fischer 1990). Row i holds the elements with the index i on one axis of the
tensor, in C order.
"""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import native
from edgepress_compression.codec.coder import Shape, Symbols

STATES: Final = 8


def next_state(state: int, parity: int) -> int:
    """The state after a symbol of that parity."""
    s0, s1, s2 = state & 1, state >> 1 & 1, state >> 2
    return (s1 ^ s0) | (s2 ^ parity) << 1 | s0 << 2


NEXT: Final = np.array([[next_state(s, p) for p in (0, 1)] for s in range(STATES)], np.uint8)


def untangle(symbols: Symbols, lowest: int, shape: Shape, axis: int, out: NDArray[np.int32]) -> None:
    """Fills ``out`` with the whole numbers that ``symbols`` stand for (flat, C order); k = symbol + lowest.

    Needs one byte of work memory for each index of ``axis``. Raises CodecError for a ``lowest`` beyond 2^24.
    """
    outer, rows, inner = _sides(shape, axis)
    if native.available():
        states = np.empty(rows, np.uint8)
        native.call(
            "ep_untangle", symbols, symbols.itemsize, len(symbols), lowest, rows, inner, states, out, len(out)
        )
        return
    untangle_reference(symbols, lowest, (outer, rows, inner), out)


def untangle_reference(
    symbols: Symbols, lowest: int, sides: tuple[int, int, int], out: NDArray[np.int32]
) -> None:
    """The specification: ``sides`` are the tensor's as (those before the axis, the axis, those after it)."""
    from_rows = symbols.reshape(sides)
    values = out.reshape(sides)
    state = np.zeros(sides[1], np.uint8)
    for o in range(sides[0]):
        for i in range(sides[2]):
            k = from_rows[o, :, i].astype(np.int32) + lowest
            values[o, :, i] = 2 * k - np.sign(k) * (state & 1)
            state = NEXT[state, k & 1]


def tangle(values: NDArray[np.int32], axis: int) -> NDArray[np.int32]:
    """The inverse: k for each of ``values``, which have the tensor's shape. ValueError where none is."""
    outer, rows, inner = _sides(values.shape, axis)
    from_rows = values.reshape(outer, rows, inner)
    symbols = np.empty_like(from_rows)
    state = np.zeros(rows, np.uint8)
    for o in range(outer):
        for i in range(inner):
            v = from_rows[o, :, i]
            doubled = v + np.sign(v) * (state & 1)
            if (doubled & 1).any():
                raise ValueError("these whole numbers do not follow the trellis")
            k = doubled >> 1
            symbols[o, :, i] = k
            state = NEXT[state, k & 1]
    return symbols.reshape(values.shape)


def _sides(shape: Shape, axis: int) -> tuple[int, int, int]:
    if not shape:
        return 1, 1, 1
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])

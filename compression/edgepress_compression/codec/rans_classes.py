"""Which classes of rows and columns, and whether the symbol before, make a tensor's symbols most predictable.

Rows (and columns) with like histograms belong together: 16 clusters by k-means under the Kullback-Leibler
divergence (Dhillon, Mallela, Kumar 2003, "A divisive information-theoretic feature clustering algorithm"),
merged pairwise where that costs least entropy to 8, 4 and 2. Then every pair of class counts is judged from
one histogram of the finest classes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec.coder import Symbols

CLASSES: Final = (16, 8, 4, 2)
MAX_SIDE: Final = 65_536  # of rows or columns that have classes
MAX_CONTEXTS: Final = 64  # keeps tables near the processor, and their choice quick
_ROUNDS: Final = 6  # of k-means; more gained nothing
_TABLE_BITS: Final = 8  # a context's table is taken to cost this and
_TABLE_BITS_A_SYMBOL: Final = 2  # ... this for each symbol that occurs in it

Counts = NDArray[
    np.float64
]  # whole numbers: their products and sums are exact, and the same on every machine


@dataclass(frozen=True)
class Choice:
    """A way to give contexts, and its estimated size in bits."""

    bits: float
    by_columns: bool  # rows of the walk are columns of the tensor
    previous: bool
    row_class: NDArray[np.uint8] | None
    column_class: NDArray[np.uint8] | None


def choices(matrix: Symbols, tokens: int, pivot: int) -> list[Choice]:
    """The promising ones for ``matrix`` (R, C) of symbols < ``tokens``, best first."""
    rows, columns = matrix.shape
    row_groups = list(_groups(matrix, tokens))
    column_groups = list(_groups(matrix.T, tokens))
    fine_rows, fine_columns = int(row_groups[0].max()) + 1, int(column_groups[0].max()) + 1
    finest = row_groups[0].astype(np.int64)[:, None] * fine_columns + column_groups[0]
    found = []
    side = np.sign(matrix.astype(np.int16) - np.int16(pivot)).astype(np.int64) + 1
    for previous, by_columns in ((False, False), (True, False), (True, True)):
        key = finest
        if previous:
            if (rows if by_columns else columns) < 2:
                continue
            before = np.ones_like(side)
            if by_columns:
                before[1:] = side[:-1]
            else:
                before[:, 1:] = side[:, :-1]
            key = finest * 3 + before
        cell = (3 if previous else 1) * tokens
        counts = np.bincount((key * tokens + matrix).reshape(-1), minlength=fine_rows * fine_columns * cell)
        by_cell = counts.reshape(fine_rows, fine_columns * cell).astype(np.float64)
        for row_class in row_groups:
            by_row = _merged(by_cell, row_groups[0], row_class).reshape(-1, fine_columns, cell)
            for column_class in column_groups:
                if by_row.size // fine_columns * (int(column_class.max()) + 1) > MAX_CONTEXTS * tokens:
                    continue
                by_both = _merged(by_row, column_groups[0], column_class).reshape(-1, tokens)
                bits = float(_entropy_bits(by_both).sum()) + _table_bits(by_both)
                bits += _class_bits(row_class) + _class_bits(column_class)
                pair = _none_if_one(row_class), _none_if_one(column_class)
                found.append(Choice(bits, by_columns, previous, *(pair[::-1] if by_columns else pair)))
    return sorted(found, key=lambda choice: choice.bits)


def _merged(counts: Counts, fine: NDArray[np.uint8], coarse: NDArray[np.uint8]) -> Counts:
    """``counts`` (..., finer classes, n) with the finer classes summed into the coarser."""
    member = np.zeros((int(coarse.max()) + 1, counts.shape[-2]))
    member[coarse, fine] = 1
    return member @ counts


def _none_if_one(classes: NDArray[np.uint8]) -> NDArray[np.uint8] | None:
    return classes if classes.any() else None


def _entropy_bits(counts: Counts) -> NDArray[np.float64]:
    """Of each row of counts (n, tokens): the bits of its symbols at their own frequencies."""
    totals = counts.sum(1)
    bits: NDArray[np.float64] = totals * np.log2(np.maximum(totals, 1)) - (
        counts * np.log2(np.maximum(counts, 1))
    ).sum(1)
    return bits


def _table_bits(counts: Counts) -> float:
    used = int(np.count_nonzero(counts))
    return _TABLE_BITS * len(counts) + _TABLE_BITS_A_SYMBOL * used


def _class_bits(classes: NDArray[np.uint8]) -> float:
    if not classes.any():
        return 0.0
    counts = np.bincount(classes)
    return float(_entropy_bits(counts[None].astype(np.float64))[0]) * 1.03 + 24 + 4 * len(counts)


def _groups(matrix: Symbols, tokens: int) -> Iterator[NDArray[np.uint8]]:
    """Classes of the rows of ``matrix``, finest first, each a coarser one of that before; one class last."""
    rows = len(matrix)
    if 4 <= rows <= MAX_SIDE:
        found = np.bincount((np.arange(rows)[:, None] * tokens + matrix).reshape(-1), minlength=rows * tokens)
        histograms = found.reshape(rows, tokens).astype(np.float64)
        group = _clusters(histograms, min(CLASSES[0], rows // 2))
        for wanted in CLASSES:
            group = _merge_to(histograms, group, wanted)
            if group.any():
                yield group
    yield np.zeros(rows, np.uint8)


def _clusters(histograms: Counts, count: int) -> NDArray[np.uint8]:
    rows, tokens = histograms.shape
    total = histograms.sum(0)
    center = int(total.argmax())
    spread = histograms @ np.abs(np.arange(tokens) - center).astype(np.float64)
    group = np.empty(rows, np.int64)
    group[np.argsort(spread, kind="stable")] = np.arange(rows) * count // rows
    smooth = total / total.sum()
    for _ in range(_ROUNDS):
        sums = (np.arange(count)[:, None] == group) @ histograms
        shares = (sums + smooth) / (sums.sum(1, keepdims=True) + 1)
        # Whole numbers, so that the product below is exact and the same on every machine.
        costs = np.rint(-256 * np.log2(np.maximum(shares, 1e-12)))
        again = (histograms @ costs.T).argmin(1)
        if np.array_equal(again, group):
            break
        group = again
    return np.unique(group, return_inverse=True)[1].astype(np.uint8)


def _merge_to(histograms: Counts, group: NDArray[np.uint8], wanted: int) -> NDArray[np.uint8]:
    """At most ``wanted`` classes, merging the pair that costs least entropy again and again."""
    classes = int(group.max()) + 1
    sums: Counts = (np.arange(classes)[:, None] == group) @ histograms
    while classes > wanted:
        own = _entropy_bits(sums)
        a, b = np.triu_indices(classes, 1)
        cost = _entropy_bits(sums[a] + sums[b]) - own[a] - own[b]
        best = int(np.rint(64 * cost).argmin())
        keep, gone = int(a[best]), int(b[best])
        sums[keep] += sums[gone]
        sums = np.delete(sums, gone, 0)
        renumber = np.arange(classes) - (np.arange(classes) > gone)
        renumber[gone] = keep
        group = renumber[group].astype(np.uint8)
        classes -= 1
    return group

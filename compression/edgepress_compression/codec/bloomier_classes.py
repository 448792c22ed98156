"""How many check bits a position needs: a class for its row and one for its column, which are added.

A position that is not kept passes k check bits with probability 2^-k. With the same price for each that
passes, positions where many are kept should have few check bits, and rare ones many: each bit is paid by
every kept position. Rows and columns in which nothing is kept pass nothing.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

EMPTY: Final = 16  # the class of a row or column in which nothing is kept
CLASSES: Final = EMPTY + 1
_TRIED: Final = 11  # check bits of one class: 0 .. 10
_LEAST_SIDE: Final = 16  # shorter rows (columns) have one class: theirs would be as long as their content
_ROUNDS: Final = 12


def choose_classes(
    kept: NDArray[np.bool_], price: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Row classes (rows,) and column classes (columns,) for ``kept`` (rows, columns).

    ``price`` (rows, columns): the bits that a position which is not kept is worth when it passes. Alternates
    between the best rows for these columns and the best columns for these rows.
    """
    harm = np.where(kept, 0.0, price)
    counts = [kept.sum(axis) for axis in (1, 0)]
    tried = np.arange(_TRIED)
    classes = [np.zeros(side, np.int64) for side in kept.shape]
    single = [kept.shape[1 - axis] < _LEAST_SIDE for axis in (0, 1)]
    live = [np.full(kept.shape[axis], kept.any()) if single[axis] else counts[axis] > 0 for axis in (0, 1)]
    for _ in range(_ROUNDS):
        before = [one.copy() for one in classes]
        for axis in (0, 1):
            passing = np.where(live[1 - axis], 0.5 ** classes[1 - axis], 0.0)
            expected = harm @ passing if axis == 0 else passing @ harm  # (side,) without bits of its own
            own = counts[axis]
            if single[axis]:
                expected, own = expected.sum(keepdims=True), own.sum(keepdims=True)
            costs = own[:, None] * tried + expected[:, None] * 0.5**tried  # (side, tried) bits
            classes[axis] = np.broadcast_to(costs.argmin(1), kept.shape[axis]).copy()
        if all(np.array_equal(old, new) for old, new in zip(before, classes, strict=True)):
            break
    rows, columns = (
        np.where(alive, one, EMPTY).astype(np.uint8) for alive, one in zip(live, classes, strict=True)
    )
    return rows, columns

"""Which channels are the same unit: a union-find over labels, with reasons.

Every channel that a node makes gets a label of its own (a number from 1); label 0 marks what can never be
cut. Tying two labels makes them one unit: cut together or not at all. Fixing a label forbids the cut of its
unit.
"""

from __future__ import annotations

import numpy as np

KEPT = 0  # the label of what is never cut


class Labels:
    """Classes of labels. A class has at most one reason why it is fixed, the first that was given."""

    def __init__(self) -> None:
        self._parent = np.zeros(1, dtype=np.int64)
        self._fixed: dict[int, str] = {}  # a label of the class -> reason
        self.ties: list[tuple[int, str]] = []  # (a label of the class, what ties it, in words)
        self.heads: list[int] = []  # labels of classes that are attention heads

    def fresh(self, count: int) -> np.ndarray:
        """(count,) int64 new labels."""
        first = len(self._parent)
        new = np.arange(first, first + count, dtype=np.int64)
        self._parent = np.concatenate([self._parent, new])
        return new

    def __len__(self) -> int:
        return len(self._parent)

    def find(self, labels: np.ndarray) -> np.ndarray:
        """The representative of each label's class, in the same shape."""
        found = np.asarray(self._parent[labels])
        while True:
            above = self._parent[found]
            if np.array_equal(above, found):
                return found
            found = above

    def tie(self, one: np.ndarray, other: np.ndarray, why: str) -> bool:
        """Ties the labels of two arrays that broadcast together, element by element; a label that meets
        `KEPT` is fixed. True when something changed.
        """
        pairs = np.stack([side.reshape(-1) for side in np.broadcast_arrays(self.find(one), self.find(other))])
        pairs = np.unique(pairs[:, pairs[0] != pairs[1]], axis=1)
        changed = False
        for first, second in pairs.T.tolist():
            if KEPT in (first, second):
                changed |= self.fix(np.array([first or second]), why)
                continue
            a, b = self._root(first), self._root(second)
            if a == b:
                continue
            low, high = min(a, b), max(a, b)
            self._parent[high] = low
            if high in self._fixed:
                self._fixed.setdefault(low, self._fixed.pop(high))
            self.ties.append((low, why))
            changed = True
        return changed

    def fix(self, labels: np.ndarray, why: str) -> bool:
        """Forbids the cut of every class in `labels`. True when something changed."""
        changed = False
        for root in np.unique(self.find(labels)).tolist():
            if root != KEPT and root not in self._fixed:
                self._fixed[root] = why
                changed = True
        return changed

    def free(self, labels: np.ndarray) -> np.ndarray:
        """The representatives, with `KEPT` in the place of every fixed class."""
        found = self.find(labels)
        if self._fixed:
            fixed = np.fromiter(self._fixed, dtype=np.int64)
            found = np.where(np.isin(found, fixed), KEPT, found)
        return found

    def reason(self, label: int) -> str | None:
        """Why the class of `label` is fixed; None when it is not."""
        return self._fixed.get(self._root(label))

    def _root(self, label: int) -> int:
        while self._parent[label] != label:
            label = int(self._parent[label])
        return label


def squeezed(labels: np.ndarray) -> np.ndarray:
    """The same labels with length 1 on every axis along which they do not change."""
    for axis, length in enumerate(labels.shape):
        if length > 1:
            first = np.take(labels, [0], axis=axis)
            if (labels == first).all():
                labels = first
    return labels


def varying(labels: np.ndarray) -> list[int]:
    """The axes along which squeezed labels change."""
    return [axis for axis, length in enumerate(labels.shape) if length > 1]


def on_axis(labels: np.ndarray, axis: int, length: int) -> np.ndarray | None:
    """(length,) the labels along `axis`, or None when they change along another one."""
    if any(other != axis for other in varying(labels)):
        return None
    return np.broadcast_to(labels.reshape(-1), (length,))

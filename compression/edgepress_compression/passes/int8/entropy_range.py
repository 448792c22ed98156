"""The range that keeps most of a tensor's information: KL calibration, as TensorRT does it.

Migacz 2017, "8-bit Inference with TensorRT" (GTC), slides 14 to 26: of all ranges to which a histogram may be
cut, the one whose integers' distribution diverges least from the floats' own, everything cut off counted as
the range's edge.
"""

from __future__ import annotations

import numpy as np

_STRIDE = 4  # bins from one range tried to the next
_UNSEEN = 1e-9  # probability of what the integers cannot say


def least_divergence_range(edges: np.ndarray, counts: np.ndarray, steps: int) -> tuple[float, float]:
    """(low, high) with low <= 0 <= high. edges: (bins + 1,) ascending; counts: (bins,); `steps` between the
    lowest integer and the highest.

    Ranges keep 0 and the two ends' proportion to it, so that a one-sided tensor is cut on one side.
    """
    levels = steps + 1
    counts = _without_zeros(edges, counts)
    low, high = min(float(edges[0]), 0.0), max(float(edges[-1]), 0.0)
    best, least = (low, high), np.inf
    bins = len(counts)
    fewest = min(levels // 2, bins)
    for width in range(bins, fewest - 1, -_STRIDE):
        share = width / bins
        candidate = (low * share, high * share)
        first = int(np.searchsorted(edges, candidate[0], side="right")) - 1 if low < 0 else 0
        last = int(np.searchsorted(edges, candidate[1], side="left")) if high > 0 else bins
        first, last = max(first, 0), min(last, bins)
        if last - first < 2:
            continue
        divergence = cut_divergence(counts, first, last, levels)
        if divergence < least:
            best, least = candidate, divergence
    return best


def _without_zeros(edges: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """A Relu's zeros are exact at any scale and say nothing of it: their bin counts as its neighbour does."""
    position = int(np.searchsorted(edges, 0.0, side="right")) - 1
    if not 0 <= position < len(counts) - 1:
        return counts
    shown = counts.copy()
    shown[position] = min(counts[position], counts[position + 1])
    return shown


def cut_divergence(counts: np.ndarray, first: int, last: int, levels: int) -> float:
    """KL divergence, nats, of bins first..last-1 said in `levels` values from the same with all that lies
    outside moved to the two ends."""
    inside = counts[first:last].astype(np.float64)
    wanted = inside.copy()
    wanted[0] += counts[:first].sum()
    wanted[-1] += counts[last:].sum()
    # each level stands for the bins that round to it, and says they are alike where they are not empty
    level = np.arange(last - first) * levels // (last - first)
    sums = np.bincount(level, inside, levels)
    filled = np.bincount(level, inside > 0, levels)
    said = np.where(inside > 0, (sums / np.maximum(filled, 1))[level], 0.0)
    p, q = wanted / wanted.sum(), said / max(said.sum(), 1e-300)
    seen = p > 0
    return float((p[seen] * np.log(p[seen] / np.maximum(q[seen], _UNSEEN))).sum())

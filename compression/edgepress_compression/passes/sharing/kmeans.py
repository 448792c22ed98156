"""Few values for many numbers: k-means with linear initialization (Han et al. 2016, section 3.2)."""

from __future__ import annotations

import numpy as np

from edgepress_compression.artifact.write import SharedWeights

_KMEANS_ROUNDS = 60
_HALF_MIN, _HALF_MAX = 6.1e-5, 65504.0  # normal numbers of fp16, which keep 11 bits


def share(array: np.ndarray, count: int) -> SharedWeights:
    """k-means of the nonzero weights into at most `count` values; zeros stay zero.

    array: fp32 of any shape. The codebook is sorted, holds 0.0 if the array does, and no value that is not
    used.
    """
    flat = array.reshape(-1)
    kept = flat != 0
    centroids = kmeans(flat[kept].astype(np.float64), count)
    values = half_precision(centroids.astype(np.float32))
    values = np.unique(values if kept.all() else np.append(values, np.float32(0.0)))
    nonzero = np.flatnonzero(values)
    indices = np.empty(flat.size, np.int32)
    indices[~kept] = np.searchsorted(values, 0.0)
    edges = (values[nonzero][1:].astype(np.float64) + values[nonzero][:-1]) / 2
    indices[kept] = nonzero[np.searchsorted(edges, flat[kept])]
    return _compact(SharedWeights(indices.reshape(array.shape), values))


def kmeans(values: np.ndarray, count: int) -> np.ndarray:
    """Sorted centroids (at most `count`) of one-dimensional k-means, linear initialization, by Lloyd's
    algorithm.

    values: (n,) float64. Clusters that become empty are dropped.
    """
    if values.size == 0:
        return values
    ordered = np.sort(values)
    total = np.concatenate([[0.0], np.cumsum(ordered)])
    centroids = np.unique(np.linspace(ordered[0], ordered[-1], count))
    for _ in range(_KMEANS_ROUNDS):
        edges = (centroids[1:] + centroids[:-1]) / 2
        ends = np.concatenate([[0], np.searchsorted(ordered, edges), [ordered.size]])  # (k + 1,)
        members = np.diff(ends)
        sums = total[ends[1:]] - total[ends[:-1]]
        moved = sums[members > 0] / members[members > 0]
        if moved.size == centroids.size and np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def half_precision(values: np.ndarray) -> np.ndarray:
    """fp32 numbers rounded to fp16 and its 11 bits; unchanged where fp16 has fewer bits for one of them."""
    magnitude = np.abs(values)
    fits = bool(((magnitude == 0) | ((magnitude >= _HALF_MIN) & (magnitude <= _HALF_MAX))).all())
    return values.astype(np.float16).astype(np.float32) if fits else values


def _compact(code: SharedWeights) -> SharedWeights:
    """Without values that no weight has."""
    used, indices = np.unique(code.indices, return_inverse=True)
    return SharedWeights(
        indices.reshape(code.indices.shape).astype(np.int32), np.ascontiguousarray(code.codebook[used])
    )

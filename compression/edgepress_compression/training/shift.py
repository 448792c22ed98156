"""Shifted pictures: more to learn from than the training samples themselves."""

from __future__ import annotations

import numpy as np

_LEAST_SIZE = 8  # pixels; what is smaller is no picture


def shifted(array: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Each picture moved by its own whole number of pixels, up to `fraction` of its size each way, the
    border repeated.

    array: (batch, channels, height, width) float32, returned as it is when it has another rank or is tiny.
    """
    if array.ndim != 4 or array.dtype != np.float32 or min(array.shape[2:]) < _LEAST_SIZE:
        return array
    batch, _, height, width = array.shape
    rows = _positions(height, int(fraction * height), batch, rng)  # (batch, height)
    columns = _positions(width, int(fraction * width), batch, rng)  # (batch, width)
    sample = np.arange(batch)[:, None, None]
    moved = array.transpose(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]
    return np.ascontiguousarray(moved.transpose(0, 3, 1, 2))


def _positions(size: int, most: int, batch: int, rng: np.random.Generator) -> np.ndarray:
    offsets = rng.integers(-most, most + 1, (batch, 1))
    positions: np.ndarray = np.clip(np.arange(size)[None, :] + offsets, 0, size - 1)
    return positions

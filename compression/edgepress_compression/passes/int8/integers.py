"""Activations as integers: a scale, a zero point, and the type that a device's kernels want."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SCALE_MASK = np.uint32(0xFFFF0000)  # keeps 8 bits of a float32's significand
SMALLEST_SCALE = 1e-12


def short_scale(scale: np.ndarray) -> np.ndarray:
    """float32 with a significand of 8 bits, at most 0.2 % away: two of its bytes are 0, and of a product
    of two one.

    Integers are rounded with the short scale, so nothing is lost, and the artifact codes it in half the
    bytes.
    """
    bits = np.asarray(scale, dtype=np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x8000)) & SCALE_MASK
    return rounded.view(np.float32)


def _scalar(scale: float) -> np.float32:
    return np.float32(short_scale(np.array([scale]))[0])


@dataclass(frozen=True)
class Integers:
    """scale * (q - zero_point), q in low..high of the type."""

    scale: np.float32
    zero_point: int
    dtype: np.dtype[np.generic]  # uint8 or int8

    @classmethod
    def covering(cls, low: float, high: float, dtype: np.dtype[np.generic], symmetric: bool) -> Integers:
        """`symmetric`: zero point 0, which wastes half of the range of what is never negative."""
        limits = np.iinfo(dtype)  # type: ignore[type-var]
        if symmetric:
            return cls(_scalar(max(-low, high, SMALLEST_SCALE) / limits.max), 0, dtype)
        scale = _scalar(max((high - low) / (limits.max - limits.min), SMALLEST_SCALE))
        zero = round(float(limits.min - low / scale))
        return cls(scale, int(np.clip(zero, limits.min, limits.max)), dtype)

    @property
    def lowest(self) -> float:
        lowest: int = np.iinfo(self.dtype).min  # type: ignore[type-var]
        return float(self.scale) * (lowest - self.zero_point)

    @property
    def highest(self) -> float:
        highest: int = np.iinfo(self.dtype).max  # type: ignore[type-var]
        return float(self.scale) * (highest - self.zero_point)

"""How many bytes weights would take at their entropy: for the report's stages; the artifact is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgepress_compression.artifact.write import SharedWeights

_FP32_BITS = 32


def weight_bytes_estimate(weights: Mapping[str, np.ndarray], codes: Mapping[str, SharedWeights]) -> int:
    """A shared tensor: entropy of its indices, and its codebook. Others: what is zero, and 32 bits a rest."""
    bits = 0.0
    for name, array in weights.items():
        if name in codes:
            bits += index_bits(codes[name]) + _FP32_BITS * codes[name].codebook.size
        else:
            nonzero = int(np.count_nonzero(array))
            bits += entropy_bits([nonzero, array.size - nonzero]) + _FP32_BITS * nonzero
    return round(bits / 8)


def index_bits(code: SharedWeights) -> float:
    """Zero-order entropy of all indices of a tensor, in bits."""
    return entropy_bits(np.bincount(code.indices.reshape(-1)).tolist())


def entropy_bits(counts: Iterable[int]) -> float:
    """Bits that an ideal coder needs for symbols that occur so often."""
    n = np.array([count for count in counts if count > 0], np.float64)
    return float(-(n * np.log2(n / n.sum())).sum()) if n.size else 0.0


def nonzero_fraction(weights: Mapping[str, np.ndarray]) -> float:
    """Fraction 0..1 of all weights that are not zero."""
    total = sum(array.size for array in weights.values())
    return sum(int(np.count_nonzero(array)) for array in weights.values()) / max(1, total)

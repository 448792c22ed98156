"""How many bytes weights would take at their entropy: for the report's stages; the artifact is measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from edgepress_compression.artifact.codes import Codes, SharedWeights

_FP32_BITS = 32


def weight_bytes_estimate(weights: Mapping[str, np.ndarray], codes: Mapping[str, Codes]) -> int:
    """A coded tensor: entropy of its symbols, and its values. Others: what is zero, and 32 bits a rest."""
    bits = 0.0
    for name, array in weights.items():
        if name in codes:
            code = codes[name]
            values = code.codebook if isinstance(code, SharedWeights) else code.scales
            bits += index_bits(code) + _FP32_BITS * values.size
        else:
            nonzero = int(np.count_nonzero(array))
            bits += entropy_bits([nonzero, array.size - nonzero]) + _FP32_BITS * nonzero
    return round(bits / 8)


def index_bits(code: Codes) -> float:
    """Zero-order entropy of all symbols of a tensor, in bits."""
    symbols = code.indices if isinstance(code, SharedWeights) else code.coded()[0]
    return entropy_bits(np.unique(symbols, return_counts=True)[1].tolist())


def entropy_bits(counts: Iterable[int]) -> float:
    """Bits that an ideal coder needs for symbols that occur so often."""
    n = np.array([count for count in counts if count > 0], np.float64)
    return float(-(n * np.log2(n / n.sum())).sum()) if n.size else 0.0


def nonzero_fraction(weights: Mapping[str, np.ndarray]) -> float:
    """Fraction 0..1 of all weights that are not zero."""
    total = sum(array.size for array in weights.values())
    return sum(int(np.count_nonzero(array)) for array in weights.values()) / max(1, total)

"""Finds tensors whose values form a small set: one index an element and a sorted codebook say the same."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec.coder import Symbols, symbol_dtype

_SAMPLE: Final = 65_536  # elements looked at before all are sorted


def find_codebook(bits: NDArray[Any], as_values: str, limit: int) -> tuple[Symbols, NDArray[Any]] | None:
    """``bits`` (1-d, unsigned) as indices (n,) into a codebook (k,) of the same type, or None when k >
    ``limit``.

    The codebook ascends by value (``as_values`` names the numpy type that the bits mean), so that
    neighbours in it are about as frequent, which makes code tables small; "bfloat16" is the upper half of a
    float32. Told apart by bits: -0.0 and 0.0 are two values.
    """
    if len(bits) > _SAMPLE:
        sample = bits[:: len(bits) // _SAMPLE]
        if len(np.unique(sample)) > limit:
            return None
    found, indices = np.unique(bits, return_inverse=True)
    if len(found) > limit:
        return None
    is_half = as_values == "bfloat16"
    by_value = (found.astype("<u4") << 16).view("<f4") if is_half else found.view(as_values)
    order = np.lexsort((found, by_value))
    rank = np.empty(len(found), np.uint16)
    rank[order] = np.arange(len(found))
    return rank[indices].astype(symbol_dtype(len(found))), found[order]

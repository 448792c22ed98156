"""MatMulNBits' own format: blocks of 4-bit numbers, two a byte.

onnxruntime's contributed operator `com.microsoft.MatMulNBits` (its ContribOperators page): for a matrix of
(inputs K, outputs N) and blocks of b inputs

    B            uint8 (N, blocks, b / 2)        input 2j of a block in the low half, 2j + 1 in the high
    scales       float (N, blocks), flat
    zero_points  uint8 (N, ceil(blocks / 2)), flat, packed alike; absent: 8

and a weight is scale * (q - zero point). Inputs beyond K in the last block have q = zero point.
"""

from __future__ import annotations

import numpy as np

HALF = 8  # the zero point that goes without saying


def pack(numbers: np.ndarray, fill: np.ndarray | int = 0) -> np.ndarray:
    """(..., n) whole numbers 0..15 as uint8 (..., ceil(n / 2)); `fill` completes an odd last pair."""
    if numbers.shape[-1] % 2:
        last = np.broadcast_to(np.asarray(fill, numbers.dtype), numbers.shape[:-1])[..., None]
        numbers = np.concatenate([numbers, last], axis=-1)
    whole = numbers.astype(np.uint8)
    packed: np.ndarray = whole[..., 0::2] | (whole[..., 1::2] << 4)
    return packed


def unpack(packed: np.ndarray, count: int) -> np.ndarray:
    """The inverse of `pack`: uint8 (..., count)."""
    halves = np.stack([packed & 15, packed >> 4], axis=-1)  # (..., bytes, 2)
    return halves.reshape(*packed.shape[:-1], -1)[..., :count]


def pack_blocks(numbers: np.ndarray, zeros: np.ndarray, block: int) -> np.ndarray:
    """(N, K) whole numbers 0..15, zeros (N, blocks) -> B, uint8 (N, blocks, block / 2)."""
    outputs, inputs = numbers.shape
    blocks = zeros.shape[1]
    padded = np.repeat(zeros, block, axis=1).astype(np.uint8)  # (N, blocks * block)
    padded[:, :inputs] = numbers
    return pack(padded.reshape(outputs, blocks, block))

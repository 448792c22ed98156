"""Codes: what a pass knows about a tensor that makes it small. The writer checks each against the weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact.format import INTEGER_MAX, LEVELS_MAX
from edgepress_compression.codec.trellis import tangle
from edgepress_compression.errors import ArtifactError

# Products with a whole number stay normal: some processors (armv7's vector unit) take subnormals for zero.
SCALE_MIN: Final = 2.0**-126


@dataclass(frozen=True)
class SharedWeights:
    """A tensor as k values and one index an element.

    ``indices`` int32 with the tensor's shape, ``codebook`` float32 (k,): ``codebook[indices]`` equals the
    tensor bit for bit. The index of the value 0.0 marks pruned weights. ``ready`` holds payloads by the name
    of their coding that decode to exactly these indices: for a coding that is made with knowledge of its own.
    """

    indices: NDArray[np.int32]
    codebook: NDArray[np.float32]
    ready: Mapping[str, bytes] = field(default_factory=dict)

    def weights(self) -> NDArray[np.float32]:
        """The tensor. Raises ArtifactError when the codes cannot be."""
        if self.codebook.dtype != np.float32 or self.codebook.ndim != 1:
            raise ArtifactError("codes", "a codebook needs float32 values in one dimension")
        if self.indices.size and not (
            int(self.indices.min()) >= 0 and int(self.indices.max()) < len(self.codebook)
        ):
            raise ArtifactError("codes", "an index lies outside the codebook")
        values: NDArray[np.float32] = self.codebook[self.indices]
        return values


@dataclass(frozen=True)
class ScaledIntegers:
    """A tensor as whole numbers times a step: ``float32(float32(integer) * scale)``, one multiplication.

    ``integers`` int32 with the tensor's shape, at most 4096 from the lowest to the highest; ``scales``
    float32, one, or one for each index of ``axis``. ``trellis``: the integers follow codec/trellis.py along
    ``axis``, and the 4096 are of its symbols.
    """

    integers: NDArray[np.int32]
    scales: NDArray[np.float32]
    axis: int = 0
    trellis: bool = False

    def coded(self) -> tuple[NDArray[np.int32], int, int]:
        """(what is coded, the lowest of it, how many lie from the lowest to the highest)."""
        coded = self.integers
        if self.trellis:
            try:
                coded = tangle(self.integers, self.axis)
            except ValueError as error:
                raise ArtifactError("codes", f"the integers follow no trellis: {error}") from error
        lowest = int(coded.min())
        return coded, lowest, int(coded.max()) - lowest + 1

    def weights(self) -> NDArray[np.float32]:
        """The tensor. Raises ArtifactError when the codes cannot be."""
        shape, scales = self.integers.shape, self.scales
        if scales.dtype != np.float32 or scales.ndim != 1 or not 0 <= self.axis < len(shape):
            raise ArtifactError("codes", "scales need float32 values in one dimension, and an axis")
        if self.integers.size == 0 or len(scales) not in (1, shape[self.axis]):
            raise ArtifactError("codes", f"{len(scales)} scales for {list(shape)}, axis {self.axis}")
        _, lowest, count = self.coded()
        if abs(lowest) > INTEGER_MAX - count or count > LEVELS_MAX:
            raise ArtifactError(
                "codes", f"{count} whole numbers from {lowest}, at most {LEVELS_MAX} are possible"
            )
        usable = np.isfinite(scales) & ((scales == 0) | (np.abs(scales) >= np.float32(SCALE_MIN)))
        if not usable.all():
            raise ArtifactError("codes", "a scale is not finite, or too small to multiply exactly")
        sides = [1] * len(shape)
        if len(scales) > 1:
            sides[self.axis] = len(scales)
        return self.integers.astype(np.float32) * scales.reshape(sides)


Codes = SharedWeights | ScaledIntegers

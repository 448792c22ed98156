"""How finely a tensor is rounded when a bit has a price.

At high rates the best step of entropy-coded rounding balances h step^2 / 24 against -price log2 step (Gish
and Pierce 1968), h being the curvature of the loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress_compression.passes.layer_matrix import LayerMatrix

STEP_RATIO = (12.0 / np.log(2.0)) ** 0.5  # of the step to sqrt(price / curvature)
_FINEST = 1500.0  # steps to the largest weight: an artifact's alphabet has 4096
_SCALE_LEVELS = 2.0  # of a tensor's scales, an octave: few different ones cost few bytes
_SCALE_BITS = 6.0  # about what one more scale of a channel costs
_SCALE_OCTAVES = 6.0  # from the tensor's own, at most


@dataclass(frozen=True)
class Steepness:
    """Of one tensor."""

    outputs: np.ndarray  # (groups, outputs) curvature of a weight in the row of that output
    inputs: int
    largest: float  # weight, its magnitude

    def steps(self, price: float, per_channel: bool) -> np.ndarray:
        """(groups, outputs) float64 that float32 holds exactly. `per_channel`: a step for each output where
        that saves more bits than its scale takes."""
        mean = max(float(self.outputs.mean()), 1e-300)
        base = np.float32(max(STEP_RATIO * (price / mean) ** 0.5, self.largest / _FINEST, 1e-30))
        finer = 0.5 * np.log2(mean / np.maximum(self.outputs, 1e-300))  # octaves from the tensor's own step
        if not per_channel or float(finer.mean()) * self.inputs < _SCALE_BITS:
            return np.full(self.outputs.shape, float(base))
        octaves = np.clip(np.rint(finer * _SCALE_LEVELS) / _SCALE_LEVELS, -_SCALE_OCTAVES, _SCALE_OCTAVES)
        steps = base * np.exp2(octaves).astype(np.float32)
        finest = np.float32(max(self.largest / _FINEST, 1e-30))
        return np.asarray(np.maximum(steps, finest), np.float64)


def steepness(matrix: LayerMatrix) -> Steepness:
    """The curvature that remains when later weights make up for errors; its geometric mean over a row, since
    bits go with the logarithm of the step."""
    log_input = np.log(matrix.diagonal).mean(axis=2)  # (groups, 1)
    return Steepness(
        matrix.outputs * np.exp(log_input), matrix.rows.shape[2], float(np.abs(matrix.rows).max(initial=0.0))
    )

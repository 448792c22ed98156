"""Choosing the integers of a model's weights: the least harm to its answers for the bytes they will take.

One price (nats of harm a bit) holds for all tensors: then the last bit spent anywhere saves the same harm,
which is the best division of any budget (the slope criterion; Shoham and Gersho 1988). From the price come
the steps (steps.py) and the integers, each by cost (cost_rounding.py, trellis_rounding.py). Bits depend on
integers and integers on bits, so both are found in rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from edgepress_compression.artifact.codes import ScaledIntegers
from edgepress_compression.codec.trellis import tangle
from edgepress_compression.passes.curvature import Curvature
from edgepress_compression.passes.layer_matrix import LayerMatrix, layer_matrix, row_length
from edgepress_compression.passes.rate_distortion.cost_rounding import round_by_cost
from edgepress_compression.passes.rate_distortion.rate_model import fit_rate
from edgepress_compression.passes.rate_distortion.steps import steepness
from edgepress_compression.passes.rate_distortion.trellis_rounding import (
    FINENESS,
    LEAST_INPUTS,
    round_on_trellis,
)

# How much of the price counts when an integer is chosen. Not all: what smaller integers save makes all of
# a row smaller, layer after layer, which adds up in a way that no layer by itself sees. On SqueezeNet 1.1, at
# equal bytes and without training, divergence from the model's answers was lowest for 0 to 0.2;
# training afterwards (distillation) mends it, and may ask for more.
THRIFT = 0.1


@dataclass(frozen=True)
class ChosenIntegers:
    """`integers` int32 of the tensor's shape; a weight is float32(integer) * scale, one multiplication.

    `scales` float32: (1,), or one per index of `axis`. With `trellis` the integers follow that of
    codec/trellis.py along `axis`, and what is coded is `tangle(integers, axis)`. `bits` and `loss` (nats)
    are the rate model's and the curvature's estimates. `bias_gain` (outputs,) float32 is what the layer's
    bias should gain so that mean outputs stay, None where that is not known.
    """

    integers: np.ndarray
    scales: np.ndarray
    axis: int
    trellis: bool
    bits: float
    loss: float
    bias_gain: np.ndarray | None

    def code(self) -> ScaledIntegers:
        return ScaledIntegers(self.integers, self.scales, self.axis, self.trellis)

    def values(self) -> np.ndarray:
        """The weights, float32."""
        return self.code().weights()


def choose_integers(
    weights: Mapping[str, np.ndarray],
    curvature: Mapping[str, Curvature],
    price: float,
    *,
    scales: Mapping[str, np.ndarray] | None = None,
    per_channel: bool = False,
    trellis: bool = False,
    thrift: float = THRIFT,
    rounds: int = 2,
    progress: Callable[[float, str], None] = lambda fraction, message: None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> dict[str, ChosenIntegers]:
    """Integers by weight name. weights: fp32, any shape; `price` in nats a bit, higher is smaller.

    `scales` fixes those of the tensors that it names (shape (1,) or (outputs,)). With `per_channel` a tensor
    whose outputs matter very differently gets a scale for each, where that saves bits. With `trellis` a
    tensor with long rows takes its integers from two grids (codec/trellis.py): fewer bytes for the same harm.
    `thrift` (0..1) is how much of the price counts when an integer is chosen, and not only when the steps
    are. Bits and integers are found in `rounds`. Weights that are 0 stay 0.
    """
    chosen: dict[str, ChosenIntegers] = {}
    total = sum(array.size for array in weights.values())
    done = 0
    for name, array in weights.items():
        check_cancelled()
        progress(done / total, f"choosing integers of {name}")
        tangled = trellis and row_length(array, curvature[name]) >= LEAST_INPUTS
        matrix = layer_matrix(array, curvature[name], natural_order=tangled)
        fixed = None if scales is None else scales.get(name)
        if fixed is None:
            steps = steepness(matrix).steps(price, per_channel) * (FINENESS if tangled else 1.0)
        else:
            steps = np.broadcast_to(fixed.astype(np.float64), matrix.outputs.size)
            steps = steps.reshape(matrix.outputs.shape)
        chosen[name] = _choose(matrix, curvature[name], steps, max(price * thrift, 1e-30), rounds, tangled)
        done += array.size
    return chosen


def _choose(
    matrix: LayerMatrix,
    curvature: Curvature,
    steps: np.ndarray,
    price: float,
    rounds: int,
    trellis: bool,
) -> ChosenIntegers:
    outputs = matrix.outputs.size
    steps = steps.astype(np.float32).astype(np.float64)  # what is stored
    found = np.rint(matrix.rows / (steps * (2.0 if trellis else 1.0))[:, :, None]).astype(np.int32)
    symbols, loss = found, 0.0
    pruned = (matrix.rows == 0).reshape(outputs, -1)
    for _ in range(rounds):
        rate = fit_rate(symbols.reshape(outputs, -1)).forbidding(pruned)
        if trellis:
            rounded = round_on_trellis(matrix, steps, rate, price)
            found = rounded.integers
            symbols = tangle(found.reshape(outputs, -1), 0)
        else:
            rounded = round_by_cost(matrix, steps, rate, price)
            symbols = found = rounded.integers
        loss = rounded.loss
    one = bool((steps == steps.flat[0]).all())
    return ChosenIntegers(
        integers=matrix.tensor(found),
        scales=(steps.reshape(-1)[:1] if one else steps.reshape(-1)).astype(np.float32),
        axis=0 if matrix.rows_first else len(matrix.shape) - 1,
        trellis=trellis,
        bits=fit_rate(symbols.reshape(outputs, -1)).bits(symbols.reshape(outputs, -1)),
        loss=loss,
        bias_gain=bias_gain(matrix.rows - found * steps[:, :, None], curvature),
    )


def bias_gain(error: np.ndarray, curvature: Curvature) -> np.ndarray | None:
    """What outputs lose in the mean, (outputs,) float32. error: (groups, outputs, inputs), weights less what
    they became."""
    moments = curvature.moments
    if moments is None:
        return None
    means = (moments.sums.double() / moments.count).numpy()[:, None, :]  # (groups, 1, inputs)
    return np.asarray((error * means).sum(axis=2).reshape(-1), np.float32)

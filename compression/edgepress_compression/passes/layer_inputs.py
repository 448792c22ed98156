"""What goes into each layer: second moments of its inputs, for rounding that knows which errors matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.executor.operators import Call
from edgepress_compression.executor.windows import explicit_pads, pad, window
from edgepress_compression.training.loop import Fetch

_POSITIONS = 128  # of a picture, drawn at random: neighbours say nearly the same
_WIDEST = 4096  # inputs of one output; a wider layer's moments would take more memory than they are worth
_BATCH = 10
LAYERS = ("Conv", "Gemm", "MatMul")


@dataclass
class Moments:
    """Of the inputs x of one layer, group by group: sums over samples and positions."""

    products: Tensor  # (groups, inputs, inputs), sum of x x^T
    sums: Tensor  # (groups, inputs)
    count: int
    rows_first: bool  # whether the weight is (outputs, inputs...) and not (inputs, outputs)
    bias: str | None  # name of the value that is added to the outputs


@dataclass
class LayerInputs:
    """Collects moments while an executor runs: `executor(inputs, watch=collector)`."""

    weights: Sequence[str]
    seed: int
    moments: dict[str, Moments] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._wanted = set(self.weights)
        self._rng = np.random.default_rng(self.seed)

    def __call__(self, call: Call, names: Sequence[str], values: Sequence[Tensor | None]) -> None:
        if call.op_type not in LAYERS or names[1] not in self._wanted or names[0] in self._wanted:
            return
        found = layer_columns(call, values, self._rng)
        if found is None:
            return
        columns, rows_first = found
        products, sums = columns @ columns.transpose(1, 2), columns.sum(dim=2)
        old = self.moments.get(names[1])
        bias = names[2] if len(names) > 2 and names[2] else None
        if old is None:
            self.moments[names[1]] = Moments(products, sums, columns.shape[2], rows_first, bias)
        else:
            old.products += products
            old.sums += sums
            old.count += columns.shape[2]


def layer_columns(
    call: Call, values: Sequence[Tensor | None], rng: np.random.Generator
) -> tuple[Tensor, bool] | None:
    """What a layer's weight is multiplied with, (groups, inputs of one output, samples and positions), and
    whether the weight is (outputs, inputs...); None where the layer is not one of those that can be read so.

    Positions of pictures are drawn with `rng`.
    """
    x, weight = values[0], values[1]
    if x is None or weight is None:
        return None
    if call.op_type == "Conv":
        columns = _patches(call, x, weight, rng) if weight.ndim == 4 else None
        rows_first = True
    else:
        columns = _rows(x) if not call.get("transA", 0) and weight.ndim == 2 else None
        rows_first = bool(call.get("transB", 0))
    return None if columns is None or columns.shape[1] > _WIDEST else (columns, rows_first)


def _rows(x: Tensor) -> Tensor:
    """(..., inputs) -> (1, inputs, samples)"""
    return x.reshape(-1, x.shape[-1]).T.unsqueeze(0)


def _patches(call: Call, x: Tensor, weight: Tensor, rng: np.random.Generator) -> Tensor:
    """(batch, channels, height, width) -> (groups, inputs of one output, samples)"""
    kernel = weight.shape[2:]
    strides, dilations = window(call, kernel)
    begin, end = explicit_pads(call, x.shape[2:], kernel, strides, dilations)
    patches = F.unfold(pad(x, begin, end), tuple(kernel), tuple(dilations), 0, tuple(strides))
    chosen = rng.permutation(patches.shape[2])[:_POSITIONS]
    patches = patches[:, :, torch.from_numpy(np.sort(chosen))]  # (batch, channels * kernel, positions)
    flat = patches.permute(1, 0, 2).reshape(patches.shape[1], -1)
    groups = call.get("group", 1)
    return flat.reshape(groups, flat.shape[0] // groups, -1)


def layer_inputs(
    executor: Executor,
    fetch: Fetch,
    rows: np.ndarray,
    weights: Sequence[str],
    *,
    batch_size: int = _BATCH,
    seed: int,
    check_cancelled: Callable[[], None] = lambda: None,
) -> dict[str, Moments]:
    """Moments by weight name, of the layers among `weights` that are convolutions or matrix products."""
    collector = LayerInputs(weights, seed)
    with executor.deployed(), torch.no_grad():
        for start in range(0, len(rows), batch_size):
            check_cancelled()
            feed = fetch(rows[start : start + batch_size])
            executor({name: torch.from_numpy(array) for name, array in feed.items()}, watch=collector)
    return collector.moments

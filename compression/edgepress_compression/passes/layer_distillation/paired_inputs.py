"""What a layer gets in the original model, and what it gets in the compressed one, on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.executor.operators import Call
from edgepress_compression.passes.layer_inputs import LAYERS, layer_columns
from edgepress_compression.training.loop import Fetch


@dataclass
class PairedMoments:
    """Of a layer's inputs x (compressed) and t (original): sums over samples and positions, float64."""

    own: Tensor  # (groups, inputs, inputs), sum of x x^T
    cross: Tensor  # (groups, inputs, inputs), sum of t x^T
    own_sums: Tensor  # (groups, inputs), sum of x
    original_sums: Tensor  # (groups, inputs), sum of t
    count: int
    rows_first: bool
    bias: str | None  # name of what is added to the outputs

    def by_itself(self) -> PairedMoments:
        """As if the original layer got the same inputs."""
        return replace(self, cross=self.own, original_sums=self.own_sums)


class _EnoughError(Exception):
    """All layers asked for have been reached: what comes after them need not be computed."""


@dataclass
class _Columns:
    """Collects the inputs of some layers from one run of an executor."""

    wanted: Collection[str]
    seed: int

    def __post_init__(self) -> None:
        self.found: dict[str, tuple[Tensor, bool, str | None]] = {}
        self._met: set[str] = set()

    def __call__(self, call: Call, names: Sequence[str], values: Sequence[Tensor | None]) -> None:
        if call.op_type in LAYERS and names[1] in self.wanted and names[1] not in self._met:
            self._met.add(names[1])
            columns = layer_columns(call, values, np.random.default_rng(self.seed))
            if columns is not None:
                bias = names[2] if len(names) > 2 and names[2] else None
                self.found[names[1]] = (columns[0].double(), columns[1], bias)
        if len(self._met) == len(self.wanted):
            raise _EnoughError


def paired_inputs(
    original: Executor,
    compressed: Executor,
    fetch: Fetch,
    rows: np.ndarray,
    weights: Collection[str],
    *,
    batch_size: int,
    seed: int,
    check_cancelled: Callable[[], None] = lambda: None,
) -> dict[str, PairedMoments]:
    """By weight name, of those among `weights` whose layers can be read. Both models are looked at in the
    same positions, and run only as far as the last of these layers."""
    moments: dict[str, PairedMoments] = {}
    for start in range(0, len(rows), batch_size):
        check_cancelled()
        feed = {
            name: torch.from_numpy(array) for name, array in fetch(rows[start : start + batch_size]).items()
        }
        targets, inputs = (
            _look(executor, feed, weights, seed + start) for executor in (original, compressed)
        )
        for name, (x, rows_first, bias) in inputs.items():
            if name in targets and targets[name][0].shape == x.shape:
                _add(moments, name, targets[name][0], x, rows_first, bias)
    return moments


def _look(
    executor: Executor, feed: dict[str, Tensor], weights: Collection[str], seed: int
) -> dict[str, tuple[Tensor, bool, str | None]]:
    columns = _Columns(weights, seed)
    with executor.deployed(), torch.no_grad():
        try:
            executor(feed, watch=columns)
        except _EnoughError:
            pass  # the way to stop an executor early
    return columns.found


def _add(
    moments: dict[str, PairedMoments], name: str, t: Tensor, x: Tensor, rows_first: bool, bias: str | None
) -> None:
    own, cross = x @ x.transpose(1, 2), t @ x.transpose(1, 2)
    old = moments.get(name)
    if old is None:
        moments[name] = PairedMoments(own, cross, x.sum(2), t.sum(2), x.shape[2], rows_first, bias)
        return
    old.own += own
    old.cross += cross
    old.own_sums += x.sum(2)
    old.original_sums += t.sum(2)
    old.count += x.shape[2]

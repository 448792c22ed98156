"""What is pruned together: single weights, n of every m, blocks of the matrix, or rows.

A weight tensor is looked at as the matrix (outputs, inputs) that its layer multiplies by. Inputs of a
convolution are ordered (kernel row, kernel column, channel), channels innermost, as kernels for sparse
matrices read them, so n:m and blocks lie along channels (Mishra et al. 2021, section 4).

    weights   each by itself
    rows      all weights of an output
    n:m       in every m inputs of an output exactly n stay; of a last incomplete group its share, rounded up
    RxC       blocks of R outputs and C inputs; at the edges what is there of them
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Annotated

import msgspec
import onnx
import torch
from torch import Tensor

from edgepress_compression.graph.model import Graph, attributes

Granularity = Annotated[
    str, msgspec.Meta(pattern=r"^(weights|rows|[1-9][0-9]?:[1-9][0-9]?|[1-9][0-9]?x[1-9][0-9]?)\Z")
]


def pattern(granularity: str) -> tuple[int, int] | None:
    """(n, m) of an n:m pattern, else None."""
    found = re.fullmatch(r"(\d+):(\d+)", granularity)
    return (int(found[1]), int(found[2])) if found else None


@dataclass(frozen=True)
class Units:
    """The units of one weight tensor, (outputs, inputs...) with `rows_first`, else (inputs, outputs)."""

    shape: tuple[int, ...]
    rows_first: bool
    granularity: str

    def mask(self, scores: Tensor, sparsity: float) -> Tensor:
        """bool, True is kept: the units of lowest mean score go, in number nearest below `sparsity`.

        One unit at least stays. For n:m `sparsity` is how far the pattern has been reached: 0 keeps all,
        1 - n/m and more is the pattern itself.
        """
        matrix = self.matrix(scores)  # (outputs, inputs)
        n_m = pattern(self.granularity)
        if n_m is not None:
            return self.tensor(_n_of_m(matrix, *n_m, sparsity))
        unit_of, means, sizes = self._means(matrix)
        ascending = torch.argsort(means, stable=True)
        gone = torch.cumsum(sizes[ascending], 0) <= sparsity * scores.numel() + 1e-6
        gone[-1] = False
        kept = torch.ones(len(sizes), dtype=torch.bool)
        kept[ascending[gone]] = False
        return self.tensor(kept[unit_of])

    def means(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """(units,) float64 mean score of each unit, and (units,) int64 its weights. Not for n:m, whose units
        are chosen within groups."""
        return self._means(self.matrix(scores))[1:]

    def matrix(self, tensor: Tensor) -> Tensor:
        """(outputs, inputs), a convolution's channels innermost."""
        if tensor.ndim > 2:
            return tensor.movedim(1, -1).reshape(tensor.shape[0], -1)
        return tensor if self.rows_first else tensor.T

    def tensor(self, matrix: Tensor) -> Tensor:
        """The inverse of `matrix`."""
        if len(self.shape) > 2:
            inner = (self.shape[0], *self.shape[2:], self.shape[1])
            return matrix.reshape(inner).movedim(-1, 1).contiguous()
        return (matrix if self.rows_first else matrix.T).contiguous()

    def _means(self, matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        unit_of = self._unit_of(matrix)
        sizes = torch.bincount(unit_of.reshape(-1))
        sums = torch.zeros(len(sizes), dtype=torch.float64)
        sums.index_add_(0, unit_of.reshape(-1), matrix.reshape(-1).double())
        return unit_of, sums / sizes, sizes

    def _unit_of(self, matrix: Tensor) -> Tensor:
        """(outputs, inputs) int64: the number of the unit that each weight belongs to."""
        outputs, inputs = matrix.shape
        if self.granularity == "weights":
            return torch.arange(outputs * inputs).reshape(outputs, inputs)
        height, width = 1, inputs
        if self.granularity != "rows":
            height, width = (int(side) for side in self.granularity.split("x"))
        across = ceil(inputs / width)
        by_row = torch.arange(outputs)[:, None] // height
        return by_row * across + torch.arange(inputs)[None, :] // width


def _n_of_m(matrix: Tensor, n: int, m: int, sparsity: float) -> Tensor:
    """bool (outputs, inputs)"""
    outputs, inputs = matrix.shape
    keep = max(n, ceil(m * (1 - sparsity) - 1e-9))
    groups = ceil(inputs / m)
    filled = torch.full((outputs, groups * m), -torch.inf, dtype=torch.float64)
    filled[:, :inputs] = matrix.double()
    grouped = filled.reshape(outputs, groups, m)
    rank = torch.argsort(torch.argsort(grouped, dim=2, descending=True, stable=True), dim=2)
    allowed = torch.full((groups,), keep)
    allowed[-1] = ceil(keep * (inputs - (groups - 1) * m) / m)
    kept = rank < allowed[None, :, None]
    return kept.reshape(outputs, groups * m)[:, :inputs]


def units(graph: Graph, names: Sequence[str], granularity: str) -> dict[str, Units]:
    """By weight name."""
    users = graph.users()
    return {name: Units(graph.weights[name].shape, _rows_first(name, users), granularity) for name in names}


def _rows_first(name: str, users: Mapping[str, list[tuple[onnx.NodeProto, int]]]) -> bool:
    for node, position in users.get(name, []):
        if node.op_type == "Gemm" and position == 1:
            return bool(attributes(node).get("transB", 0))
        if node.op_type == "MatMul":
            return position == 0
        if node.op_type == "Identity":
            return _rows_first(node.output[0], users)
        if node.op_type == "Transpose":
            return not _rows_first(node.output[0], users)
    return True

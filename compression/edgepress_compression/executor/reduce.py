"""Reductions and orderings along axes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgepress_compression.executor.operators import Call, operator

_Reduction = Callable[[Tensor, tuple[int, ...], bool], Tensor]
_REDUCTIONS: dict[str, _Reduction] = {
    "ReduceMean": lambda x, dims, keep: x.mean(dim=dims, keepdim=keep),
    "ReduceSum": lambda x, dims, keep: x.sum(dim=dims, keepdim=keep, dtype=x.dtype),
    "ReduceMax": lambda x, dims, keep: x.amax(dim=dims, keepdim=keep),
    "ReduceMin": lambda x, dims, keep: x.amin(dim=dims, keepdim=keep),
    "ReduceL1": lambda x, dims, keep: x.abs().sum(dim=dims, keepdim=keep),
    "ReduceL2": lambda x, dims, keep: torch.linalg.vector_norm(x, dim=dims, keepdim=keep),
    "ReduceSumSquare": lambda x, dims, keep: x.square().sum(dim=dims, keepdim=keep, dtype=x.dtype),
    "ReduceLogSum": lambda x, dims, keep: x.sum(dim=dims, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, dims, keep: torch.logsumexp(x, dim=dims, keepdim=keep),
}


@operator(*_REDUCTIONS, "ReduceProd")
def reduction(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    dims = call.ints("axes", axes)
    if not dims:
        if call.get("noop_with_empty_axes", 0):
            return x
        dims = list(range(x.ndim))
    keep = bool(call.get("keepdims", 1))
    positive = tuple(d % x.ndim for d in dims)
    return (
        _product(x, positive, keep)
        if call.op_type == "ReduceProd"
        else _REDUCTIONS[call.op_type](x, positive, keep)
    )


@operator("ArgMax", "ArgMin")
def arg_extreme(call: Call, x: Tensor) -> Tensor:
    dim = int(call.get("axis", 0)) % x.ndim
    function = torch.argmax if call.op_type == "ArgMax" else torch.argmin
    if call.get("select_last_index", 0):
        index = x.shape[dim] - 1 - function(x.flip(dim), dim=dim, keepdim=True)
    else:
        index = function(x, dim=dim, keepdim=True)
    return index if call.get("keepdims", 1) else torch.squeeze(index, dim)


@operator("TopK")
def top_k(call: Call, x: Tensor, k: Tensor | None = None) -> tuple[Tensor, ...]:
    count = int(k.item()) if k is not None else int(call.get("k"))
    values, indices = torch.topk(x, count, dim=call.get("axis", -1), largest=bool(call.get("largest", 1)))
    return values, indices


@operator("CumSum")
def cumulative_sum(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    dim = int(axis.item())
    y = x.flip(dim) if call.get("reverse", 0) else x
    total = torch.cumsum(y, dim)
    if call.get("exclusive", 0):
        total = total - y
    return total.flip(dim) if call.get("reverse", 0) else total


def _product(x: Tensor, dims: tuple[int, ...], keep: bool) -> Tensor:
    for dim in sorted(dims, reverse=True):
        x = x.prod(dim=dim, keepdim=keep)
    return x

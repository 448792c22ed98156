"""Pad: what lies outside a tensor's border."""

from __future__ import annotations

import torch
from torch import Tensor

from edgepress_compression.executor.operators import Call, operator
from edgepress_compression.executor.windows import pad


@operator("Pad")
def pad_border(
    call: Call, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    amounts = call.ints("pads", pads) or []
    n = len(amounts) // 2
    dims = call.ints("axes", axes) or list(range(n))
    begin, end = [0] * x.ndim, [0] * x.ndim
    for i, dim in enumerate(dims):
        begin[dim], end[dim] = amounts[i], amounts[n + i]
    mode = call.get("mode", "constant")
    if mode == "constant":
        fill = call.get("value", 0.0) if value is None or value.numel() == 0 else value.item()
        return pad(x, begin, end, fill)
    for dim in range(x.ndim):
        if begin[dim] or end[dim]:
            positions = torch.arange(-begin[dim], x.shape[dim] + end[dim], device=x.device)
            x = x.index_select(dim, _inside(positions, x.shape[dim], mode))
    return x


def _inside(positions: Tensor, length: int, mode: str) -> Tensor:
    """Folds positions outside 0..length-1 back inside."""
    if mode == "edge":
        return positions.clamp(0, length - 1)
    if mode == "wrap":
        return positions % length
    period = max(1, 2 * (length - 1))  # reflect
    folded = positions % period
    return torch.where(folded >= length, period - folded, folded)

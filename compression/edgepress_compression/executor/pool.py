"""Poolings."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from edgepress_compression.errors import GraphError
from edgepress_compression.executor.operators import Call, operator
from edgepress_compression.executor.windows import ceil_extra, explicit_pads, pad, window

_MAX: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@operator("MaxPool")
def max_pool(call: Call, x: Tensor) -> Tensor:
    """x (batch, channels, *size) -> (batch, channels, *size)"""
    if call.outputs > 1:
        raise GraphError(
            "MaxPool with its second output (indices) cannot be trained; export the model without it."
        )
    kernel, strides, dilations, begin, end = _geometry(call, x)
    x = pad(x, begin, end, value=float("-inf"))
    return _MAX[len(kernel)](x, kernel, strides, 0, dilations)


@operator("AveragePool")
def average_pool(call: Call, x: Tensor) -> Tensor:
    """x (batch, channels, *size) -> (batch, channels, *size)"""
    kernel, strides, dilations, begin, end = _geometry(call, x)
    if not any(begin) and not any(end) and all(d == 1 for d in dilations):
        return _AVG[len(kernel)](x, kernel, strides)
    ones = torch.ones_like(x[:1, :1])
    if call.get("count_include_pad", 0):  # what ceil_mode appends is not counted, what `pads` names is
        named_begin, named_end = explicit_pads(call, x.shape[2:], kernel, strides, dilations)
        ones = pad(ones, named_begin, named_end, value=1.0)
        rest = [e - n for e, n in zip(end, named_end, strict=True)]
        ones = pad(ones, [0] * len(kernel), rest)
    else:
        ones = pad(ones, begin, end)
    total = _window_sum(pad(x, begin, end), kernel, strides, dilations)
    return total / _window_sum(ones, kernel, strides, dilations)


@operator("GlobalAveragePool")
def global_average_pool(call: Call, x: Tensor) -> Tensor:
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(call: Call, x: Tensor) -> Tensor:
    return x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)


def _geometry(call: Call, x: Tensor) -> tuple[list[int], list[int], list[int], list[int], list[int]]:
    kernel = call.ints("kernel_shape") or []
    if len(kernel) not in _MAX:
        raise GraphError(
            f"{call.op_type} over {len(kernel)} spatial dimensions cannot be trained; 1 to 3 can."
        )
    strides, dilations = window(call, kernel)
    size = x.shape[2:]
    begin, end = explicit_pads(call, size, kernel, strides, dilations)
    if call.get("ceil_mode", 0):
        reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilations, strict=True)]
        end = [
            end[i] + ceil_extra(size[i], reach[i], strides[i], begin[i], end[i]) for i in range(len(kernel))
        ]
    return kernel, strides, dilations, begin, end


def _window_sum(x: Tensor, kernel: list[int], strides: list[int], dilations: list[int]) -> Tensor:
    """Sum over each window, channel by channel."""
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[len(kernel)]
    batch, channels = x.shape[:2]
    ones = torch.ones((1, 1, *kernel), dtype=x.dtype, device=x.device)
    y = conv(x.reshape(batch * channels, 1, *x.shape[2:]), ones, None, strides, 0, dilations)
    return y.reshape(batch, channels, *y.shape[2:])

"""Convolutions in one, two or three dimensions."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from edgepress_compression.errors import GraphError
from edgepress_compression.executor.operators import Call, operator
from edgepress_compression.executor.windows import explicit_pads, pad, window

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


@operator("Conv")
def conv(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (batch, in, *size), weight (out, in / group, *kernel) -> (batch, out, *size)"""
    kernel = weight.shape[2:]
    function = _for_rank(_CONV, call, len(kernel))
    strides, dilations = window(call, kernel)
    begin, end = explicit_pads(call, x.shape[2:], kernel, strides, dilations)
    if begin != end or min(begin, default=0) < 0:
        x = pad(x, begin, end)
        begin = [0] * len(kernel)
    return function(x, weight, bias, strides, begin, dilations, call.get("group", 1))


@operator("ConvTranspose")
def conv_transpose(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (batch, in, *size), weight (in, out / group, *kernel) -> (batch, out, *size)"""
    kernel = weight.shape[2:]
    n = len(kernel)
    function = _for_rank(_TRANSPOSED, call, n)
    strides, dilations = window(call, kernel)
    extra = call.ints("output_padding") or [0] * n
    full = [
        (x.shape[2 + i] - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 + extra[i] for i in range(n)
    ]
    wanted = call.ints("output_shape")
    auto = call.get("auto_pad", "NOTSET")
    if wanted is None and auto.startswith("SAME"):
        wanted = [x.shape[2 + i] * strides[i] for i in range(n)]
    if wanted is not None:
        crop = [full[i] - wanted[i] for i in range(n)]
        begin = [c // 2 if auto == "SAME_UPPER" else c - c // 2 for c in crop]
        end = [c - b for c, b in zip(crop, begin, strict=True)]
    else:
        pads = call.ints("pads") or [0] * (2 * n)
        begin, end = pads[:n], pads[n:]
    # without padding torch gives every position that a kernel reaches; the rest is cropping, and adding zeros
    y = function(x, weight, None, strides, 0, 0, call.get("group", 1), dilations)
    y = pad(y, [-b for b in begin], [extra[i] - end[i] for i in range(n)])
    return y if bias is None else y + bias.reshape(1, -1, *[1] * n)


def _for_rank(table: dict[int, Callable[..., Tensor]], call: Call, rank: int) -> Callable[..., Tensor]:
    if rank not in table:
        raise GraphError(f"{call.op_type} over {rank} spatial dimensions cannot be trained; 1 to 3 can.")
    return table[rank]

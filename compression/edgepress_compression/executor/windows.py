"""Where the windows of convolutions and poolings lie: pads, auto_pad and ceil_mode as explicit numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from edgepress_compression.executor.operators import Call


def window(call: Call, kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """Strides and dilations, one per spatial dimension; ONNX leaves out ones."""
    ones = [1] * len(kernel)
    return call.ints("strides") or ones, call.ints("dilations") or ones


def explicit_pads(
    call: Call, size: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Padding before and after each spatial dimension."""
    auto = call.get("auto_pad", "NOTSET")
    n = len(kernel)
    if auto in ("NOTSET", "", "VALID"):
        pads = None if auto == "VALID" else call.ints("pads")
        pads = pads or [0] * (2 * n)
        return pads[:n], pads[n:]
    begin, end = [], []
    for i in range(n):
        out = -(-size[i] // strides[i])
        total = max(0, (out - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 - size[i])
        small = total // 2
        begin.append(total - small if auto == "SAME_LOWER" else small)
        end.append(small if auto == "SAME_LOWER" else total - small)
    return begin, end


def pad(x: Tensor, begin: Sequence[int], end: Sequence[int], value: float = 0.0) -> Tensor:
    """Pads (or with negative numbers crops) the last dimensions of `x`."""
    if not any(begin) and not any(end):
        return x
    flat = [amount for pair in zip(reversed(begin), reversed(end), strict=True) for amount in pair]
    return F.pad(x, flat, value=value)


def ceil_extra(size: int, kernel: int, stride: int, begin: int, end: int) -> int:
    """Padding to append so that a floor pooling yields the windows that `ceil_mode` asks for.

    The last window must begin inside the input or the padding before it (onnxruntime, and the specification
    since operator set 19).
    """
    room = size + begin + end - kernel
    count = -(-room // stride) + 1
    if (count - 1) * stride >= size + begin:
        count -= 1
    return max(0, (count - 1) * stride - room)

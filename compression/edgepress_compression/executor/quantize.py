"""Integers in a differentiable graph: rounding lets gradients through as if it were not there.

The straight-through estimator (Bengio et al. 2013) with the step size's own gradient (Esser et al. 2020,
"Learned Step Size Quantization", equation 3): inside the range rounding is taken for the identity, outside
of it nothing reaches the input. `FakeQuantize` is an operator of training graphs only (passes/int8/qat.py);
QuantizeLinear and DequantizeLinear are ONNX's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgepress_compression.executor.operators import Call, operator

FAKE_QUANTIZE_DOMAIN = "edgepress"


class _FakeQuantize(torch.autograd.Function):
    """(clamp(round(x / scale) + zero, low, high) - zero) * scale; scale and zero broadcast against x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor, low: int, high: int) -> Tensor:
        ratio = x / scale
        whole = torch.round(ratio)  # to even, as onnxruntime rounds
        clamped = torch.clamp(whole, low - zero, high - zero)
        inside = whole == clamped
        ctx.save_for_backward(torch.where(inside, whole - ratio, clamped), inside, scale)
        return clamped * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        slope, inside, scale = ctx.saved_tensors
        (gradient,) = gradients
        to_x = gradient * inside if ctx.needs_input_grad[0] else None
        to_scale = (gradient * slope).sum_to_size(scale.shape) if ctx.needs_input_grad[1] else None
        return to_x, to_scale, None, None, None


def fake_quantize(x: Tensor, scale: Tensor, zero: Tensor, low: int, high: int) -> Tensor:
    """x as floats that are whole numbers low..high less `zero`, times `scale`; of x's shape.

    `scale` (positive) and `zero` broadcast against x. Gradients reach x and scale, see the module.
    """
    # bfloat16, which training may compute in, is coarser than the integers
    result: Tensor = _FakeQuantize.apply(x.float(), scale, zero, low, high)  # type: ignore[no-untyped-call]
    return result


@operator("edgepress.FakeQuantize")
def fake_quantize_node(call: Call, x: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Attributes: low, high (integers of the type), axis (of a scale for each index)."""
    return fake_quantize(
        x, _along(scale, x, call), _along(zero, x, call), int(call.get("low")), int(call.get("high"))
    )


@operator("QuantizeLinear")
def quantize_linear(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Whole numbers as floats, so that gradients can pass; the next DequantizeLinear reads them so."""
    dtype = torch.uint8 if zero is None else zero.dtype
    limits = torch.iinfo(dtype)
    shift = torch.zeros(()) if zero is None else _along(zero, x, call).to(x.dtype)
    ratio = x / _along(scale, x, call)
    whole = ratio + (torch.round(ratio) - ratio).detach()
    return torch.clamp(whole + shift, limits.min, limits.max)


@operator("DequantizeLinear")
def dequantize_linear(call: Call, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    shifted = x.to(scale.dtype)
    if zero is not None:
        shifted = shifted - _along(zero, x, call).to(scale.dtype)
    return shifted * _along(scale, x, call)


@operator("DynamicQuantizeLinear")
def dynamic_quantize_linear(call: Call, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x -> (whole numbers 0..255 as floats, scale, zero point); the range is that of x and holds 0."""
    low, high = x.detach().min().clamp(max=0.0), x.detach().max().clamp(min=0.0)
    scale = (high - low) / 255
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    zero = torch.round(torch.clamp(-low / scale, 0, 255))
    ratio = x / scale
    whole = ratio + (torch.round(ratio) - ratio).detach()
    return torch.clamp(whole + zero, 0, 255), scale, zero.to(torch.uint8)


def _along(value: Tensor, x: Tensor, call: Call) -> Tensor:
    """A scale or zero point for each index of an axis, ready to broadcast against x."""
    if value.numel() <= 1:
        return value.reshape(())
    shape = [1] * x.ndim
    shape[int(call.get("axis", 1))] = -1
    return value.reshape(shape)


@operator("com.microsoft.MatMulNBits")
def matmul_4_bits(
    call: Call,
    a: Tensor,
    packed: Tensor,
    scales: Tensor,
    zero_points: Tensor | None = None,
    order: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """onnxruntime's product with 4-bit block weights; gradients reach a and the scales.

    Format: passes/weight_only/nibbles.py. Raises ValueError for what that does not know.
    """
    outputs, inputs, block = int(call.get("N")), int(call.get("K")), int(call.get("block_size"))
    if call.get("bits", 4) != 4 or order is not None:
        raise ValueError("only 4-bit weights in their own order are known")
    blocks = -(-inputs // block)
    whole = _halves(packed).reshape(outputs, blocks, block)
    if zero_points is None:
        zeros = torch.tensor(8)
    else:
        zeros = _halves(zero_points.reshape(outputs, -1))[:, :blocks].reshape(outputs, blocks, 1)
    weight = (whole - zeros).to(scales.dtype) * scales.reshape(outputs, blocks, 1)
    result = a @ weight.reshape(outputs, -1)[:, :inputs].T
    return result if bias is None else result + bias


def _halves(packed: Tensor) -> Tensor:
    """(..., n) bytes as (..., 2 n) whole numbers 0..15, the low half first."""
    return torch.stack([packed & 15, packed >> 4], dim=-1).reshape(*packed.shape[:-1], -1).to(torch.int32)

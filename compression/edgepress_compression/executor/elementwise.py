"""Arithmetic, comparison and logic, element by element with broadcasting."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from onnx import helper
from torch import Tensor

from edgepress_compression.executor.operators import OPERATORS, Call, operator

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Round": torch.round,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sqrt": torch.sqrt,
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}
_VARIADIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Max": torch.maximum,
    "Mean": torch.add,
    "Min": torch.minimum,
    "Sum": torch.add,
}


def _unary(function: Callable[[Tensor], Tensor]) -> Callable[[Call, Tensor], Tensor]:
    return lambda call, x: function(x)


def _binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Call, Tensor, Tensor], Tensor]:
    return lambda call, a, b: function(a, b)


OPERATORS.update({name: _unary(function) for name, function in _UNARY.items()})
OPERATORS.update({name: _binary(function) for name, function in _BINARY.items()})


@operator("Div")
def div(call: Call, a: Tensor, b: Tensor) -> Tensor:
    return torch.div(a, b) if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


@operator("Mod")
def mod(call: Call, a: Tensor, b: Tensor) -> Tensor:
    return torch.fmod(a, b) if call.get("fmod", 0) else torch.remainder(a, b)


@operator("Pow")
def power(call: Call, a: Tensor, b: Tensor) -> Tensor:
    if (
        b.numel() == 1 and not b.requires_grad
    ):  # a constant exponent: no logarithm of a negative base in the gradient
        return torch.pow(a, b.item()).to(a.dtype).expand(np.broadcast_shapes(a.shape, b.shape))
    return torch.pow(a, b).to(a.dtype)


@operator("Min", "Max", "Sum", "Mean")
def variadic(call: Call, *inputs: Tensor) -> Tensor:
    y = inputs[0]
    for x in inputs[1:]:
        y = _VARIADIC[call.op_type](y, x)
    return y / len(inputs) if call.op_type == "Mean" else y


@operator("Where")
def where(call: Call, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition, a, b)


@operator("Cast")
def cast(call: Call, x: Tensor) -> Tensor:
    return x.to(torch_dtype(helper.tensor_dtype_to_np_dtype(call.get("to"))))


@operator("CastLike")
def cast_like(call: Call, x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


def torch_dtype(dtype: np.dtype[np.generic]) -> torch.dtype:
    """What the executor computes a numpy dtype in: fp16 as fp32, so that gradients do not vanish."""
    if np.dtype(dtype) == np.float16:
        return torch.float32
    return torch.from_numpy(np.zeros(0, dtype)).dtype

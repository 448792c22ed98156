"""Resize and Upsample: nearest and linear interpolation, written as gathers, which differentiate exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from edgepress_compression.errors import GraphError
from edgepress_compression.executor.operators import Call, operator


@operator("Resize")
def resize(
    call: Call,
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    if call.opset < 11:  # the second input was `scales`, coordinates were asymmetric
        return _resize(call, x, roi, None, "asymmetric", "floor")
    if call.get("antialias", 0) or call.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise GraphError(
            "Resize with antialias or a kept aspect ratio cannot be trained; export the model without."
        )
    return _resize(
        call,
        x,
        scales,
        sizes,
        call.get("coordinate_transformation_mode", "half_pixel"),
        call.get("nearest_mode", "round_prefer_floor"),
    )


@operator("Upsample")
def upsample(call: Call, x: Tensor, scales: Tensor | None = None) -> Tensor:
    if scales is None:
        scales = torch.tensor(call.get("scales"))
    return _resize(call, x, scales, None, "asymmetric", "floor")


def _resize(
    call: Call, x: Tensor, scales: Tensor | None, sizes: Tensor | None, transform: str, nearest: str
) -> Tensor:
    dims = call.ints("axes") or list(range(x.ndim))
    mode = call.get("mode", "nearest")
    if mode not in ("nearest", "linear"):
        raise GraphError(f"Resize in mode {mode} cannot be trained; nearest and linear can.")
    if sizes is not None and sizes.numel():
        lengths = [int(v) for v in sizes.tolist()]
        factors = [lengths[i] / x.shape[d] for i, d in enumerate(dims)]
    elif scales is not None and scales.numel():
        factors = [float(v) for v in scales.tolist()]
        lengths = [int(x.shape[d] * factors[i]) for i, d in enumerate(dims)]
    else:
        raise GraphError("Resize has neither scales nor sizes; export the model again.")
    for i, dim in enumerate(dims):
        if lengths[i] == x.shape[dim] and factors[i] == 1.0:
            continue
        at = _coordinates(lengths[i], x.shape[dim], factors[i], transform).to(x.device)
        x = _nearest(x, dim, at, nearest) if mode == "nearest" else _linear(x, dim, at)
    return x


def _coordinates(length: int, old_length: int, scale: float, transform: str) -> Tensor:
    """Where in the input each output position lies (ONNX Resize, coordinate_transformation_mode)."""
    position = torch.arange(length, dtype=torch.float32)
    if transform == "asymmetric":
        return position / scale
    if transform == "align_corners":
        return position * ((old_length - 1) / (length - 1)) if length > 1 else torch.zeros(length)
    if transform == "pytorch_half_pixel" and length == 1:
        return torch.zeros(length)
    if transform in ("half_pixel", "pytorch_half_pixel"):
        return (position + 0.5) / scale - 0.5
    if transform == "half_pixel_symmetric":
        adjustment = length / (old_length * scale)
        return old_length / 2 * (1 - adjustment) + (position + 0.5) / scale - 0.5
    raise GraphError(f"Resize with coordinates {transform} cannot be trained.")


def _nearest(x: Tensor, dim: int, at: Tensor, nearest: str) -> Tensor:
    if nearest in ("floor", "ceil"):
        rounded = at.floor() if nearest == "floor" else at.ceil()
    else:
        rounded = (at - 0.5).ceil() if nearest == "round_prefer_floor" else (at + 0.5).floor()
    return x.index_select(dim, rounded.to(torch.int64).clamp(0, x.shape[dim] - 1))


def _linear(x: Tensor, dim: int, at: Tensor) -> Tensor:
    at = at.clamp(0, x.shape[dim] - 1)
    low = at.floor().to(torch.int64)
    high = (low + 1).clamp(max=x.shape[dim] - 1)
    weight = (at - low).reshape([-1 if d == dim else 1 for d in range(x.ndim)])
    return x.index_select(dim, low) * (1 - weight) + x.index_select(dim, high) * weight

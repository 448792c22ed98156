"""Normalizations. Batch statistics are those of the file; batch.py has the training mode."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgepress_compression.errors import GraphError
from edgepress_compression.executor.operators import Call, operator


@operator("BatchNormalization")
def batch_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    if call.get("training_mode", 0) or call.outputs > 1:
        raise GraphError("BatchNormalization is in training mode; export the model in evaluation mode.")
    # statistics are not learned, even where an Identity hides from the executor that they are ones
    mean, var = mean.detach(), var.detach()
    return F.batch_norm(x, mean, var, scale, bias, training=False, eps=call.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def instance_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return F.instance_norm(x, weight=scale, bias=bias, eps=call.get("epsilon", 1e-5))


@operator("LayerNormalization")
def layer_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> tuple[Tensor, ...]:
    dims = tuple(range(call.get("axis", -1) % x.ndim, x.ndim))
    mean = x.mean(dim=dims, keepdim=True)
    centred = x - mean
    inverse = torch.rsqrt(centred.square().mean(dim=dims, keepdim=True) + call.get("epsilon", 1e-5))
    y = centred * inverse * scale
    return (y if bias is None else y + bias, mean, inverse)[: call.outputs]


@operator("RMSNormalization", "SimplifiedLayerNormalization")
def rms_norm(call: Call, x: Tensor, scale: Tensor) -> Tensor:
    dims = tuple(range(call.get("axis", -1) % x.ndim, x.ndim))
    return x * torch.rsqrt(x.square().mean(dim=dims, keepdim=True) + call.get("epsilon", 1e-5)) * scale


@operator("GroupNormalization")
def group_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = call.get("num_groups")
    if call.opset < 21:  # scale and bias were one per group
        per_group = x.shape[1] // groups
        scale, bias = scale.repeat_interleave(per_group), bias.repeat_interleave(per_group)
    return F.group_norm(x, groups, scale, bias, call.get("epsilon", 1e-5))


@operator("LRN")
def local_response_norm(call: Call, x: Tensor) -> Tensor:
    return F.local_response_norm(
        x, call.get("size"), call.get("alpha", 1e-4), call.get("beta", 0.75), call.get("bias", 1.0)
    )


@operator("LpNormalization")
def lp_norm(call: Call, x: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(x, ord=call.get("p", 2), dim=call.get("axis", -1), keepdim=True)
    return x / norm

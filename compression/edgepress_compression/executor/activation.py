"""Activation functions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from edgepress_compression.executor.operators import Call, operator


@operator("Relu")
def relu(call: Call, x: Tensor) -> Tensor:
    return torch.relu(x)


@operator("LeakyRelu")
def leaky_relu(call: Call, x: Tensor) -> Tensor:
    return F.leaky_relu(x, call.get("alpha", 0.01))


@operator("PRelu")
def prelu(call: Call, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, slope * x, x)


@operator("ThresholdedRelu")
def thresholded_relu(call: Call, x: Tensor) -> Tensor:
    return torch.where(x > call.get("alpha", 1.0), x, torch.zeros_like(x))


@operator("Elu")
def elu(call: Call, x: Tensor) -> Tensor:
    return F.elu(x, call.get("alpha", 1.0))


@operator("Celu")
def celu(call: Call, x: Tensor) -> Tensor:
    return F.celu(x, call.get("alpha", 1.0))


@operator("Selu")
def selu(call: Call, x: Tensor) -> Tensor:
    alpha, gamma = float(call.get("alpha", 1.6732632)), float(call.get("gamma", 1.0507010))
    return gamma * F.elu(x, alpha)


@operator("Sigmoid")
def sigmoid(call: Call, x: Tensor) -> Tensor:
    return torch.sigmoid(x)


@operator("HardSigmoid")
def hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    return torch.clamp(call.get("alpha", 0.2) * x + call.get("beta", 0.5), 0.0, 1.0)


@operator("HardSwish")
def hard_swish(call: Call, x: Tensor) -> Tensor:
    return x * torch.clamp(x / 6 + 0.5, 0.0, 1.0)


@operator("Swish")
def swish(call: Call, x: Tensor) -> Tensor:
    return x * torch.sigmoid(call.get("alpha", 1.0) * x)


@operator("Mish")
def mish(call: Call, x: Tensor) -> Tensor:
    return F.mish(x)


@operator("Tanh")
def tanh(call: Call, x: Tensor) -> Tensor:
    return torch.tanh(x)


@operator("Softplus")
def softplus(call: Call, x: Tensor) -> Tensor:
    return F.softplus(x)


@operator("Softsign")
def softsign(call: Call, x: Tensor) -> Tensor:
    return F.softsign(x)


@operator("Gelu", "com.microsoft.Gelu")
def gelu(call: Call, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=call.get("approximate", "none"))


@operator("com.microsoft.QuickGelu")
def quick_gelu(call: Call, x: Tensor) -> Tensor:
    return x * torch.sigmoid(call.get("alpha", 1.702) * x)


@operator("Erf")
def erf(call: Call, x: Tensor) -> Tensor:
    return torch.erf(x)


@operator("Clip")
def clip(call: Call, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    if low is None and high is None:  # attributes until operator set 10
        return torch.clamp(x, call.get("min", -math.inf), call.get("max", math.inf))
    return torch.clamp(x, low, high)


@operator("Softmax", "LogSoftmax")
def softmax(call: Call, x: Tensor) -> Tensor:
    function = F.softmax if call.op_type == "Softmax" else F.log_softmax
    if call.opset >= 13:
        return function(x, dim=call.get("axis", -1))
    axis = call.get("axis", 1) % x.ndim  # until operator set 12: over all dimensions from `axis` on
    return function(x.flatten(start_dim=axis), dim=-1).reshape(x.shape)

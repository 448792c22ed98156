"""Matrix products."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from edgepress_compression.executor.operators import Call, operator


@operator("Gemm")
def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """alpha * a' @ b' + beta * c"""
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    a = a.T if call.get("transA", 0) else a  # (rows, inner)
    if alpha == 1.0 and beta == 1.0 and call.get("transB", 0) and (c is None or c.ndim == 1):
        return F.linear(a, b, c)
    b = b.T if call.get("transB", 0) else b  # (inner, columns)
    y = a @ b if alpha == 1.0 else alpha * (a @ b)
    if c is None or beta == 0.0:
        return y
    return y + (c if beta == 1.0 else beta * c)


@operator("MatMul")
def matmul(call: Call, a: Tensor, b: Tensor) -> Tensor:
    return torch.matmul(a, b)


@operator("Einsum")
def einsum(call: Call, *operands: Tensor) -> Tensor:
    return torch.einsum(call.get("equation"), *operands)

"""Operators that make numbers from attributes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.errors import GraphError
from edgepress_compression.executor.elementwise import torch_dtype
from edgepress_compression.executor.operators import Call, operator


def tensor_of(array: np.ndarray) -> Tensor:
    """The array as a tensor of the dtype that the executor computes in."""
    return torch.from_numpy(np.array(array)).to(torch_dtype(array.dtype))


@operator("Constant")
def constant(call: Call) -> Tensor:
    if "value" in call.attributes:
        return tensor_of(call.attributes["value"])
    for name, dtype in (("value_float", torch.float32), ("value_floats", torch.float32)):
        if name in call.attributes:
            return torch.tensor(call.attributes[name], dtype=dtype)
    for name in ("value_int", "value_ints"):
        if name in call.attributes:
            return torch.tensor(call.attributes[name], dtype=torch.int64)
    raise GraphError("A Constant holds strings or a sparse tensor; only dense numbers are supported.")


@operator("ConstantOfShape")
def constant_of_shape(call: Call, wanted: Tensor) -> Tensor:
    value = call.get("value")
    fill = torch.zeros(1) if value is None else tensor_of(np.asarray(value))
    return fill.to(wanted.device).reshape(()).expand(call.ints("shape", wanted) or []).clone()

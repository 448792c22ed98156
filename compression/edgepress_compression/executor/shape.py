"""Operators that move numbers without changing them: views, joins, cuts, and shape arithmetic."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor.operators import Call, operator


@operator("Identity", "Dropout")
def identity(call: Call, x: Tensor, *ignored: Tensor | None) -> Tensor | tuple[Tensor, ...]:
    """Dropout, too: the executor runs a model as it is deployed."""
    return x if call.outputs == 1 else (x, torch.ones_like(x, dtype=torch.bool))


@operator("Shape")
def shape(call: Call, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[call.get("start", 0) : call.get("end")], dtype=torch.int64)


@operator("Size")
def size(call: Call, x: Tensor) -> Tensor:
    return torch.tensor(x.numel(), dtype=torch.int64)


@operator("Reshape")
def reshape(call: Call, x: Tensor, wanted: Tensor | None = None) -> Tensor:
    dims = call.ints("shape", wanted) or []
    if not call.get("allowzero", 0):
        dims = [x.shape[i] if dim == 0 else dim for i, dim in enumerate(dims)]
    return x.reshape(dims)


@operator("Flatten")
def flatten(call: Call, x: Tensor) -> Tensor:
    axis = call.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operator("Transpose")
def transpose(call: Call, x: Tensor) -> Tensor:
    return x.permute(call.ints("perm") or list(range(x.ndim))[::-1])


@operator("Squeeze")
def squeeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    dims = call.ints("axes", axes)
    return x.squeeze() if dims is None else x.squeeze(tuple(dims))


@operator("Unsqueeze")
def unsqueeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    dims = call.ints("axes", axes) or []
    rank = x.ndim + len(dims)
    for dim in sorted(d % rank for d in dims):
        x = x.unsqueeze(dim)
    return x


@operator("Concat")
def concat(call: Call, *inputs: Tensor) -> Tensor:
    return torch.cat(inputs, dim=call.get("axis", 1))


@operator("Split")
def split(call: Call, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    dim = call.get("axis", 0)
    lengths = call.ints("split", sizes)
    if lengths is None:
        chunk = -(-x.shape[dim] // call.get("num_outputs", call.outputs))
        return torch.split(x, chunk, dim=dim)
    return torch.split(x, lengths, dim=dim)


@operator("Slice")
def cut(
    call: Call,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    first, last = call.ints("starts", starts) or [], call.ints("ends", ends) or []
    dims = call.ints("axes", axes) or list(range(len(first)))
    strides = call.ints("steps", steps) or [1] * len(first)
    for start, end, dim, step in zip(first, last, dims, strides, strict=True):
        length = x.shape[dim]
        # Python's slice clamps as ONNX asks, only "before the first" must be said with None when going
        # backwards
        stop = None if step < 0 and end < -length else end
        positions = range(length)[start:stop:step]
        if step > 0:
            index = [slice(None)] * x.ndim
            index[dim] = slice(positions.start, positions.stop, step)
            x = x[tuple(index)]
        else:
            x = x.index_select(dim, torch.tensor(list(positions), dtype=torch.int64, device=x.device))
    return x


@operator("Gather")
def gather(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    dim = call.get("axis", 0) % x.ndim
    length = x.shape[dim]
    index = torch.where(indices < 0, indices + length, indices)
    taken = x.index_select(dim, index.reshape(-1))
    return taken.reshape((*x.shape[:dim], *index.shape, *x.shape[dim + 1 :]))


@operator("GatherElements")
def gather_elements(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    dim = call.get("axis", 0)
    return torch.gather(x, dim, torch.where(indices < 0, indices + x.shape[dim], indices))


@operator("GatherND")
def gather_nd(call: Call, x: Tensor, indices: Tensor) -> Tensor:
    batch_dims = call.get("batch_dims", 0)
    batch = x.shape[:batch_dims]
    flat = x.reshape(-1, *x.shape[batch_dims:])  # (batch, *rest)
    index = indices.reshape(flat.shape[0], -1, indices.shape[-1])  # (batch, picks, depth)
    row = torch.arange(flat.shape[0], device=x.device).unsqueeze(-1)  # (batch, 1)
    picked = flat[(row, *(index[..., i] for i in range(index.shape[-1])))]
    return picked.reshape((*batch, *indices.shape[batch_dims:-1], *flat.shape[1 + index.shape[-1] :]))


@operator("ScatterND")
def scatter_nd(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    where = tuple(indices[..., i] for i in range(indices.shape[-1]))
    return x.clone().index_put(where, updates)


@operator("ScatterElements")
def scatter_elements(call: Call, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    dim = call.get("axis", 0)
    return x.scatter(dim, torch.where(indices < 0, indices + x.shape[dim], indices), updates)


@operator("Expand")
def expand(call: Call, x: Tensor, wanted: Tensor) -> Tensor:
    return x.expand(np.broadcast_shapes(x.shape, tuple(call.ints("shape", wanted) or [])))


@operator("Tile")
def tile(call: Call, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(call.ints("repeats", repeats) or [])


@operator("Range")
def arange(call: Call, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype, device=start.device)


@operator("OneHot")
def one_hot(call: Call, indices: Tensor, depth: Tensor, values: Tensor) -> Tensor:
    count = int(depth.item())
    axis = call.get("axis", -1)
    classes = torch.arange(count, device=indices.device)
    hot = (indices.to(torch.int64) % count).unsqueeze(-1) == classes  # (*indices, depth)
    return torch.where(hot, values[1], values[0]).movedim(-1, axis)


@operator("Trilu")
def trilu(call: Call, x: Tensor, k: Tensor | None = None) -> Tensor:
    diagonal = int(k.item()) if k is not None else 0
    return torch.triu(x, diagonal) if call.get("upper", 1) else torch.tril(x, diagonal)


@operator("DepthToSpace")
def depth_to_space(call: Call, x: Tensor) -> Tensor:
    b = call.get("blocksize")
    n, c, h, w = x.shape
    if call.get("mode", "DCR") == "DCR":
        y = x.reshape(n, b, b, c // (b * b), h, w).permute(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(n, c // (b * b), b, b, h, w).permute(0, 1, 4, 2, 5, 3)
    return y.reshape(n, c // (b * b), h * b, w * b)


@operator("SpaceToDepth")
def space_to_depth(call: Call, x: Tensor) -> Tensor:
    b = call.get("blocksize")
    n, c, h, w = x.shape
    return (
        x.reshape(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)
    )

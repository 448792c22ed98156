"""Training mode: batch normalization by the batch's own statistics, and dropout.

Exported models run as they are deployed, and so does the executor by default. In training mode (Ioffe and
Szegedy 2015, algorithm 1) the statistics of the file move: running * momentum + batch * (1 - momentum), with
the variance of the batch as it is, not corrected for its size (ONNX, BatchNormalization since set 14).
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepress_compression.executor.operators import Call
from edgepress_compression.training.parallel import drawn_for_all, sum_over_all


def batch_norm_in_training(
    call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """x (batch, channels, ...) -> (y, the moved mean (channels,), the moved variance (channels,))"""
    others = [dim for dim in range(x.ndim) if dim != 1]
    shape = [1, -1, *[1] * (x.ndim - 2)]
    wide = x.float()
    count = float(wide.numel() // wide.shape[1])
    sums = torch.cat([wide.sum(dim=others), wide.new_tensor([count])])
    sums = sum_over_all(sums)  # of all processes: parts of a batch are normalized alike
    batch_mean = sums[:-1] / sums[-1]
    squares = sum_over_all((wide - batch_mean.reshape(shape)).square().sum(dim=others))
    batch_var = squares / sums[-1]
    inverse = torch.rsqrt(batch_var + call.get("epsilon", 1e-5))
    y = (wide - batch_mean.reshape(shape)) * (inverse * scale).reshape(shape) + bias.reshape(shape)
    keep = call.get("momentum", 0.9)
    with torch.no_grad():
        moved_mean = keep * mean + (1 - keep) * batch_mean
        moved_var = keep * var + (1 - keep) * batch_var
    return y, moved_mean, moved_var


def dropout(
    call: Call, x: Tensor, ratio: Tensor | None = None, *ignored: Tensor | None, random: torch.Generator
) -> Tensor | tuple[Tensor, ...]:
    """Zeroes each value with probability `ratio` (0.5 where the node does not say) and scales the rest, so
    that the mean stays (Srivastava et al. 2014, section 4, as ONNX writes it)."""
    dropped = call.get("ratio", 0.5) if ratio is None else float(ratio.item())
    kept = (drawn_for_all(x.shape, random) >= dropped).to(x.device)
    y = torch.where(kept, x / (1 - dropped), torch.zeros_like(x)) if dropped < 1 else torch.zeros_like(x)
    return y if call.outputs == 1 else (y, kept)

"""Optimal Brain Damage: the loss that zeroing a weight adds, with the diagonal of the Hessian.

LeCun, Denker and Solla 1990, equation 5: s = h w^2 / 2. As they do, the Hessian is taken by Gauss-Newton
(their section 2.2 drops the second derivatives of the units), J^T H_L J with the Hessian H_L of the loss by
the outputs, which is never negative; for a network of rectifiers its diagonal is the exact one, since such a
network is linear in each single weight. Their backward recursion ignores terms between units; here
J^T S v is squared, with S S^T = H_L and random signs v, which is right in the mean (Hutchinson 1990), one
backward pass a sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgepress_compression.passes.pruning.saliency.gradients import Objective
from edgepress_compression.training.losses import Loss


def random_directions(loss: Loss, seed: int) -> Objective:
    """Of one sample: its squared gradients are the Hessian's diagonal in the mean, >= 0."""
    generator = torch.Generator().manual_seed(seed)

    def signs(like: Tensor) -> Tensor:
        return torch.randint(0, 2, like.shape, generator=generator).to(like.dtype) * 2 - 1

    def objective(outputs: dict[str, Tensor], labels: Tensor) -> Tensor:
        if loss.classification:
            logits = loss.logits(outputs[loss.output])  # (1, classes)
            direction = root_of_loss_hessian(logits.detach(), signs(logits))
            return (logits * direction).sum()
        spread = [out.detach().std(unbiased=False).clamp(min=1e-6) for out in outputs.values()]
        parts = [(out * signs(out)).sum() / by for out, by in zip(outputs.values(), spread, strict=True)]
        return torch.stack(parts).sum()

    return objective


def root_of_loss_hessian(logits: Tensor, v: Tensor) -> Tensor:
    """S v for each row: (n, classes), with S S^T = diag(p) - p p^T, the Hessian of cross-entropy by the
    logits, and S = diag(sqrt p) - p sqrt(p)^T."""
    p = logits.softmax(dim=-1)
    root = p.sqrt()
    return root * v - p * (root * v).sum(dim=-1, keepdim=True)

"""What survives a mask makes up for what went, exactly, output by output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_DAMPING = 0.01  # of the mean moment: rare inputs do not get wild weights
_CHUNK_NUMBERS = 8_000_000  # of the systems that are solved at once


def masked_refit(
    rows: Tensor, mask: Tensor, moments: Tensor, check_cancelled: Callable[[], None] = lambda: None
) -> Tensor:
    """(outputs, inputs): of all weights that are zero outside `mask`, those whose outputs are nearest to
    those of `rows` on inputs with second moments `moments` (inputs, inputs).

    For output o with survivors S: w_S = M[S, S]^-1 M[S, :] rows[o], which is Optimal Brain Surgeon's update
    (Hassibi and Stork 1993, equation 5) for all removed weights at once. Every output keeps as many.
    """
    outputs, inputs = rows.shape
    survivors = mask.sum(dim=1)
    kept = int(survivors.max())
    if int(survivors.min()) != kept or kept in (0, inputs):
        return rows * mask
    moments = moments.double()
    moments = moments + torch.eye(inputs, dtype=torch.float64) * (_DAMPING * float(moments.diagonal().mean()))
    wanted = rows.double() @ moments  # (outputs, inputs), M rows[o]
    refitted = torch.zeros_like(rows)
    chunk = max(1, _CHUNK_NUMBERS // (kept * kept))
    for start in range(0, outputs, chunk):
        check_cancelled()
        part = mask[start : start + chunk]
        index = part.nonzero()[:, 1].reshape(len(part), kept)  # (chunk, kept)
        systems = moments[index[:, :, None], index[:, None, :]].float()  # (chunk, kept, kept)
        targets = wanted[start : start + chunk].gather(1, index).float()
        factor = torch.linalg.cholesky(systems)
        solved = torch.cholesky_solve(targets.unsqueeze(2), factor).squeeze(2)
        refitted[start : start + chunk].scatter_(1, index, solved.to(rows.dtype))
    return refitted

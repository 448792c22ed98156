"""How many of each tensor's weights go, so that a fraction of all goes.

uniform      the same fraction of each tensor
global       those of least score, wherever they are
erdos-renyi  kept weights in proportion to the sum of a tensor's dimensions (Mocanu et al. 2018; with the
             kernel's, Evci et al. 2020, section 3): small tensors stay dense
sensitivity  by measured curves of loss against sparsity (sensitivity.py)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import torch
from torch import Tensor

from edgepress_compression.passes.pruning.granularity import Units

Distribution = Literal["uniform", "global", "erdos-renyi", "sensitivity"]
MOST: Final = 0.998  # of any tensor: a layer without weights passes nothing on


def global_threshold(
    scores: Mapping[str, Tensor], units: Mapping[str, Units], sparsity: float
) -> dict[str, float]:
    """Sparsity by name, so that the units of least score go, `sparsity` of all weights."""
    means, sizes, owner = [], [], []
    for number, (name, score) in enumerate(scores.items()):
        unit_means, unit_sizes = units[name].means(score)
        means.append(unit_means)
        sizes.append(unit_sizes)
        owner.append(torch.full_like(unit_sizes, number))
    ascending = torch.argsort(torch.cat(means), stable=True)
    size, who = torch.cat(sizes)[ascending], torch.cat(owner)[ascending]
    gone = torch.cumsum(size, 0) <= sparsity * float(size.sum()) + 1e-6
    lost = torch.bincount(who[gone], weights=size[gone].double(), minlength=len(scores))
    return {
        name: min(MOST, float(lost[number]) / score.numel())
        for number, (name, score) in enumerate(scores.items())
    }


def erdos_renyi(shapes: Mapping[str, Sequence[int]], sparsity: float) -> dict[str, float]:
    """Sparsity by name. Where a tensor would keep more than all it stays dense, and the others keep less."""
    count = {name: _product(shape) for name, shape in shapes.items()}
    raw = {name: sum(shape) / count[name] for name, shape in shapes.items()}
    dense: set[str] = set()
    while True:
        sparse = [name for name in shapes if name not in dense]
        kept = (1 - sparsity) * sum(count.values()) - sum(count[name] for name in dense)
        by = kept / max(1e-12, sum(raw[name] * count[name] for name in sparse))
        full = {name for name in sparse if by * raw[name] >= 1}
        if not full or by <= 0:
            break
        dense |= full
    return {name: 0.0 if name in dense else min(MOST, max(0.0, 1 - by * raw[name])) for name in shapes}


def _product(shape: Sequence[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total

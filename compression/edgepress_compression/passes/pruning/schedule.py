"""When how much is pruned."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["one-shot", "iterative", "gradual", "dense-sparse-dense"]


def cubic(target: float, done: float, *, start: float = 0.0) -> float:
    """Sparsity after the fraction `done` (0..1) of the ramp (Zhu and Gupta 2018, equation 1): fast at first,
    when many weights are redundant."""
    left = 1 - min(max(done, 0.0), 1.0)
    return target + (start - target) * left * left * left


def geometric(target: float, done: float) -> float:
    """Sparsity after the fraction `done` of the rounds, when each takes the same share of what is left
    (as iterative pruning does: Han et al. 2015; Frankle and Carbin 2019, section 1)."""
    return 1 - math.pow(1 - target, done)


def cosine(start: float, done: float) -> float:
    """Fraction that is dropped and grown anew after the fraction `done` of the updates (Evci et al. 2020,
    equation 1)."""
    return start / 2 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))

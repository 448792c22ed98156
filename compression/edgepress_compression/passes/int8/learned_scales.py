"""The constraint of quantization-aware training: scales move by their logarithm, zeros stay zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.passes.int8.integers import SMALLEST_SCALE, short_scale

# Steps that suit weights are too short for logarithms: with 2e-5 a scale would need 500 of them to change by
# a hundredth.
REACH = 30.0


class LearnedScales:
    """Weights as they are, scales as exp(REACH p): a step of the optimizer changes each by the same share.

    A scale takes the short values that are stored (integers.py) after each step. Weights of two or more
    dimensions that are 0 at the start stay 0: what was pruned stays pruned.
    """

    def __init__(
        self, executor: Executor, scales: Sequence[str], largest: Mapping[str, float], *, learn_scales: bool
    ) -> None:
        names = set(scales)
        self._weights = {name: p for name, p in executor.weights.items() if name not in names}
        self._scales = {name: executor.weights[name] for name in sorted(names)}
        self._logarithms = {
            name: (torch.log(p.detach().clamp(min=SMALLEST_SCALE)) / REACH).requires_grad_()
            for name, p in self._scales.items()
        }
        self._largest = dict(largest)
        self._learn_scales = learn_scales
        self._kept = {
            name: (p.detach() != 0)
            for name, p in self._weights.items()
            if p.ndim > 1 and bool((p == 0).any())
        }

    def parameters(self) -> Sequence[Tensor]:
        learned = list(self._logarithms.values()) if self._learn_scales else []
        return [*self._weights.values(), *learned]

    def begin(self, fraction: float, optimizer: torch.optim.Optimizer) -> None:
        """Nothing changes while it trains."""

    def resume_state(self) -> dict[str, Any]:
        """Nothing beside the parameters (training/checkpoint.py)."""
        return {}

    def resume_from(self, state: dict[str, Any]) -> None:
        """Nothing is remembered."""

    def collect(self) -> None:
        for name, kept in self._kept.items():
            gradient = self._weights[name].grad
            if gradient is not None:
                gradient.mul_(kept)
        for name, logarithm in self._logarithms.items():
            scale = self._scales[name]
            # d loss / d log s = s d loss / d s
            logarithm.grad = None if scale.grad is None else REACH * scale.grad * scale.detach()

    def apply(self) -> None:
        with torch.no_grad():
            for name, logarithm in self._logarithms.items():
                if name in self._largest:
                    logarithm.clamp_(max=float(np.log(self._largest[name])) / REACH)
                if self._learn_scales:
                    exact = (REACH * logarithm).exp().numpy()
                    self._scales[name].copy_(torch.from_numpy(np.asarray(short_scale(exact))))
            for name, kept in self._kept.items():
                self._weights[name].mul_(kept)

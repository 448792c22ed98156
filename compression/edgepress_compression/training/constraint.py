"""What keeps the weights in a form while they are trained, and the two plainest forms: free, and masked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from edgepress_compression.executor import Executor

Masks = dict[str, Tensor]  # bool by weight name, of its shape, True is kept


class Constraint(Protocol):
    """Keeps the weights in a form while they are trained."""

    def parameters(self) -> Sequence[Tensor]:
        """What the optimizer moves; their `grad` is read after `collect`."""

    def begin(self, fraction: float, optimizer: torch.optim.Adam) -> None:
        """Before a step, `fraction` (0..1) of the training done. (The optimizer may be another than Adam
        where the options say so: read its state with `get`.)"""

    def collect(self) -> None:
        """After the gradients of the executor's weights are known."""

    def apply(self) -> None:
        """After the optimizer's step: the executor's weights take the form again."""


@runtime_checkable
class Regularized(Protocol):
    """A constraint that also has a price, which is added to the loss of each step."""

    def penalty(self) -> Tensor:
        """A scalar in nats, with gradients."""


class Free:
    """No constraint: every weight is trained, but for those `fixed`."""

    def __init__(self, executor: Executor, fixed: Collection[str] = ()) -> None:
        self._trained = [weight for name, weight in executor.weights.items() if name not in fixed]

    def parameters(self) -> list[Tensor]:
        return list(self._trained)

    def begin(self, fraction: float, optimizer: torch.optim.Optimizer) -> None:
        """Nothing changes on the way."""

    def collect(self) -> None:
        """Gradients stay as they are."""

    def apply(self) -> None:
        """Weights stay as they are."""

    def resume_state(self) -> dict[str, Any]:
        """Nothing: it is made anew from the weights before the training (see checkpoint.py)."""
        return {}

    def resume_from(self, state: dict[str, Any]) -> None:
        """Nothing is remembered."""


class Masked(Free):
    """Weights outside their mask stay zero, and those `fixed` stay what they are."""

    def __init__(self, executor: Executor, masks: Mapping[str, Tensor], fixed: Collection[str] = ()) -> None:
        super().__init__(executor, fixed)
        self._executor = executor
        self.masks: Masks = {name: mask for name, mask in masks.items() if name not in fixed}
        self.apply()

    def sparsity(self) -> float:
        """Fraction of the masked tensors that is zero."""
        total = sum(mask.numel() for mask in self.masks.values())
        return 1.0 - sum(int(mask.sum()) for mask in self.masks.values()) / total if total else 0.0

    def apply(self) -> None:
        with torch.no_grad():
            for name, mask in self.masks.items():
                self._executor.weights[name].mul_(mask)

    def resume_state(self) -> dict[str, Any]:
        return {"masks": self.masks}

    def resume_from(self, state: dict[str, Any]) -> None:
        self.masks = dict(state["masks"])


def zeros_kept(executor: Executor, names: Collection[str], fixed: Collection[str] = ()) -> Masked:
    """The constraint under which what is zero now in these weights stays zero."""
    masks = {name: executor.weights[name].detach() != 0 for name in names if name in executor.weights}
    return Masked(executor, masks, fixed)

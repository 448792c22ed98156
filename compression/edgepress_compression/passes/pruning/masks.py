"""Constraints of pruned models while they are trained: what a mask hides stays zero."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.pruning.regrowth import Growth, drop_and_grow
from edgepress_compression.passes.pruning.schedule import cosine, cubic
from edgepress_compression.training.checkpoint import Resumable
from edgepress_compression.training.constraint import Masked, Masks

Reduce = Callable[[Masks, float, torch.optim.Optimizer], Masks]  # masks, sparsity -> masks of that sparsity


class Gradual(Masked):
    """Sparsity rises along a cubic in `rounds` over the first part `ramp` of the training.

    Held-out samples are asked after each round; when they lose too much, the round is taken back and the
    sparsity before it is kept.
    """

    def __init__(
        self,
        executor: Executor,
        names: Sequence[str],
        reduce: Reduce,
        *,
        sparsity: float,
        rounds: int,
        ramp: float,
        held_out: HeldOut | None = None,
    ) -> None:
        present = [name for name in names if name in executor.weights]
        super().__init__(
            executor, {name: torch.ones_like(executor.weights[name], dtype=torch.bool) for name in present}
        )
        self._reduce, self._target, self.rounds, self._ramp = reduce, sparsity, rounds, ramp
        self._held_out = held_out
        self.done = 0
        self.taken_back = False
        self._settled = False
        self._before_round: tuple[int, Masks, dict[str, Tensor]] | None = None  # rounds done, masks, snapshot

    def begin(self, fraction: float, optimizer: torch.optim.Optimizer) -> None:
        # one round of training comes before the first pruning, since importance may need gradients
        due = min(self.rounds + 1, int(fraction / self._ramp * (self.rounds + 1)))
        if self._settled or due <= self.done:
            return
        if not self._still_right():
            self._take_back()
            self._settled = self.taken_back = True
        elif self.done == self.rounds:
            self._settled = True
        else:
            self._before_round = (self.done, self.masks, snapshot(self._executor))
            self.done = min(due, self.rounds)
            self.masks = self._reduce(self.masks, cubic(self._target, self.done / self.rounds), optimizer)
            self.apply()

    def _still_right(self) -> bool:
        if self._held_out is None or self._before_round is None:
            return True
        return self._held_out.accepts(self._held_out.accuracy(self._executor))

    def _take_back(self) -> None:
        if self._before_round is not None:
            self.done, self.masks, saved = self._before_round
            restore(self._executor, saved)

    def resume_state(self) -> dict[str, Any]:
        reduce: object = self._reduce
        return {
            **super().resume_state(),
            "done": self.done,
            "taken_back": self.taken_back,
            "settled": self._settled,
            "before_round": None if self._before_round is None else list(self._before_round),
            "reduce": reduce.resume_state() if isinstance(reduce, Resumable) else {},
        }

    def resume_from(self, state: dict[str, Any]) -> None:
        super().resume_from(state)
        self.done, self.taken_back, self._settled = state["done"], state["taken_back"], state["settled"]
        before = state["before_round"]
        self._before_round = None if before is None else (before[0], before[1], before[2])
        reduce: object = self._reduce
        if isinstance(reduce, Resumable):
            reduce.resume_from(state["reduce"])


class Moving(Masked):
    """As many weights all the time, but not the same: `updates` times in the first part `until` of the
    training the smallest go and others grow where `growth` says (regrowth.py)."""

    def __init__(
        self,
        executor: Executor,
        masks: Mapping[str, Tensor],
        growth: Growth,
        *,
        drop: float,
        updates: int,
        until: float,
    ) -> None:
        super().__init__(executor, masks)
        self._growth, self._drop, self._updates, self._until = growth, drop, updates, until
        self.done = 0

    def begin(self, fraction: float, optimizer: torch.optim.Optimizer) -> None:
        due = min(self._updates, int(fraction / self._until * (self._updates + 1)))
        if due <= self.done or fraction >= self._until:
            return
        weights = {name: self._executor.weights[name] for name in self.masks}
        wanted = {name: wish(weight, optimizer, self._growth) for name, weight in weights.items()}
        self.masks = drop_and_grow(
            {name: weight.detach() for name, weight in weights.items()},
            self.masks,
            wanted,
            cosine(self._drop, self.done / self._updates),
            redistribute=self._growth == "momentum",
        )
        self.done = due
        self.apply()

    def resume_state(self) -> dict[str, Any]:
        return {**super().resume_state(), "done": self.done}

    def resume_from(self, state: dict[str, Any]) -> None:
        super().resume_from(state)
        self.done = state["done"]


def wish(weight: Tensor, optimizer: torch.optim.Optimizer, growth: Growth) -> Tensor:
    """How much a weight that is zero would be used: the size of its gradient in the step before, or of the
    mean of its gradients, which the optimizer keeps for masked weights as well."""
    found = weight.grad
    if growth == "momentum":
        kept = optimizer.state.get(weight, {})
        found = kept.get("exp_avg", kept.get("momentum_buffer", found))
    return torch.zeros_like(weight) if found is None else found.detach().abs()


def snapshot(executor: Executor) -> dict[str, Tensor]:
    """Weights, and the statistics of batch normalization, by name."""
    weights = {name: weight.detach().clone() for name, weight in executor.weights.items()}
    return weights | executor.statistics()


def restore(executor: Executor, saved: Mapping[str, Tensor]) -> None:
    """Back to what `snapshot` gave."""
    with torch.no_grad():
        for name, weight in executor.weights.items():
            weight.copy_(saved[name])
    executor.put_statistics({name: saved[name] for name in executor.statistics()})

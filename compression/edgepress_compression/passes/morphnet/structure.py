"""Structure learning: units shrink to nothing under a price for what they cost, the dearer the more.

The regularizer is G(theta) = sum over groups of C_g * sum over units of |norm| (Gordon et al. 2018,
equations 6 to 8): C_g is what one unit of group g costs at the widths that are alive now, in operations,
bytes, or microseconds of the device's roofline, so a filter that reads few living channels is cheap. The
paper tries several strengths of G and takes the one that meets the cost; here the strength follows the cost
of what is alive, step by step, so that the target is met in one training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor
from edgepress_compression.graph.channels import ChannelGroup
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.width_cost import WidthCost
from edgepress_compression.passes.morphnet.unit_norms import UnitNorms

_LOOKS = 60  # at what is alive, in one training
_RAMP = 0.85  # of the training, after which the target should be met
_RISE, _FALL = 1.25, 0.8  # of the strength, where too much or too little is alive
_FIRST_STRENGTH = 0.02  # nats for the whole model


@dataclass(frozen=True)
class Alive:
    """At one look."""

    fraction: float  # of the training
    cost: (
        float  # of what is alive, relative to the whole; a unit that has shrunk counts for what is left of it
    )
    strength: float


class StructureLearning:
    """The constraint (training/loop.py) under which a structure is learned."""

    def __init__(
        self,
        graph: Graph,
        executor: Executor,
        groups: Sequence[ChannelGroup],
        cost: WidthCost,
        *,
        target: float,
        threshold: float,
        strength: float | None = None,
    ) -> None:
        """`target`: cost of what is alive at the end, relative to now. `threshold`: a unit below that
        fraction of its group's mean norm at the start is dead. `strength` fixes the regularizer's weight."""
        self._executor, self._cost, self._target, self._threshold = executor, cost, target, threshold
        self.norms = {group.name: UnitNorms(graph, group, executor) for group in groups}
        self._own = {name: norm.values() for name, norm in self.norms.items()}  # of each unit, at the start
        self._first = {name: float(norms.mean()) for name, norms in self._own.items()}
        self._whole = cost.cost({})
        self._fixed = strength is not None
        self._strength = _FIRST_STRENGTH if strength is None else strength
        self._prices: dict[str, float] = {}
        self._look = 0
        self.seen: list[Alive] = []

    def alive(self) -> dict[str, np.ndarray]:
        """Group -> (units,) bool; the loudest unit of a group is never dead."""
        found = {}
        for name, norm in self.norms.items():
            values = norm.values()
            found[name] = (values > self._threshold * self._first[name]) | (values == values.max())
        return found

    def relative_cost(self, alive: dict[str, np.ndarray]) -> float:
        dropped = {name: float((~mask).sum()) for name, mask in alive.items()}
        return self._cost.cost(dropped) / self._whole

    def _shrunk_cost(self) -> float:
        """Relative cost, with each unit as wide as it is loud: it answers to the strength at once, while
        counting the dead would tell of too much strength when it is too late."""
        dropped = {}
        for name, norm in self.norms.items():
            left = norm.values() / np.maximum(self._own[name], 1e-30)
            dropped[name] = float((1.0 - np.minimum(left, 1.0)).sum())
        return self._cost.cost(dropped) / self._whole

    def parameters(self) -> list[Tensor]:
        return list(self._executor.weights.values())

    def begin(self, fraction: float, optimizer: torch.optim.Optimizer) -> None:
        if self._prices and fraction * _LOOKS < self._look:
            return
        self._look += 1
        cost = self._shrunk_cost()
        wanted = max(self._target, 1.0 - (1.0 - self._target) * fraction / _RAMP)
        if not self._fixed and self._prices:
            self._strength *= _RISE if cost > wanted else _FALL
        self.seen.append(Alive(fraction, cost, self._strength))
        dropped = {name: float((~mask).sum()) for name, mask in self.alive().items()}
        self._prices = {
            name: self._cost.saving(name, 1.0, dropped) / (self._whole * self._first[name])
            for name in self.norms
        }

    def penalty(self) -> Tensor:
        """The regularizer at its present strength, in nats."""
        total = torch.zeros(())
        for name, norm in self.norms.items():
            if self._prices.get(name):
                total = total + self._prices[name] * norm().sum()
        return self._strength * total

    def collect(self) -> None:
        """Gradients stay as they are."""

    def apply(self) -> None:
        """Weights are free: the regularizer does it all."""

    def resume_state(self) -> dict[str, Any]:
        """For checkpoints (training/checkpoint.py); what the weights were at the start is seen again."""
        return {
            "strength": self._strength,
            "look": self._look,
            "prices": self._prices,
            "seen": [[one.fraction, one.cost, one.strength] for one in self.seen],
        }

    def resume_from(self, state: dict[str, Any]) -> None:
        """Puts back what `resume_state` gave."""
        self._strength, self._look = state["strength"], state["look"]
        self._prices = dict(state["prices"])
        self.seen = [Alive(*one) for one in state["seen"]]

"""Ranks for all layers together: one price of a weight, and each layer takes the rank that is cheapest at it.

A rank that is given up costs error (in nats, see curvature.py) and saves weights or work. At a price p per
unit of cost a layer of ranks 1..n chooses argmin over r of error(r) + p * cost(r), or stays as it is
(error 0). Raising p lowers the total: bisection finds the smallest p whose total fits the budget. This is
the Lagrangian form of the greedy removal of the least useful singular value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_ROUNDS = 80


@dataclass(frozen=True)
class Ladder:
    """What the ranks 1..n of one layer cost."""

    errors: np.ndarray  # (n,) float64, falling, of rank 1..n
    costs: np.ndarray  # (n,) float64, rising
    whole: float  # cost of the layer as it is, with error 0

    def choose(self, price: float) -> int | None:
        """The best rank, or None: the layer stays as it is."""
        if not len(self.errors):
            return None
        totals = self.errors + price * self.costs
        best = int(np.argmin(totals))
        return best + 1 if totals[best] < price * self.whole else None

    def cost(self, rank: int | None) -> float:
        return self.whole if rank is None else float(self.costs[rank - 1])


def ranks_within(ladders: Mapping[str, Ladder], budget: float) -> dict[str, int | None]:
    """Ranks by layer, None for those that stay, with a total cost of at most `budget` where that can be
    reached; else the cheapest there are. Deterministic."""
    low, high = 1e-30, 1e30

    def ranks(price: float) -> dict[str, int | None]:
        return {name: ladder.choose(price) for name, ladder in ladders.items()}

    def total(price: float) -> float:
        return sum(ladders[name].cost(rank) for name, rank in ranks(price).items())

    if total(low) <= budget:
        return ranks(low)
    for _ in range(_ROUNDS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if total(middle) > budget else (low, middle)
    return ranks(high)


def rank_of_energy(energies: np.ndarray, share: float) -> int:
    """The least rank that keeps `share` of the sum of `energies` (n,), given falling."""
    total = float(energies.sum())
    if total <= 0:
        return 1
    return min(len(energies), int(np.searchsorted(np.cumsum(energies), share * total * (1 - 1e-12)) + 1))

"""The price at which an artifact has just the bytes that it may have: a search with few and dear questions.

Bytes fall with the price almost as a line falls with its logarithm: a doubled price makes steps 2^(1/2) times
as large, which saves half a bit a weight where rates are high, and less where they are low. So after two
answers the line through them says where to ask next.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from edgepress_compression.errors import RecipeError

SLACK = 0.003  # of the budget may be left
_QUESTIONS = 10
_OCTAVES = 4.0  # the farthest step of the search


@dataclass
class BudgetSearch:
    """Finds the lowest price at which `bytes_at(price) <= target_bytes`, all but for the slack.

    `lowest` and `highest` bound the prices that make sense. Raises RecipeError when even the highest takes
    more bytes than the target.
    """

    bytes_at: Callable[[float], int]
    target_bytes: int
    lowest: float
    highest: float
    asked: dict[float, int] = field(default_factory=dict)  # price -> bytes

    def run(self, start: float, bytes_per_octave: float) -> float:
        """The price; `start` is a guess, `bytes_per_octave` (> 0) what a doubled price may save."""
        price = min(max(start, self.lowest), self.highest)
        for _ in range(_QUESTIONS):
            if price not in self.asked:
                self.asked[price] = self.bytes_at(price)
            if self._done():
                break
            price = self._next(price, bytes_per_octave)
        if self._fitting() is None and self.highest not in self.asked:
            self.asked[self.highest] = self.bytes_at(self.highest)
        best = self._fitting()
        if best is None:
            least = min(self.asked.values())
            raise RecipeError(
                f"target_bytes = {self.target_bytes:,} cannot be reached: quantized as coarsely as makes "
                f"sense, this model still takes {least:,} bytes. Ask for at least that, or prune it first."
            )
        return best

    def _fitting(self) -> float | None:
        """The lowest price asked whose bytes fit."""
        return min((p for p, b in self.asked.items() if b <= self.target_bytes), default=None)

    def _done(self) -> bool:
        best = self._fitting()
        if best is None:
            return self.highest in self.asked
        return self.asked[best] >= (1 - SLACK) * self.target_bytes or best == self.lowest

    def _next(self, last: float, bytes_per_octave: float) -> float:
        aim = (1 - SLACK / 2) * self.target_bytes
        too_large = max((p for p, b in self.asked.items() if b > self.target_bytes), default=None)
        fitting = self._fitting()
        if too_large is not None and fitting is not None and too_large < fitting:
            share = (self.asked[too_large] - aim) / max(self.asked[too_large] - self.asked[fitting], 1)
            return float(too_large * (fitting / too_large) ** min(max(share, 0.02), 0.98))
        slope = self._slope(bytes_per_octave)
        octaves = min(max((self.asked[last] - aim) / slope, -_OCTAVES), _OCTAVES)
        return float(min(max(last * 2.0**octaves, self.lowest), self.highest))

    def _slope(self, assumed: float) -> float:
        """Bytes an octave, from the last two answers."""
        if len(self.asked) < 2:
            return assumed
        (p0, b0), (p1, b1) = list(self.asked.items())[-2:]
        seen = (b0 - b1) / math.log2(p1 / p0)
        return seen if seen > 0.1 * assumed else assumed

"""Which trial next: the model as it is, shipped recipes, one look at each parameter, then what promises most.

What promises most is the largest expected gain of the front for the time it is expected to take (improve.py)
by what the trials so far teach (surrogate.py). Trials that others are at count as if they had come out as
expected, so that workers do not all try the same. The choice follows from the trials and the seed alone: a
search that was interrupted goes on as it would have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np

from edgepress_compression.recipe import Recipe, load_recipe
from edgepress_compression.search.budget import Budget
from edgepress_compression.search.front import POINT, axes, limit, pareto, value
from edgepress_compression.search.improve import expected_improvement
from edgepress_compression.search.space import Point, Space
from edgepress_compression.search.surrogate import Belief, believe
from edgepress_compression.search.trial import Trial

CANDIDATES_MAX: Final = 4000
_FEW: Final = 3  # settled trials from which the surrogate says anything
_LOSS_MOST: Final = 0.10  # of interest, where the budget states no drop
_LOSS_BELOW: Final = 0.02  # a drop of less than nothing is luck, and of no more interest than this
_SMALL_LOSS: Final = 0.003
_SHARED: Final = 0.3  # of a drop's error: all trials see the same rows, so most of it is common to them
_LEAST_GAIN: Final = 1e-7


@dataclass(frozen=True)
class Start:
    """A trial that is made whatever the others say."""

    recipe: Recipe
    point: Point
    title: str
    reason: str


@dataclass(frozen=True)
class Proposer:
    space: Space
    budget: Budget
    starts: tuple[Start, ...]
    seed: int = 0

    def __call__(self, trials: Sequence[Trial]) -> Trial | None:
        """The next trial; None: everything has been tried."""
        if not trials:
            none = load_recipe("none")
            return _trial(
                0, Start(none, self.space.harmless, "the model as it is", "what drops are counted from")
            )
        tried = {_key(one.recipe) for one in trials}
        for start in self.starts:
            if _key(start.recipe.as_json()) not in tried:
                return _trial(len(trials), start)
        candidates = self._candidates(trials, tried)
        if not candidates:
            return None
        place, said = self._choose(trials, candidates)
        point = candidates[place]
        return _trial(len(trials), Start(self.space.recipe(point), point, self.space.words(point), said))

    def _candidates(self, trials: Sequence[Trial], tried: set[bytes]) -> list[Point]:
        rng = np.random.default_rng([self.seed, len(trials)])
        done = {tuple(one.point.values()) for one in trials if one.point}
        points = [one for one in self.space.points(rng) if tuple(one.values()) not in done]
        if len(points) > CANDIDATES_MAX:
            near = [
                moved
                for one in trials
                if one.point and one.state == "done"
                for moved in self.space.neighbours(one.point)
                if tuple(moved.values()) not in done
            ]
            chosen = rng.choice(len(points), CANDIDATES_MAX, replace=False)
            points = near + [points[place] for place in chosen]
        return [one for one in points if _key(self.space.recipe(one).as_json()) not in tried]

    def _choose(self, trials: Sequence[Trial], candidates: Sequence[Point]) -> tuple[int, str]:
        rng = np.random.default_rng([self.seed, len(trials), 1])
        table = _Table(self.space, self.budget, trials)
        if len(table.known) < _FEW:
            return int(rng.integers(len(candidates))), "a look around"
        asked = np.array([self.space.coordinates(one) for one in candidates])
        beliefs = [table.belief(axis, asked) for axis in table.axes]
        gains = expected_improvement(
            beliefs, table.front(), *table.box(beliefs), table.limits(), rng, table.bends
        )
        seconds = table.seconds(asked)
        if gains.max() <= _LEAST_GAIN:  # nothing promises anything: where least is known
            spread = sum(belief.deviation / max(belief.deviation.max(), 1e-12) for belief in beliefs)
            return int(np.argmax(np.asarray(spread))), "where least is known"
        place = int(np.argmax(gains / np.sqrt(seconds)))
        return place, table.words(place, beliefs)


class _Table:
    """The trials as the surrogate reads them. Costs: logarithms to base 2 of ratios to the original's."""

    def __init__(self, space: Space, budget: Budget, trials: Sequence[Trial]) -> None:
        self._space, self._budget = space, budget
        original = trials[0].figures
        having = [one for one in trials if one.point and one.state == "done" and one.figures is not None]
        having = [one for one in having if one.stage != "predicted"]
        self.axes = tuple(
            axis
            for axis in axes(budget)
            if having and all(value(one.figures, axis) is not None for one in having)
        )
        self._bases = {axis: value(original, axis) or 1.0 for axis in self.axes if axis != "loss"}
        self.known = having
        self._coordinates = np.array([space.coordinates(one.point) for one in having]).reshape(
            len(having), -1
        )
        self._values = {
            axis: np.array([self._number(axis, value(one.figures, axis) or 0.0) for one in having])
            for axis in self.axes
        }
        self.bends = [bend_loss if axis == "loss" else _straight for axis in self.axes]
        most = max((one.figures.samples or 0 for one in having if one.figures), default=0)
        self._whole = np.array(
            [(one.figures.samples or 0) == most for one in having if one.figures], dtype=bool
        )
        running = [one for one in trials if one.point and one.state == "running"]
        self._running = np.array([space.coordinates(one.point) for one in running]).reshape(
            len(running), len(space.parameters)
        )
        self._others = [
            [self._number(axis, value(one.figures, axis) or 0.0) for axis in self.axes]
            for one in trials
            if not one.point and one.state == "done" and one.stage != "predicted" and one.figures is not None
            and all(value(one.figures, axis) is not None for axis in self.axes)
            and (one.figures.samples or 0) == most
        ]  # fmt: skip

    def belief(self, axis: str, asked: np.ndarray) -> Belief:
        noise = np.full(len(self.known), 0.01)
        if axis == "loss":
            errors = [one.figures.loss_error if one.figures else None for one in self.known]
            raw = np.minimum(self._values[axis], 3 * self._loss_most())  # more is as bad
            values = bend_loss(raw)
            noise = np.array([_SHARED * (error or 0.005) for error in errors]) / np.hypot(raw, _SMALL_LOSS)
        else:
            values = self._values[axis]
        return believe(self._coordinates, values, noise, asked, rises=axis == "loss")

    def front(self) -> np.ndarray:
        """(M, axes) of the settled trials, and of running ones as they are expected to come out."""
        rows = np.column_stack([self._values[axis] for axis in self.axes])[self._whole]
        if self._others:
            rows = np.concatenate([rows, np.array(self._others)])
        if len(self._running):
            expected = [
                unbend_loss(mean) if axis == "loss" else mean
                for axis in self.axes
                for mean in [self.belief(axis, self._running).mean]
            ]
            rows = np.concatenate([rows, np.column_stack(expected)])
        return np.asarray(rows[pareto(rows)])

    def box(self, beliefs: Sequence[Belief]) -> tuple[np.ndarray, np.ndarray]:
        """(best, worst) figures of interest on each axis."""
        best, worst = [], []
        for axis, belief in zip(self.axes, beliefs, strict=True):
            if axis == "loss":
                best.append(-_LOSS_BELOW)
                worst.append(self._loss_most())
            else:
                lowest = min(float((belief.mean - belief.deviation).min()), float(self._values[axis].min()))
                best.append(lowest)
                worst.append(max(0.0, lowest + 0.1))
        return np.array(best), np.array(worst)

    def limits(self) -> np.ndarray:
        found = []
        for axis in self.axes:
            most = limit(self._budget, axis)
            found.append(math.inf if most is None else self._number(axis, most))
        return np.array(found)

    def seconds(self, asked: np.ndarray) -> np.ndarray:
        """(N,) that trials are expected to take."""
        taken = np.log2([max(one.seconds or 1.0, 0.01) for one in self.known])
        noise = np.full(len(taken), 0.3)
        return np.asarray(np.exp2(believe(self._coordinates, taken, noise, asked, rises=True).mean))

    def words(self, place: int, beliefs: Sequence[Belief]) -> str:
        said = []
        for axis, belief in zip(self.axes, beliefs, strict=True):
            mean = float(belief.mean[place])
            if axis == "loss":
                mean = float(unbend_loss(belief.mean[place]))
                said.append(f"{100 * mean:.1f} points lost")
            else:
                name = {"latency_us": "latency", "artifact_bytes": "size", "memory_bytes": "memory"}
                said.append(f"{100 * 2**mean:.0f} % of the {name.get(axis, 'energy')}")
        return "expected: " + ", ".join(said)

    def _loss_most(self) -> float:
        drop = self._budget.max_drop
        return _LOSS_MOST if drop is None else max(3 * drop, 2 * POINT)

    def _number(self, axis: str, found: float) -> float:
        if axis == "loss":
            return found
        return math.log2(max(found, 1e-9) / self._bases[axis])


def bend_loss(loss: np.ndarray) -> np.ndarray:
    """Losses grow by factors with each step of a parameter: believed in logarithms, around nothing lost in
    lines."""
    return np.asarray(np.arcsinh(loss / _SMALL_LOSS))


def unbend_loss(bent: np.ndarray) -> np.ndarray:
    return np.asarray(_SMALL_LOSS * np.sinh(bent))


def _straight(values: np.ndarray) -> np.ndarray:
    return values


def _trial(number: int, start: Start) -> Trial:
    return Trial(
        number=number,
        recipe=start.recipe.as_json(),
        point=start.point,
        title=start.title,
        reason=start.reason,
    )


def _key(recipe: dict[str, Any]) -> bytes:
    """Recipes that do the same have the same."""
    return msgspec.json.encode([recipe.get("coding", "auto"), recipe.get("passes", [])], order="sorted")

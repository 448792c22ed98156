"""Which trials leave nothing to be wished for by the others, how much a front covers, and what is best.

Every axis is a figure of which less is better: the drop of accuracy, latency, bytes, memory, energy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from edgepress_compression.search.budget import Budget, megabytes, milliseconds
from edgepress_compression.search.trial import Figures, Trial

COSTS: Final = ("latency_us", "artifact_bytes", "memory_bytes", "energy_mj")
ALWAYS: Final = ("latency_us", "artifact_bytes")  # of the costs, those that a front has in any case
POINT: Final = 0.01
# A point of accuracy weighs as much as a cost that is halved, where a budget allows one point.
_LEAST_SCALE: Final = 0.005

_NAMES: Final = {
    "loss": "drop of accuracy", "latency_us": "latency", "artifact_bytes": "size",
    "memory_bytes": "memory", "energy_mj": "energy",
}  # fmt: skip


def axes(budget: Budget) -> tuple[str, ...]:
    """What a search for this budget compares trials by."""
    asked = tuple(cost for cost in COSTS if cost in ALWAYS or getattr(budget, cost) is not None)
    return ("loss", *asked)


def value(figures: Figures | None, axis: str) -> float | None:
    if figures is None:
        return None
    found = figures.loss if axis == "loss" else getattr(figures, axis)
    return None if found is None else float(found)


def limit(budget: Budget, axis: str) -> float | None:
    found = budget.max_drop if axis == "loss" else getattr(budget, axis)
    return None if found is None else float(found)


def settled(trials: Sequence[Trial]) -> list[Trial]:
    """Those whose figures are whole: looked at on all rows, not only predicted."""
    done = [one for one in trials if one.state == "done" and one.stage != "predicted" and one.figures]
    most = max((one.figures.samples or 0 for one in done if one.figures), default=0)
    return [one for one in done if one.figures and (one.figures.samples or 0) == most]


def pareto(points: np.ndarray) -> np.ndarray:
    """points (N, axes), less is better -> (N,) bool: not dominated. Of equal points the first."""
    kept = np.ones(len(points), dtype=bool)
    for row, point in enumerate(points):
        no_worse = (points <= point).all(axis=1)
        better = no_worse & (points < point).any(axis=1)
        earlier = no_worse & (points == point).all(axis=1)
        kept[row] = not better.any() and not earlier[:row].any()
    return kept


def front(trials: Sequence[Trial], budget: Budget) -> list[Trial]:
    """Of the settled trials, by latency. An axis that one of them has no figure for is left out."""
    whole = settled(trials)
    shared = [axis for axis in axes(budget) if all(value(one.figures, axis) is not None for one in whole)]
    if not whole or not shared:
        return []
    points = np.array([[value(one.figures, axis) for axis in shared] for one in whole], np.float64)
    chosen = [one for one, kept in zip(whole, pareto(points), strict=True) if kept]
    return sorted(chosen, key=lambda one: (value(one.figures, "latency_us") or 0.0, one.number))


def hypervolume(points: np.ndarray, reference: np.ndarray) -> float:
    """Volume that points (N, axes), less is better, dominate within the box that ends at `reference`.

    By slices along the last axis (While et al. 2006, "A Faster Algorithm for Calculating Hypervolume").
    """
    inside = points[(points < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    inside = inside[pareto(inside)]
    if inside.shape[1] == 1:
        return float(reference[0] - inside.min())
    if inside.shape[1] == 2:
        ordered = inside[np.argsort(inside[:, 0])]
        tops = np.concatenate([[reference[1]], ordered[:-1, 1]])
        return float(((reference[0] - ordered[:, 0]) * (tops - ordered[:, 1])).sum())
    ordered = inside[np.argsort(inside[:, -1])]
    ends = np.append(ordered[1:, -1], reference[-1])
    total = 0.0
    for count, (start, end) in enumerate(zip(ordered[:, -1], ends, strict=True), start=1):
        if end > start:
            total += float(end - start) * hypervolume(ordered[:count, :-1], reference[:-1])
    return total


def within(figures: Figures | None, budget: Budget) -> bool | None:
    """Whether every limit is met; None where a figure that is limited is not known."""
    known = True
    for axis in ("loss", *COSTS):
        most = limit(budget, axis)
        if most is None:
            continue
        found = value(figures, axis)
        if found is None:
            known = False
        elif found > most:
            return False
    return True if known else None


def excess(figures: Figures, budget: Budget) -> float:
    """How far beyond its budget: halvings that costs lack, and the drop beyond what is allowed in units of
    it (of half a point at least). 0: within."""
    total = 0.0
    for axis in ("loss", *COSTS):
        most, found = limit(budget, axis), value(figures, axis)
        if most is None or found is None or found <= most:
            continue
        total += (found - most) / max(most, _LEAST_SCALE) if axis == "loss" else math.log2(found / most)
    return total


def best(trials: Sequence[Trial], original: Figures, budget: Budget) -> Trial | None:
    """Of the front's trials within the budget: the most halvings of its costs for the least drop."""
    return next(iter(ranked(trials, original, budget)), None)


def ranked(trials: Sequence[Trial], original: Figures, budget: Budget) -> list[Trial]:
    """The front's trials within the budget, best first; those that a device was asked about before others."""
    able = [one for one in front(trials, budget) if one.figures and within(one.figures, budget)]
    return sorted(
        able, key=lambda one: (one.stage != "measured", _score(one.figures, original, budget), one.number)
    )


def nearest(trials: Sequence[Trial], budget: Budget) -> Trial | None:
    """The settled trial that misses the budget least."""
    known = [one for one in front(trials, budget) if one.figures]
    return min(known, key=lambda one: (excess(one.figures or Figures(), budget), one.number), default=None)


def _score(figures: Figures | None, original: Figures, budget: Budget) -> float:
    if figures is None:
        return math.inf
    total = 0.0
    for cost in axes(budget)[1:]:
        now, before = value(figures, cost), value(original, cost)
        if now and before:
            total += math.log2(now / before)
    loss = figures.loss
    if loss is not None:
        total += max(loss, 0.0) / max(budget.max_drop or POINT, _LEAST_SCALE)
        total += _doubt(loss, figures.loss_error, budget.max_drop)
    return total


def _doubt(loss: float, error: float | None, most: float | None) -> float:
    """Halvings of the probability that the drop is allowed: a gain at the edge is worth little."""
    if most is None or not error:
        return 0.0
    sure = 0.5 * (1 + math.erf((most - loss) / (error * math.sqrt(2))))
    return -math.log2(max(sure, 1e-6))


def blocked(trials: Sequence[Trial], budget: Budget) -> list[str]:
    """Why no settled trial is within the budget, one sentence for each limit that stands in the way."""
    known = [one for one in settled(trials) if one.figures]
    said = []
    for axis in ("loss", *COSTS):
        most = limit(budget, axis)
        having = [one for one in known if value(one.figures, axis) is not None]
        if most is None or axis == "loss":
            continue
        if not having:
            said.append(f"The {_NAMES[axis]} of no trial is known, so its limit cannot be checked.")
            continue
        least = min(having, key=lambda one: value(one.figures, axis) or 0.0)
        others = _without(budget, axis)
        able = [one for one in having if within(one.figures, others)]
        if (value(least.figures, axis) or 0.0) <= most and any(
            within(one.figures, budget) is not False for one in able
        ):
            continue  # some trial meets it together with all the others: nothing is in the way
        sentence = f"The smallest {_NAMES[axis]} found is {_said(least, axis)} ({_words(least)})"
        if (drop := _drop_words(least)) is not None:
            sentence += f", at {drop}"
        if not _is_empty(others):
            if able:
                smallest = min(able, key=lambda one: value(one.figures, axis) or 0.0)
                if smallest is not least:
                    sentence += (
                        f"; within {others.words()} it is {_said(smallest, axis)} ({_words(smallest)})"
                    )
            else:
                sentence += f"; nothing is within {others.words()}"
        said.append(f"{sentence}. The budget asks for {_limit_words(budget, axis)}.")
    if not said and budget.max_drop is not None and known:
        having = [one for one in known if value(one.figures, "loss") is not None]
        if not having:
            said.append(
                "The accuracy of no trial is known (no data set was given), so its drop cannot be checked."
            )
        elif (least := min(having, key=lambda one: value(one.figures, "loss") or 0.0)).figures is not None:
            said.append(
                f"The least drop found is {_drop_words(least)} ({_words(least)}). The budget asks for "
                f"{Budget(max_drop=budget.max_drop).words()}."
            )
    return said


def _without(budget: Budget, axis: str) -> Budget:
    kept = {name: getattr(budget, name) for name in (*COSTS, "max_drop") if name != axis}
    return Budget(**kept)


def _is_empty(budget: Budget) -> bool:
    return budget.empty


def _said(trial: Trial, axis: str) -> str:
    found = value(trial.figures, axis) or 0.0
    if axis == "latency_us":
        return milliseconds(found)
    return f"{found:.3g} mJ" if axis == "energy_mj" else megabytes(found)


def _limit_words(budget: Budget, axis: str) -> str:
    return Budget(**{axis: getattr(budget, axis)}).words()


def _words(trial: Trial) -> str:
    return trial.title or str(trial.recipe.get("name", "a recipe"))


def _drop_words(trial: Trial) -> str | None:
    loss = value(trial.figures, "loss")
    return None if loss is None else f"{max(100 * loss, 0.0):.1f} points lost"

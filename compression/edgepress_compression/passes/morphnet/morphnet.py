"""MorphNet: shrink under a price for resources, see which units live, widen what lives to the budget, train.

Gordon, Eban, Nachum, Chen, Wu, Yang, Choi 2018, MorphNet: Fast & Simple Resource-Constrained Structure
Learning of Deep Networks (CVPR), algorithm 1:

    structure.py    1. train under the regularizer: units that are not worth their price die
                    2. the learned structure: how many units of each group are alive
    expand.py       3. all widths times the largest factor that the budget allows
                    4. train the result (here from the weights at hand; the paper starts anew)

The price is that of operations, of weights' bytes, or of the device's time (roofline), so that different
devices get different structures from the same network.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.channels import ChannelGroup, channel_groups
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.width_cost import CostKind, WidthCost
from edgepress_compression.passes.calibration_rows import calibration_rows
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.morphnet.expand import expanded_widths, revive, widened
from edgepress_compression.passes.morphnet.structure import StructureLearning
from edgepress_compression.passes.pruning.channels import cut_and_fit, free_groups
from edgepress_compression.passes.pruning.channels_choose import choose_units, least_units, reachable
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import TrainingData, training_data
from edgepress_compression.passes.tune import Count, Fraction, Positive, Training, planned_steps, tune
from edgepress_compression.training.constraint import Free
from edgepress_compression.training.loop import Teacher

Share = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]


class Options(Training, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is paid for, how far the network shrinks, and how wide it may grow again."""

    cost: CostKind = "flops"  # flops | bytes (of weights) | latency (roofline of the profile)
    target: Share = 0.5  # of the cost, alive when the structure is learned
    budget: Annotated[float, msgspec.Meta(gt=0.0, le=8.0)] = 0.6  # of the cost, when widened
    threshold: Share = 0.1  # of its group's mean norm at the start, under which a unit is dead
    strength: Positive | None = None  # of the regularizer, in nats; none: as the target needs
    structure_share: Fraction = 0.35  # of the steps, to learn the structure
    least_kept: Share = 0.05  # of every group
    multiple: Count = 1  # widths become multiples of it: 8 suits integer kernels
    refit_samples: Annotated[int, msgspec.Meta(ge=8, le=100_000)] = 256
    most_lost_points: Positive = 8.0  # on held-out samples; more is told
    learning_rate: Positive = 1e-3
    warm_up: Fraction = 0.05  # at the full rate a network that was just fitted loses what the fit gave
    most_gmacs: Positive = 60_000.0


def run(state: PassState, options: Options) -> None:
    """Gives `state.graph` a learned structure. RecipeError without labels."""
    if state.codes:
        raise RecipeError(
            "A structure is learned before weights are coded: put morphnet before what quantizes."
        )
    if options.budget < options.target:
        raise RecipeError(
            f"morphnet widens from target = {options.target:g} to budget = {options.budget:g} of the cost, "
            "so the budget must be at least the target."
        )
    data = training_data(state, most_gmacs=options.most_gmacs) if state.dataset is not None else None
    if data is None or data.kind != "labels":
        raise RecipeError(
            "morphnet learns a structure by training, which takes labelled samples: at least 500, and 20 for "
            "each class, in a split named train. Give a data set that has them (docs/datasets.md), or take "
            "the recipe structured-pruning, which can do without."
        )
    groups = free_groups(state.graph)
    if not groups:
        state.warn("No channels of this model can be cut, so there is no structure to learn; it stays.")
        return
    started = time.monotonic()
    teacher = Teacher(Executor(state.original), data.split)
    held_out = HeldOut(Executor(state.graph), data, state.graph.outputs[0].name, options.most_lost_points)
    before = state.graph.copy()
    cost = WidthCost(state.graph, groups, options.cost, state.profile)
    whole = cost.cost({})
    least = least_units(groups, options.least_kept)
    target, floor = reachable(groups, cost, options.target, least=least)
    if target > 1.001 * options.target * whole:
        state.warn(
            f"target = {options.target:g} cannot be met: with {options.least_kept:.0%} of every group the "
            f"model still has {floor / whole:.0%} of its {options.cost}. {target / whole:.0%} was taken."
        )
    budget = options.budget * whole
    if options.budget < 1:
        budget, _ = reachable(groups, cost, options.budget, least=least)
    norms, alive = _learn(state, options, groups, data, teacher, cost, target / whole)
    _expand(state, options, groups, before, norms, alive, cost, budget, started)
    started = time.monotonic()
    rest = 1 - options.structure_share
    training = msgspec.structs.replace(options, steps=max(1, int(options.steps * rest)))
    steps = planned_steps(state, data, training)
    executor = Executor(state.graph)
    tune(
        state, executor, data, Free(executor), training, label="training the structure", seed=1,
        teacher=teacher, part=(options.structure_share, rest),
    )  # fmt: skip
    executor.write_back(state.graph)
    accuracy = held_out.accuracy(executor)
    if not held_out.accepts(accuracy):
        state.warn(
            f"After structure learning, accuracy on held-out samples is {accuracy:.1%}: more than "
            f"{options.most_lost_points:g} points are lost. Allow more (target, budget) or train longer "
            "(steps)."
        )
    state.add_stage(f"train the structure, {steps} steps", started, accuracy=accuracy)


def _learn(
    state: PassState,
    options: Options,
    groups: Sequence[ChannelGroup],
    data: TrainingData,
    teacher: Teacher,
    cost: WidthCost,
    target: float,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Trains `state.graph` under the regularizer; (norms relative to their mean, what is alive) by group."""
    executor = Executor(state.graph)
    structure = StructureLearning(
        state.graph, executor, groups, cost,
        target=target, threshold=options.threshold, strength=options.strength,
    )  # fmt: skip
    training = msgspec.structs.replace(options, steps=max(1, int(options.steps * options.structure_share)))
    tune(
        state, executor, data, structure, training,
        label=lambda: f"learning the structure, {structure.seen[-1].cost:.0%} of the cost alive",
        hold=1.0, teacher=teacher, part=(0.0, options.structure_share),
    )  # fmt: skip
    executor.write_back(state.graph)
    alive = structure.alive()
    reached = structure.relative_cost(alive)
    values = {name: norm.values() for name, norm in structure.norms.items()}
    norms = {name: norm / max(float(norm.mean()), 1e-30) for name, norm in values.items()}
    if options.strength is None and reached > 1.1 * target:
        state.warn(
            f"Structure learning left {reached:.0%} of the {options.cost} alive, not {target:.0%}; "
            "the quietest units went as well. With more steps, or a larger structure_share, they die by "
            "themselves."
        )
    if options.strength is None and reached > target:
        squares = {name: np.where(alive[name], norms[name] ** 2, 0.0) for name in norms}
        chosen = choose_units(
            groups, squares, cost, target * cost.cost({}), least=least_units(groups, options.least_kept)
        )
        alive = {name: alive[name] & chosen.get(name, alive[name]) for name in alive}
    return norms, alive


def _expand(
    state: PassState,
    options: Options,
    groups: Sequence[ChannelGroup],
    before: Graph,
    norms: Mapping[str, np.ndarray],
    alive: Mapping[str, np.ndarray],
    cost: WidthCost,
    budget: float,
    started: float,
) -> None:
    """Cuts what is dead, and widens what is alive to the budget."""
    counts = {
        group.name: max(int(alive[group.name].sum()), int(np.ceil(options.least_kept * group.units)))
        for group in groups
    }
    omega, widths = expanded_widths(groups, counts, cost, budget, multiple=options.multiple)
    loudness = {group.name: norms[group.name] + 1e6 * alive[group.name] for group in groups}
    kept = {}
    for group in groups:
        mask = np.zeros(group.units, bool)
        mask[np.argsort(-loudness[group.name], kind="stable")[: widths[group.name]]] = True
        kept[group.name] = mask
    known = channel_groups(state.graph)
    kept = known.refilled(kept, loudness, multiple=options.multiple)
    revived = {name: mask & ~alive[name] for name, mask in kept.items()}
    extra = {group.name: widths[group.name] - group.units for group in groups}
    revive(state.graph, before, groups, revived)
    rows = calibration_rows(state, options.refit_samples)
    fitted = cut_and_fit(state, groups, known, kept, rows, options.refit_samples)
    now = {group.name: group for group in free_groups(state.graph)}
    state.graph, added = widened(state.graph, list(now.values()), extra, seed=state.seed)
    structure = {
        group.name: {
            "before": group.units,
            "alive": int(alive[group.name].sum()),
            "after": int(kept[group.name].sum()) + added.get(group.name, 0),
        }
        for group in groups
    }
    detail: dict[str, Any] = {
        "filters": [{"group": n, "alive": one["alive"], "of": one["before"]} for n, one in structure.items()],
        "structure": structure,
        "omega": omega,
    }
    dead = sum(one["before"] - one["alive"] for one in structure.values())
    note = (
        f"{dead} of {sum(one['before'] for one in structure.values())} units died; widths times {omega:.2f}"
    )
    state.add_stage("learn the structure", started, note=f"{note}; {fitted} layers refitted", detail=detail)

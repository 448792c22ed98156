"""Channel pruning: whole filters, features and attention heads go, with everything that belongs to them.

What is cut is gone from the file: every runtime gets faster, and nothing needs sparse arithmetic.

    graph/channels        which channels must go together, and the cut itself
    channels_score.py     what each unit is worth: Fisher information of a gate, Taylor, or magnitude
    channels_choose.py    the least worth for the most cost saved, until the target is met
    channels_refit.py     what is left is fitted by least squares to what was there

In rounds (Molchanov et al. 2017, section 2): score, cut, refit, train; each round trains a smaller network
than the one before. With labels, samples that are held out are asked after each round, and a round that loses
too much is taken back. Without data only the smallest go.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import numpy as np

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.channels import ChannelGroup, ChannelGroups, channel_groups, cut
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.width_cost import CostKind, WidthCost
from edgepress_compression.passes.calibration_rows import CalibrationRows, calibration_rows
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.pruning.channels_answers import train_by_answers
from edgepress_compression.passes.pruning.channels_choose import choose_units, least_units, reachable
from edgepress_compression.passes.pruning.channels_refit import refit
from edgepress_compression.passes.pruning.channels_score import Saliency, gate_scores, magnitude_scores
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import TrainingData, batch_limit, training_data
from edgepress_compression.passes.tune import Count, Fraction, Positive, Training, planned_steps, tune
from edgepress_compression.training.constraint import Free
from edgepress_compression.training.loop import Teacher
from edgepress_compression.training.losses import loss_for

Kept = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Samples = Annotated[int, msgspec.Meta(ge=8, le=100_000)]


class Options(Training, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much is kept, of which cost, and how the way there is trained."""

    target: Kept = 0.5  # of the cost, with labels to train on
    light_target: Kept = 0.85  # with inputs only
    blind_target: Kept = 0.95  # without data
    cost: CostKind = "flops"  # flops | bytes (of weights) | latency (roofline of the profile)
    saliency: Saliency = "fisher"  # without data: magnitude
    rounds: Count = 4
    round_share: Fraction = 0.5  # of the steps, in the rounds; the rest follows the last
    least_kept: Kept = 0.1  # of every group
    multiple: Count = 1  # widths that are cut become multiples of it: 8 suits integer kernels
    samples: Samples = 512  # to score by
    refit_samples: Samples = 256  # to fit layers by
    # On held-out samples, after a round. The original may have learned them by heart: then some of what it
    # knows about them, and nothing else, is lost as soon as others are trained on.
    most_lost_points: Positive = 8.0
    light_steps: Count = 200  # with inputs only, at most
    light_rate: Positive = 1e-4  # learning rate there
    learning_rate: Positive = 1e-3
    warm_up: Fraction = 0.05  # at the full rate a network that was just fitted loses what the fit gave
    most_gmacs: Positive = 60_000.0


def run(state: PassState, options: Options) -> None:
    """Cuts channels of `state.graph`. Raises RecipeError after a pass that chose weights' codes."""
    if state.codes:
        raise RecipeError(
            "Channels are cut before weights are coded: put prune-channels before the passes that quantize."
        )
    if not free_groups(state.graph):
        state.warn("No channels of this model can be cut; it stays as it is.")
        return
    if state.dataset is None:
        _shrink(state, options, *_reachable(state, options, options.blind_target), None, time.monotonic())
        return
    data = training_data(state, most_gmacs=options.most_gmacs)
    rows = calibration_rows(state, max(options.samples, options.refit_samples))
    if data is None or rows is None or data.kind == "answers":
        _untrained(state, options, data, rows)
    else:
        _trained(state, options, data, rows)


def _untrained(
    state: PassState, options: Options, data: TrainingData | None, rows: CalibrationRows | None
) -> None:
    """One cut; then the answers of the original, where there are inputs to ask it."""
    started = time.monotonic()
    _shrink(state, options, *_reachable(state, options, options.light_target), rows, started)
    if data is not None:
        training = msgspec.structs.replace(
            options, steps=min(options.steps, options.light_steps), learning_rate=options.light_rate
        )
        train_by_answers(state, data, training, part=(0.5, 0.5))


def _trained(state: PassState, options: Options, data: TrainingData, rows: CalibrationRows) -> None:
    output = state.graph.outputs[0].name
    held_out = HeldOut(Executor(state.graph), data, output, options.most_lost_points)
    teacher = Teacher(Executor(state.original), data.split)
    whole = WidthCost(state.graph, (), options.cost, state.profile).cost({})
    share = options.round_share / options.rounds
    target, least = _reachable(state, options, options.target)
    for number in range(1, options.rounds + 1):
        started, before = time.monotonic(), state.graph
        _shrink(
            state, options, target ** (number / options.rounds), least, rows, started, whole=whole,
            name=f"prune channels, round {number} of {options.rounds}",
        )  # fmt: skip
        training = msgspec.structs.replace(options, steps=max(1, int(options.steps * share)))
        accuracy = _train(
            state, data, training, teacher, held_out,
            number=number, part=((number - 1) * share, share), hold=1.0,
        )  # fmt: skip
        state.stages[-1] = msgspec.structs.replace(
            state.stages[-1], accuracy=accuracy, seconds=time.monotonic() - started
        )
        if not held_out.accepts(accuracy):
            state.graph = before
            state.stages.pop()
            state.warn(
                f"Cutting channels stopped after {number - 1} of {options.rounds} rounds: the next lost more "
                f"than {options.most_lost_points:g} points of accuracy on held-out training samples."
            )
            break
    started = time.monotonic()
    rest = 1.0 - options.round_share
    training = msgspec.structs.replace(options, steps=max(1, int(options.steps * rest)))
    steps = planned_steps(state, data, training)
    accuracy = _train(
        state, data, training, teacher, held_out, number=0, part=(options.round_share, rest), hold=0.0
    )
    if not held_out.accepts(accuracy):
        state.warn(
            f"After cutting and training, accuracy on held-out samples is {accuracy:.1%}: more than "
            f"{options.most_lost_points:g} points are lost. Keep more (target) or train longer (steps)."
        )
    state.add_stage(f"train, {steps} steps", started, accuracy=accuracy)


def _train(
    state: PassState,
    data: TrainingData,
    training: Training,
    teacher: Teacher,
    held_out: HeldOut,
    *,
    number: int,
    part: tuple[float, float],
    hold: float,
) -> float:
    """Accuracy on held-out samples of the trained graph."""
    executor = Executor(state.graph)
    tune(
        state, executor, data, Free(executor), training,
        label="training what is left", seed=number, hold=hold, teacher=teacher, part=part,
    )  # fmt: skip
    executor.write_back(state.graph)
    return held_out.accuracy(executor)


def _reachable(state: PassState, options: Options, fraction: float) -> tuple[float, dict[str, int]]:
    """(the fraction of the cost to aim at, the least units of each group); says where it is another."""
    groups = free_groups(state.graph)
    cost = WidthCost(state.graph, groups, options.cost, state.profile)
    least = least_units(groups, options.least_kept)
    target, floor = reachable(groups, cost, fraction, least=least, multiple=options.multiple)
    whole = cost.cost({})
    if target > 1.001 * fraction * whole:
        state.warn(
            f"{fraction:.0%} of the {options.cost} cannot be reached: with {options.least_kept:.0%} of every "
            f"group the model still has {floor / whole:.0%}. The target became {target / whole:.0%}; ask for "
            "that, for another cost, or for a smaller least_kept."
        )
    return target / whole, least


def _shrink(
    state: PassState,
    options: Options,
    target: float,
    least: Mapping[str, int],
    rows: CalibrationRows | None,
    started: float,
    *,
    whole: float | None = None,
    name: str = "prune channels",
) -> None:
    """One cut to the fraction `target` of the cost `whole` (by default of the graph's own)."""
    groups = free_groups(state.graph)
    cost = WidthCost(state.graph, groups, options.cost, state.profile)
    saliency = "magnitude" if state.dataset is None else options.saliency
    scores = unit_scores(state, groups, rows, saliency=saliency, samples=options.samples)
    kept = choose_units(
        groups, scores, cost, target * (cost.cost({}) if whole is None else whole),
        least=least, multiple=options.multiple, check_cancelled=state.check_cancelled,
    )  # fmt: skip
    before = state.graph
    known = channel_groups(before)
    kept = known.refilled(kept, scores, multiple=options.multiple)
    fitted = cut_and_fit(state, groups, known, kept, rows, options.refit_samples)
    note = f"{_told(before, state.graph, groups, kept)}; {fitted} layers refitted"
    filters = [
        {
            "group": one.name,
            "alive": int(kept[one.name].sum()) if one.name in kept else one.units,
            "of": one.units,
        }
        for one in groups
    ]
    state.add_stage(name, started, note=note, detail={"filters": filters})


def cut_and_fit(
    state: PassState,
    groups: Sequence[ChannelGroup],
    known: ChannelGroups,
    kept: Mapping[str, np.ndarray],
    rows: CalibrationRows | None,
    samples: int,
) -> int:
    """Cuts `state.graph`, and fits what is left to what was there on so many rows; gives the number of layers
    that were fitted. `known` are all groups of the graph."""
    before = state.graph
    state.graph = cut(before, kept, known)
    if rows is None:
        return 0
    return refit(
        before, state.graph, groups, kept, rows.fetch, rows.rows[:samples],
        batch_size=batch_limit(before, 32), seed=state.seed, check_cancelled=state.check_cancelled,
    )  # fmt: skip


def free_groups(graph: Graph) -> list[ChannelGroup]:
    """The groups that can lose units."""
    return [group for group in channel_groups(graph) if group.fixed is None and group.units > 1]


def unit_scores(
    state: PassState,
    groups: Sequence[ChannelGroup],
    rows: CalibrationRows | None,
    *,
    saliency: Saliency,
    samples: int,
) -> dict[str, np.ndarray]:
    """Group -> (units,): what each unit of `state.graph` matters. Magnitude where there are no inputs."""
    if saliency == "magnitude" or rows is None:
        return magnitude_scores(state.graph, groups)
    task = "classification" if rows.classification else "other"
    return gate_scores(
        Executor(state.graph),
        groups,
        rows.fetch,
        rows.rows[:samples],
        loss_for(state.graph, task, label_share=0.0),
        kind=saliency,
        batch_size=batch_limit(state.graph, 8),
        seed=state.seed,
        check_cancelled=state.check_cancelled,
    )


def _told(before: Graph, after: Graph, groups: Sequence[ChannelGroup], kept: Mapping[str, np.ndarray]) -> str:
    gone = sum(int((~mask).sum()) for mask in kept.values())
    units = sum(group.units for group in groups)
    return (
        f"{gone} of {units} units went, {before.weight_bytes() // 4:,} weights became "
        f"{after.weight_bytes() // 4:,}"
    )

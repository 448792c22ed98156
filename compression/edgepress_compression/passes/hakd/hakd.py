"""HAKD: a student that the device runs fast, chosen by its latency there, taught by the original.

Turner, Cano, Radu, Crowley, O'Boyle, Storkey 2018, HAKD - Hardware Aware Knowledge Distillation: which
cheaper network is best depends on the hardware, so students are proposed, asked what they cost on the device,
and the best within the budget is distilled from the original (Hinton, Vinyals, Dean 2015). Here all students
have the latency asked for by the profile's roofline and differ in shape (shapes.py); each is taught for a few
steps, and the one that is nearest to the labels of held-out samples is taught to the end.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
import numpy as np

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.figures import figures
from edgepress_compression.graph.channels import ChannelGroup, channel_groups, cut
from edgepress_compression.graph.cost import model_cost
from edgepress_compression.graph.model import Graph
from edgepress_compression.graph.width_cost import WidthCost
from edgepress_compression.passes.calibration_rows import CalibrationRows, calibration_rows
from edgepress_compression.passes.hakd.shapes import Shape, student_shape
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.pruning.channels import free_groups, unit_scores
from edgepress_compression.passes.pruning.channels_choose import least_units, reachable
from edgepress_compression.passes.pruning.channels_refit import refit
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import TrainingData, batch_limit, training_data
from edgepress_compression.passes.tune import Count, Fraction, Positive, Training, planned_steps, tune
from edgepress_compression.training.constraint import Free
from edgepress_compression.training.loop import Teacher

_TRIALS = 0.3  # of the progress


class Options(Training, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast the student is, which shapes are tried, and how it is taught."""

    target: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.5  # of the original's latency, by the roofline
    shapes: tuple[Shape, ...] = ("even", "latency", "flops")
    trial_steps: Count = 150  # of teaching, before students are compared
    least_kept: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.1  # of every group
    multiple: Count = 1  # widths become multiples of it: 8 suits integer kernels
    samples: Annotated[int, msgspec.Meta(ge=8, le=100_000)] = 512  # to score units by
    refit_samples: Annotated[int, msgspec.Meta(ge=8, le=100_000)] = 256
    most_lost_points: Positive = 8.0  # on held-out samples; more is told
    label_share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.1
    learning_rate: Positive = 1e-3
    warm_up: Fraction = 0.05  # at the full rate a network that was just fitted loses what the fit gave
    most_gmacs: Positive = 60_000.0


def run(state: PassState, options: Options) -> None:
    """Puts the best student in the place of `state.graph`. RecipeError without labels."""
    if state.codes:
        raise RecipeError("A student is made before weights are coded: put hakd before what quantizes.")
    if not options.shapes:
        raise RecipeError('hakd needs shapes to try, such as shapes = ["even", "latency", "flops"].')
    data = training_data(state, most_gmacs=options.most_gmacs) if state.dataset is not None else None
    rows = None if data is None else calibration_rows(state, max(options.samples, options.refit_samples))
    if data is None or rows is None or data.kind != "labels":
        raise RecipeError(
            "hakd teaches a student, which takes labelled samples: at least 500, and 20 for each class, in a "
            "split named train. Give a data set that has them (docs/datasets.md), or take the recipe "
            "structured-pruning, which can do without."
        )
    groups = free_groups(state.graph)
    if not groups:
        state.warn("No channels of this model can be cut, so there is no narrower student; it stays.")
        return
    started = time.monotonic()
    latency_us = model_cost(state.graph, state.profile).latency_us or 0.0
    teacher = Teacher(Executor(state.original), data.split)
    held_out = HeldOut(Executor(state.graph), data, state.graph.outputs[0].name, options.most_lost_points)
    cost = WidthCost(state.graph, groups, "latency", state.profile)
    target_us, floor_us = reachable(
        groups, cost, options.target,
        least=least_units(groups, options.least_kept), multiple=options.multiple,
    )  # fmt: skip
    if target_us > 1.001 * options.target * latency_us:
        state.warn(
            f"By the roofline of {state.profile.name} no student reaches {options.target:.0%} of the "
            f"latency: {floor_us / latency_us:.0%} is the least. Those tried have "
            f"{target_us / latency_us:.0%}."
        )
    scores = unit_scores(state, groups, rows, saliency="fisher", samples=options.samples)
    tried: list[tuple[float, Graph]] = []
    told: list[dict[str, Any]] = []
    for number, shape in enumerate(options.shapes):
        student = _student(state, options, shape, groups, scores, rows, target_us)
        share = _TRIALS / len(options.shapes)
        accuracy = _teach(
            state, student, data, msgspec.structs.replace(options, steps=options.trial_steps), teacher,
            held_out, label=f"trying the shape {shape}", part=(number * share, share), hold=1.0,
        )  # fmt: skip
        counted = figures(student, state.profile)
        told.append({
            "shape": shape, "accuracy": accuracy, "latency_us": counted.latency_us_estimate,
            "flops": counted.flops, "parameters": counted.parameters,
        })  # fmt: skip
        tried.append((accuracy, student))
    best = int(np.argmax([accuracy for accuracy, _ in tried]))
    state.graph = tried[best][1]
    steps = planned_steps(state, data, options)
    accuracy = _teach(
        state, state.graph, data, options, teacher, held_out,
        label="teaching the student", part=(_TRIALS, 1 - _TRIALS), hold=0.0,
    )  # fmt: skip
    if not held_out.accepts(accuracy):
        state.warn(
            f"The student's accuracy on held-out samples is {accuracy:.1%}: more than "
            f"{options.most_lost_points:g} points are lost. Ask for less speed (target), or teach longer "
            "(steps)."
        )
    reached_us = told[best]["latency_us"]
    state.add_stage(
        f"hakd, {steps} steps",
        started,
        accuracy=accuracy,
        note=f"shape {options.shapes[best]}, the best of {len(tried)}: {reached_us / latency_us:.0%} "
        f"of the latency by the roofline of {state.profile.id}",
        detail={"students": told},
    )


def _student(
    state: PassState,
    options: Options,
    shape: Shape,
    groups: list[ChannelGroup],
    scores: dict[str, np.ndarray],
    rows: CalibrationRows,
    target_us: float,
) -> Graph:
    kept = student_shape(
        shape, state.graph, groups, scores, state.profile, target_us,
        least=least_units(groups, options.least_kept), multiple=options.multiple,
    )  # fmt: skip
    known = channel_groups(state.graph)
    kept = known.refilled(kept, scores, multiple=options.multiple)
    student = cut(state.graph, kept, known)
    refit(
        state.graph, student, groups, kept, rows.fetch, rows.rows[: options.refit_samples],
        batch_size=batch_limit(state.graph, 32), seed=state.seed, check_cancelled=state.check_cancelled,
    )  # fmt: skip
    return student


def _teach(
    state: PassState,
    student: Graph,
    data: TrainingData,
    training: Training,
    teacher: Teacher,
    held_out: HeldOut,
    *,
    label: str,
    part: tuple[float, float],
    hold: float,
) -> float:
    """Trains `student` in place; its accuracy on held-out samples."""
    executor = Executor(student)
    tune(state, executor, data, Free(executor), training, label=label, hold=hold, teacher=teacher, part=part)
    executor.write_back(student)
    return held_out.accuracy(executor)

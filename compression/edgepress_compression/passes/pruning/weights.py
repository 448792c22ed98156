"""Pruning of single weights, blocks, rows or n:m patterns, by any published measure, schedule and regrowth.

    saliency/       how much each weight matters
    granularity.py  what is pruned together
    distribution.py how much of each tensor; sensitivity.py measures it
    reduction.py    the three together: from a sparsity to a model; layer_update.py moves what remains
    schedule.py     when; masks.py keeps what is zero at zero while the rest is trained
    regrowth.py     weights that move about (RigL, sparse momentum)

Schedules, each followed by training of the rest (`steps`, 0 for none):
    one-shot            all at once (LeCun et al. 1990)
    iterative           in rounds, each trained before the next (Han et al. 2015, section 3)
    gradual             along a cubic while training (Zhu and Gupta 2018, equation 1)
    dense-sparse-dense  pruned and trained, then all weights trained again, what was pruned from zero, at a
                        tenth of the rate (Han et al. 2017, algorithm 1): for accuracy, not for size
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import torch
from torch import Tensor

from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.held_out import HeldOut
from edgepress_compression.passes.pruning.distribution import Distribution
from edgepress_compression.passes.pruning.granularity import Granularity, pattern, units
from edgepress_compression.passes.pruning.masks import Gradual, Moving, restore, snapshot
from edgepress_compression.passes.pruning.reduction import Reduction, sparsities
from edgepress_compression.passes.pruning.regrowth import Regrowth
from edgepress_compression.passes.pruning.saliency import WITHOUT_DATA, Kind
from edgepress_compression.passes.pruning.saliency.magnitude import lamp, magnitude
from edgepress_compression.passes.pruning.schedule import Schedule, geometric
from edgepress_compression.passes.state import PassState
from edgepress_compression.passes.training_data import TrainingData, training_data
from edgepress_compression.passes.tune import Count, Fraction, Positive, Training, planned_steps, tune
from edgepress_compression.training.constraint import Masked, Masks

_SPARSITY: Final = 0.8
_REGROWN_UNTIL: Final = 0.75  # of the training (Evci et al. 2020, section 3)
_DENSE_RATE: Final = 0.1  # of the learning rate, when all weights are trained again (Han et al. 2017)
_DENSE_STEPS: Final = 0.5  # of all steps


class Options(Training, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is pruned, how much, when, and how long the rest is trained."""

    saliency: Kind = "magnitude"
    granularity: Granularity = "weights"
    distribution: Distribution | None = None  # global; an n:m pattern is alike everywhere
    schedule: Schedule = "one-shot"
    regrowth: Regrowth = "none"
    sparsity: Fraction | None = None  # of the tensors that are pruned: 0.8; an n:m pattern says its own
    dense: tuple[str, ...] = ()  # names of weights that are left alone
    rounds: Count = 10  # of `iterative` and `gradual`
    ramp: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.6  # of the steps of `gradual` in which it rises
    drop: Fraction = 0.3  # of each tensor's weights that move at the first update of a regrowth
    updates: Count = 20  # of a regrowth
    samples: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 256  # that saliencies look at
    most_lost_points: Positive = 2.0  # of accuracy on held-out samples, after the training of a round
    steps: Annotated[int, msgspec.Meta(ge=0)] = 2000  # 0: no training


def run(state: PassState, options: Options) -> None:
    """Zeroes weights of `state.graph`; changes no shapes. Raises RecipeError where options contradict each
    other or need data that is not there."""
    _check(options)
    names = _names(state.graph, options)
    if not names:
        state.warn("prune-weights found no weights that it may prune.")
        return
    data = training_data(state)
    if data is None:
        _prune_blind(state, options, names)
    else:
        _Work(state, options, names, data).run()


def _check(options: Options) -> None:
    n_m = pattern(options.granularity)
    if n_m is not None:
        if n_m[0] >= n_m[1]:
            raise RecipeError(
                f"granularity {options.granularity} keeps {n_m[0]} of {n_m[1]}; the first number must be the "
                "smaller one."
            )
        if options.sparsity is not None or options.distribution not in (None, "uniform"):
            raise RecipeError(
                f"granularity {options.granularity} says how many weights stay; leave sparsity and "
                "distribution out."
            )
    if options.regrowth != "none" and (options.granularity != "weights" or options.schedule != "one-shot"):
        raise RecipeError(
            'A regrowth moves single weights at one sparsity; use granularity = "weights" and '
            'schedule = "one-shot" with it.'
        )
    if options.saliency == "obs" and options.granularity != "weights":
        raise RecipeError(
            'obs removes single weights; use granularity = "weights", or saliency = "layer-obs" with '
            f'granularity = "{options.granularity}".'
        )
    trained = options.regrowth != "none" or options.schedule in ("gradual", "dense-sparse-dense")
    if trained and options.steps == 0:
        raise RecipeError(
            "This schedule or regrowth prunes while it trains; give steps, or use schedule = "
            '"one-shot" without regrowth.'
        )


def _names(graph: Graph, options: Options) -> list[str]:
    """What may be pruned, in the order in which the model uses it."""
    able = {name for name in graph.prunable() if graph.weights[name].dtype in (np.float32, np.float16)}
    for name in options.dense:
        if name not in able:
            raise RecipeError(
                f"dense names {name!r}, which is no weight that could be pruned; there are: "
                f"{', '.join(sorted(able))}."
            )
    read = [name for node in graph.proto.graph.node for name in node.input if name in able]
    ordered = [*dict.fromkeys(read), *(name for name in graph.prunable() if name in able - set(read))]
    spared = set(options.dense)
    if options.granularity == "rows":
        spared |= _answering(graph, able)
    return [name for name in ordered if name not in spared]


def _answering(graph: Graph, able: set[str]) -> set[str]:
    """Weights whose rows are the model's outputs: without a row an output says nothing."""
    makers = {output: node for node in graph.proto.graph.node for output in node.output}
    found: set[str] = set()
    waiting, met = [value.name for value in graph.outputs], set()
    while waiting:
        value = waiting.pop()
        node = makers.get(value)
        if node is None or value in met:
            continue
        met.add(value)
        weights = [name for name in node.input if name in able]
        found.update(weights)
        if not weights:
            waiting.extend(node.input)
    return found


def _target(options: Options) -> float:
    n_m = pattern(options.granularity)
    if n_m is not None:
        return 1 - n_m[0] / n_m[1]
    return _SPARSITY if options.sparsity is None else options.sparsity


def _prune_blind(state: PassState, options: Options, names: list[str]) -> None:
    """By the weights alone, all at once, without training."""
    if options.saliency not in WITHOUT_DATA or options.distribution == "sensitivity":
        wish = f"saliency {options.saliency}"
        if options.distribution == "sensitivity":
            wish = "distribution sensitivity"
        raise RecipeError(
            f"prune-weights with {wish} looks at samples, and there are none it can use: give a data set "
            'with a split named train, or take saliency = "magnitude" or "lamp" and another distribution.'
        )
    if options.regrowth != "none" or options.schedule == "dense-sparse-dense":
        raise RecipeError(
            "This kind of pruning trains the model, and there is no data to train on: give a data set with a "
            "split named train, or take another recipe."
        )
    started = time.monotonic()
    graph = state.graph
    measure = lamp if options.saliency == "lamp" else magnitude
    found: dict[str, Tensor] = {
        name: measure(torch.from_numpy(graph.weights[name].astype(np.float32))) for name in names
    }
    shapes = units(graph, names, options.granularity)
    levels = sparsities(options.distribution or "global", found, shapes, _target(options), {})
    for name in names:
        mask = shapes[name].mask(found[name], levels[name]).numpy()
        graph.set_weight(name, np.where(mask, graph.weights[name], 0).astype(graph.weights[name].dtype))
        state.codes.pop(name, None)
    _say(state, options, started, note="without data: all at once and not trained", accuracy=None)


class _Work:
    """Pruning with samples to look at."""

    def __init__(self, state: PassState, options: Options, names: list[str], data: TrainingData) -> None:
        self._state, self._options, self._data, self._started = state, options, data, time.monotonic()
        self._executor = Executor(state.graph)
        self._names = names
        self._target = _target(options)
        self._held_out = (
            HeldOut(self._executor, data, state.graph.outputs[0].name, options.most_lost_points)
            if data.kind == "labels"
            else None
        )
        self._reduction = Reduction(
            state=state,
            executor=self._executor,
            data=data,
            rows=data.rows[: options.samples],
            names=names,
            units=units(state.graph, names, options.granularity),
            saliency=options.saliency,
            distribution=options.distribution or "global",
        )
        self._steps = planned_steps(state, data, options) if options.steps else 0
        self._trained = 0

    def run(self) -> None:
        options = self._options
        schedule: Callable[[], str | None] = {
            "one-shot": self._rounds if options.regrowth == "none" else self._moving,
            "iterative": self._rounds,
            "gradual": self._gradual,
            "dense-sparse-dense": self._dense_sparse_dense,
        }[options.schedule]
        before = snapshot(self._executor)
        note = schedule()
        accuracy = None if self._held_out is None else self._held_out.accuracy(self._executor)
        if accuracy is not None and self._held_out is not None and not self._held_out.accepts(accuracy):
            self._state.warn(
                f"Pruning lost more than {options.most_lost_points:g} points of accuracy on held-out "
                "samples, so nothing was pruned: ask for a lower sparsity or more steps."
            )
            restore(self._executor, before)
            return
        self._executor.write_back(self._state.graph)
        for name in self._executor.weights:
            self._state.codes.pop(name, None)
        _say(self._state, options, self._started, note=note, accuracy=accuracy, detail=self._detail())

    def _ones(self) -> Masks:
        weights = self._executor.weights
        return {name: torch.ones_like(weights[name], dtype=torch.bool) for name in self._names}

    def _train(
        self, constraint: Masked, steps: int, part: tuple[float, float], said: str, *, hold: float = 0.0,
        rate: float = 1.0,
    ) -> None:  # fmt: skip
        if steps < 1:
            return
        training = msgspec.structs.replace(
            self._options, steps=steps, learning_rate=rate * self._options.learning_rate
        )
        self._trained += 1
        tune(
            self._state, self._executor, self._data, constraint, training,
            label=lambda: f"{said}, {constraint.sparsity():.0%} zero", hold=hold, seed=self._trained,
            part=part,
        )  # fmt: skip

    def _rounds(self) -> str:
        """Prune, train, ask the held-out samples; and again."""
        rounds = self._options.rounds if self._options.schedule == "iterative" else 1
        masks = self._ones()
        done = 0
        for number in range(rounds):
            saved = snapshot(self._executor)
            level = geometric(self._target, (number + 1) / rounds)
            masks = self._reduction(masks, level)
            self._train(
                Masked(self._executor, masks), self._steps // rounds, (number / rounds, 1 / rounds), "pruned"
            )
            if rounds > 1 and self._lost_too_much():
                restore(self._executor, saved)
                self._warn_stopped(geometric(self._target, number / rounds))
                break
            done += 1
        return f"{done} of {rounds} rounds, {self._steps // rounds} steps each"

    def _gradual(self) -> str:
        options = self._options
        rounds = min(options.rounds, max(1, self._steps // 4))
        masks = Gradual(
            self._executor, self._names, self._reduction,
            sparsity=self._target, rounds=rounds, ramp=options.ramp, held_out=self._held_out,
        )  # fmt: skip
        self._train(masks, self._steps, (0.0, 1.0), "pruning", hold=options.ramp)
        if masks.taken_back:
            self._warn_stopped(masks.sparsity())
        return f"{masks.done} of {rounds} rounds along a cubic, {self._steps} steps"

    def _moving(self) -> str:
        options = self._options
        if options.regrowth == "none":
            raise AssertionError("moving masks need a regrowth")
        masks = Moving(
            self._executor, self._reduction(self._ones(), self._target), options.regrowth,
            drop=options.drop, updates=min(options.updates, max(1, self._steps // 4)), until=_REGROWN_UNTIL,
        )  # fmt: skip
        self._train(masks, self._steps, (0.0, 1.0), "weights move")
        return f"{masks.done} times weights moved by {options.regrowth}, {self._steps} steps"

    def _dense_sparse_dense(self) -> str:
        masks = self._reduction(self._ones(), self._target)
        dense = max(1, int(_DENSE_STEPS * self._steps))
        sparse = max(1, self._steps - dense)
        self._train(Masked(self._executor, masks), sparse, (0.0, 0.5), "sparse")
        self._train(Masked(self._executor, {}), dense, (0.5, 0.5), "dense again", rate=_DENSE_RATE)
        return f"{self._target:.0%} zero for {sparse} steps, then dense for {dense}"

    def _lost_too_much(self) -> bool:
        held_out = self._held_out
        return held_out is not None and not held_out.accepts(held_out.accuracy(self._executor))

    def _warn_stopped(self, sparsity: float) -> None:
        self._state.warn(
            f"Pruning stopped at {sparsity:.1%} zeros: the next step lost more than "
            f"{self._options.most_lost_points:g} points of accuracy on held-out training samples."
        )

    def _detail(self) -> dict[str, Any] | None:
        curves = self._reduction.measured
        if not curves:
            return None
        return {
            "sensitivity": [
                {"tensor": name, "sparsity": sparsity, "loss": loss}
                for name, points in curves.items()
                for sparsity, loss in points
            ]
        }


def _say(
    state: PassState,
    options: Options,
    started: float,
    *,
    note: str | None,
    accuracy: float | None,
    detail: dict[str, Any] | None = None,
) -> None:
    how = options.schedule if options.regrowth == "none" else f"regrown by {options.regrowth}"
    what = "" if options.granularity == "weights" else f", {options.granularity}"
    state.add_stage(
        f"prune-weights by {options.saliency}, {how}{what}",
        started,
        accuracy=accuracy,
        note=note,
        detail=detail,
    )

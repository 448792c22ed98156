"""How much of an exhaustive grid's front a search finds with a tenth of its evaluations.

The grid: channels kept x bits of a weight x numbers, 200 points of the digits CNN, each made for real once
(decoded artifact; rows held out; latency predicted for a Raspberry Pi 4, so that the figures are the same on
every run) and kept in a file. Nothing is trained on labels (350 rows are too few), so cuts cost accuracy. A
search is then replayed on it: it sees a point's figures only when it asks.

Figure of merit: hypervolume of (drop, log latency, log bytes) in the box up to 10 points lost and the
original's costs, as a fraction of that of the whole grid. The original is free for everyone. Random draws and
Optuna's TPE (its default for several objectives) get the same evaluations.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import optuna

from edgepress_compression.data.dataset import Dataset, dataset_from_arrays
from edgepress_compression.data.digits import digits_arrays, make_digits_model
from edgepress_compression.search.budget import Budget
from edgepress_compression.search.evaluate import Evaluator
from edgepress_compression.search.front import hypervolume
from edgepress_compression.search.propose import Proposer
from edgepress_compression.search.space import Parameter, Point, Space
from edgepress_compression.search.starts import starts
from edgepress_compression.search.trial import Figures, Trial
from edgepress_compression.whole_file import write_whole
from edgepress_devices import __version__
from edgepress_devices.profile import load_profile
from search_cases.case import Row

TITLE = "Efficiency: the front of an exhaustive grid, at a tenth of its evaluations"
TARGET = 0.98
SHARE = 0.1
SEEDS = 5
TRAIN_ROWS = 700
LOSS_MOST = 0.10
PROFILE = "raspberry-pi-4"
SPACE = Space(
    (
        Parameter("channels", (1.0, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)),
        Parameter("bits", (None, 6.0, 5.0, 4.5, 4.0, 3.5, 3.0, 2.5, 2.0, 1.5)),
        Parameter("numbers", ("fp32", "int8")),
    ),
)

Grid = dict[str, Figures]  # key of a point -> what came of it


class Kept(msgspec.Struct):
    made_from: str  # digest of the recipes and the rest that the figures depend on
    figures: Grid


def measure(cache: Path | None = None, seeds: int = SEEDS) -> Iterator[Row]:
    grid = exhaustive(cache or Path(tempfile.gettempdir()) / "edgepress-search-grid.json")
    budget = round(SHARE * len(grid))
    whole = covered(list(grid.values()), grid)
    for name, run in (("the search", searched), ("random", drawn), ("Optuna TPE", optuna_tpe)):
        shares = [covered(run(grid, budget, seed), grid) / whole for seed in range(seeds)]
        median = statistics.median(shares)
        yield Row(
            case="efficiency",
            what=name,
            figures=f"{100 * median:.1f} % of the grid's hypervolume after {budget} of {len(grid)} trials "
            f"(median of {seeds} seeds, {100 * min(shares):.1f} to {100 * max(shares):.1f})",
            met=median >= TARGET if name == "the search" else None,
            target=f">= {100 * TARGET:.0f} %" if name == "the search" else "",
            numbers={"median": median, "shares": shares, "evaluations": budget, "grid": len(grid)},
        )


def key(point: Point) -> str:
    return json.dumps([point[one.name] for one in SPACE.parameters])


def exhaustive(path: Path) -> Grid:
    """Every point's figures, from the file where it is whole, else made now and written point by point."""
    points = list(SPACE.points(np.random.default_rng(0)))
    recipes = [SPACE.recipe(one).as_json() for one in points]
    made_from = hashlib.sha256(msgspec.json.encode([__version__, PROFILE, TRAIN_ROWS, recipes])).hexdigest()
    known: Grid = {}
    if path.exists():
        kept = msgspec.json.decode(path.read_bytes(), type=Kept)
        known = kept.figures if kept.made_from == made_from else {}
    missing = [one for one in points if key(one) not in known]
    if not missing:
        return {key(one): known[key(one)] for one in points}
    bench = Evaluator(make_digits_model(), load_profile(PROFILE), few_digits(), Budget())
    for number, point in enumerate(missing):  # in the order of the passes: trials share their first ones
        trial = Trial(number=number, recipe=SPACE.recipe(point).as_json(), point=point)
        done, _ = bench.evaluate(trial)
        if done.figures is None:
            raise RuntimeError(f"{point}: {done.error}")
        known[key(point)] = done.figures
        write_whole(path, msgspec.json.encode(Kept(made_from, known)))
        print(f"\rgrid: {len(known)} of {len(points)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return known


def few_digits() -> Dataset:
    """700 of the training rows, of which the search holds out half; the rest too few to train on."""
    arrays = digits_arrays()
    train = np.cumsum(arrays["split"] == "train") <= TRAIN_ROWS
    return dataset_from_arrays("few digits", {
        name: array if name == "class_names" else array[train] for name, array in arrays.items()
    })  # fmt: skip


def covered(found: Sequence[Figures], grid: Grid) -> float:
    """Hypervolume, each axis 0..1 from the grid's best to the reference."""
    every = np.array([numbers(one, grid) for one in grid.values()])
    reference = np.array([LOSS_MOST, 0.0, 0.0])
    best = every.min(axis=0)
    scaled = (np.array([numbers(one, grid) for one in found]) - best) / (reference - best)
    return hypervolume(scaled, np.ones(3))


def numbers(figures: Figures, grid: Grid) -> tuple[float, float, float]:
    """(drop, log latency, log bytes), costs as ratios to the original's."""
    before = grid[key(SPACE.harmless)]
    return (
        figures.loss or 0.0,
        math.log2((figures.latency_us or 1.0) / (before.latency_us or 1.0)),
        math.log2((figures.artifact_bytes or 1) / (before.artifact_bytes or 1)),
    )


def searched(grid: Grid, evaluations: int, seed: int) -> list[Figures]:
    begin = starts(SPACE, load_profile(PROFILE), ("train", "test"), seconds=0.0)
    propose = Proposer(SPACE, Budget(), tuple(one for one in begin if one.point), seed)
    trials: list[Trial] = []
    while len(trials) < evaluations + 1:
        trial = propose(trials)
        if trial is None:
            break
        figures = grid[key(trial.point)]
        trials.append(msgspec.structs.replace(trial, state="done", figures=figures, seconds=1.0))
    return [one.figures for one in trials if one.figures is not None]


def drawn(grid: Grid, evaluations: int, seed: int) -> list[Figures]:
    keys = sorted(set(grid) - {key(SPACE.harmless)})
    chosen = np.random.default_rng(seed).choice(len(keys), evaluations, replace=False)
    return [grid[key(SPACE.harmless)], *(grid[keys[place]] for place in chosen)]


def optuna_tpe(grid: Grid, evaluations: int, seed: int) -> list[Figures]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=["minimize"] * 3, sampler=optuna.samplers.TPESampler(seed=seed))
    found = {key(SPACE.harmless): grid[key(SPACE.harmless)]}
    for _ in itertools.count():
        trial = study.ask()
        point = {
            one.name: one.levels[trial.suggest_int(one.name, 0, len(one.levels) - 1)]
            for one in SPACE.parameters
        }
        figures = grid[key(point)]
        study.tell(trial, numbers(figures, grid))
        found[key(point)] = figures  # what it asks for again is not counted again
        if len(found) > evaluations or len(study.trials) > 20 * evaluations:
            return list(found.values())
    raise AssertionError

"""Inputs to look at, never labels: samples of the data set, or generated ones where there is none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgepress_compression.executor import missing_operators
from edgepress_compression.generated import generated_batches
from edgepress_compression.passes.crop_padding import crop_padding
from edgepress_compression.passes.state import PassState
from edgepress_compression.training.loop import Fetch

_GENERATED = 32


@dataclass(frozen=True)
class CalibrationRows:
    """`fetch(rows)` gives the model's inputs."""

    fetch: Fetch
    rows: np.ndarray  # int64, in random order
    classification: bool


def calibration_rows(state: PassState, samples: int) -> CalibrationRows | None:
    """At most `samples` rows, or None where the model cannot be looked into; says why in the warnings.

    The split train if there is one, else any that is not the test's, else the test's with a warning.
    """
    missing = missing_operators(state.graph)
    if missing:
        state.warn(
            f"The model uses {', '.join(missing)}, which cannot be looked into here, so weights were rounded "
            "by their size alone; expect more loss of accuracy for the same bytes."
        )
        return None
    data = state.dataset
    if data is None:
        state.warn(
            "Weights were rounded by generated inputs because no data set was given; expect more loss of "
            "accuracy for the same bytes. Give a data set."
        )
        fixed = _fixed_batch(state)
        batches = list(generated_batches(state.graph, count=_GENERATED * fixed, seed=state.seed))
        stacked = {
            name: np.concatenate([one[name] for one in batches]) if first.ndim else first
            for name, first in batches[0].items()
        }
        count = len(next(iter(stacked.values())))
        return CalibrationRows(
            lambda rows: {name: a[rows] if a.ndim else a for name, a in stacked.items()},
            np.arange(min(count, max(samples, 1))),
            False,
        )
    names = [name for name in data.splits if name != "test"]
    if not names:
        state.warn(
            "The data set has only a test split; weights were rounded by its inputs, so its accuracy may be "
            "flattering."
        )
    split = data.split("train" if "train" in names else names[0] if names else "test")
    rows = calibration_order(len(split), state.seed)[:samples]
    fetch = crop_padding(split.fetch, state.graph, rows)
    return CalibrationRows(fetch, rows, data.task == "classification")


def calibration_order(count: int, seed: int) -> np.ndarray:
    """Rows in the order in which they are looked at: held-out rows, which judge, come last (training_data.py
    takes them from the other end)."""
    return np.random.default_rng(seed).permutation(count)[::-1]


def _fixed_batch(state: PassState) -> int:
    sizes = [v.shape[0] for v in state.graph.inputs if v.shape and isinstance(v.shape[0], int)]
    return max([1, *sizes])

"""What a pass may train on: which split, which of its rows, and how much that teaches.

Three cases, by how many training samples there are:
    labels   enough to learn from: at least 20 for each class and 500 in all, and a model small enough to be
             trained for 300 steps of 100 samples within the budget of work; a part is held out to judge by
    answers  otherwise: only the original model's answers are used, which takes few samples and little work
    nothing  no data set, no training split of its own, or operators that the executor cannot differentiate
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from edgepress_compression.data.dataset import Split
from edgepress_compression.executor import missing_operators
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.crop_padding import crop_padding
from edgepress_compression.passes.state import PassState

_SAMPLES_PER_CLASS: Final = 20
_SAMPLES: Final = 500
_LEAST_STEPS: Final = 300
_MOST_GMACS: Final = 6000.0
HELD_OUT: Final = 0.1  # of the split train, at most _HELD_OUT_MOST
_HELD_OUT_MOST: Final = 2000


@dataclass(frozen=True)
class TrainingData:
    """A split and the rows of it to train on and to judge by."""

    kind: Literal["labels", "answers"]
    split: Split
    rows: np.ndarray  # int64, what is trained on
    held_out: np.ndarray  # int64, never trained on; empty for "answers"
    classification: bool


def training_data(
    state: PassState, *, most_gmacs: float = _MOST_GMACS, labels_only: bool = False
) -> TrainingData | None:
    """What there is to train on, or None; says why in the report's warnings.

    `labels_only`: labels are all there is to learn from, however few; where they are too few, none is held
    out.
    `most_gmacs` is the budget of work in which a model must be trainable for 300 steps of 100 samples.
    Batches of sentences are as long as their longest (crop_padding.py).
    """
    nothing = _why_nothing(state)
    data = state.dataset
    if nothing is not None or data is None:
        state.warn(f"{nothing}, so nothing is fine-tuned: pruned and quantized lightly instead.")
        return None
    split = data.split("train")
    classification = data.task == "classification"
    rows = np.random.default_rng(state.seed).permutation(len(split))
    split = replace(split, fetch=crop_padding(split.fetch, state.graph, rows))
    few = len(split) < max(_SAMPLES, _SAMPLES_PER_CLASS * class_count(state.graph))
    slow = step_budget(state.graph, len(split), most_gmacs=most_gmacs) < _LEAST_STEPS
    if not classification or (not labels_only and (few or slow)):
        why = (
            f"The split train has {len(split)} samples; too few to train on their labels"
            if few or not classification
            else "The model is too large to be trained within the budget of work"
        )
        state.warn(f"{why}, so the original model's answers are the target, and compression stays moderate.")
        return TrainingData("answers", split, rows, rows[:0], classification)
    held = 0 if few else min(_HELD_OUT_MOST, int(HELD_OUT * len(rows)))
    return TrainingData("labels", split, rows[held:], rows[:held], classification)


def _why_nothing(state: PassState) -> str | None:
    """The reason for which there is nothing to train on."""
    data = state.dataset
    if data is None:
        return "Without a data set there is nothing to learn from"
    if "train" not in data.splits or len(data.splits) == 1:
        return f"The data set {data.name} has no split named train beside the one that tests"
    missing = missing_operators(state.graph)
    return f"The model uses {', '.join(missing)}, which cannot be trained here" if missing else None


def class_count(graph: Graph) -> int:
    """Width of the first output; 1 where that is free."""
    width = graph.outputs[0].shape[-1] if graph.outputs[0].shape else 1
    return width if isinstance(width, int) else 1


def step_budget(
    graph: Graph,
    samples: int,
    *,
    steps: int = 1_000_000,
    batch_size: int = 100,
    most_epochs: float = 1_000_000.0,
    most_gmacs: float = _MOST_GMACS,
) -> int:
    """`steps`, or fewer where they would see each sample more than `most_epochs` times or take too much work.

    Work is counted in 1e9 multiply-accumulates, three forward passes a step, and not in time, so that results
    can be repeated. Where it is not known, each weight is taken to be used 64 times.
    """
    macs = max(1, graph.macs() or 64 * graph.weight_bytes() // 4)
    by_work = int(most_gmacs * 1e9 / (3 * macs * batch_size))
    by_data = int(most_epochs * samples / batch_size)
    return max(1, min(steps, by_work, by_data))


def batch_limit(graph: Graph, wanted: int) -> int:
    """`wanted`, or the batch that the model is fixed to."""
    sizes = [v.shape[0] for v in graph.inputs if v.shape and isinstance(v.shape[0], int)]
    return min([wanted, *sizes])

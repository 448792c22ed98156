"""Trains rewritten parts of a model one by one towards what they gave in the original.

A part's inputs and outputs are recorded once, as the original has them; then only the part runs, which takes
a small fraction of the work of training through the whole model. Sentences of like length share a batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.training_data import TrainingData
from edgepress_compression.passes.transformer.inner_values import part, showing

_SAMPLES, _BATCH = 1024, 32


@dataclass(frozen=True)
class Part:
    """From the value `start` to the value `end`, which both models have."""

    start: str
    end: str


def fit_parts(
    graph: Graph,
    before: Graph,
    parts: Sequence[Part],
    data: TrainingData,
    *,
    steps: int,
    learning_rate: float,
    seed: int,
    progress: Callable[[float, str], None] = lambda fraction, message: None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> list[float]:
    """Trains each part of `graph` for `steps` batches; the relative squared errors that are left, by part.

    The parts hold different weights: each is trained by itself.
    """
    rng = np.random.default_rng(seed)
    batches = _batches(data, rng)
    names = list(dict.fromkeys(name for one in parts for name in (one.start, one.end)))
    original = Executor(showing(before, names))
    recorded: list[dict[str, torch.Tensor]] = []
    for number, rows in enumerate(batches):
        check_cancelled()
        progress(0.3 * number / len(batches), "recording inner values")
        feed = data.split.fetch(rows)
        values = original.run(feed)
        kept = {**feed, **{name: values[name] for name in names}}
        recorded.append({name: torch.from_numpy(array) for name, array in kept.items()})
    left = []
    for number, one in enumerate(parts):
        start, length = 0.3 + 0.7 * number / len(parts), 0.7 / len(parts)
        cut = part(graph, one.start, one.end)
        executor = Executor(cut)
        optimizer = torch.optim.Adam(list(executor.weights.values()), lr=learning_rate)
        recent: list[float] = []
        for step in range(steps):
            check_cancelled()
            if step % 10 == 0:
                progress(start + length * step / steps, f"fitting part {number + 1} of {len(parts)}")
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))
            batch = recorded[int(rng.integers(len(recorded)))]
            executor.zero_grad(set_to_none=True)
            made = executor({name: batch[name] for name in (v.name for v in cut.inputs)})[one.end]
            wanted = batch[one.end]
            error = (made - wanted).square().mean() / wanted.var(unbiased=False).clamp(min=1e-12)
            error.backward()
            optimizer.step()
            recent.append(float(error.detach()))
        executor.write_back(cut)
        for name in executor.weights:
            graph.set_weight(name, cut.weights[name])
        left.append(float(np.mean(recent[-max(1, steps // 10) :])) if recent else math.nan)
    return left


def _batches(data: TrainingData, rng: np.random.Generator) -> list[np.ndarray]:
    """Rows in batches of like length."""
    rows = rng.permutation(data.rows)[:_SAMPLES]
    ordered = rows[np.argsort(row_lengths(data, rows), kind="stable")]
    return [ordered[i : i + _BATCH] for i in range(0, len(ordered), _BATCH)]


def row_lengths(data: TrainingData, rows: np.ndarray) -> np.ndarray:
    """Length of each row by itself, the padding cut off: sides of its inputs behind the first, added."""
    return np.array(
        [
            sum(math.prod(a.shape[1:]) for a in data.split.fetch(rows[i : i + 1]).values())
            for i in range(len(rows))
        ]
    )

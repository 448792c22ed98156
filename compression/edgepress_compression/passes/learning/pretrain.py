"""Self-supervised pre-training: features are learned from samples without labels, before few labels are used.

SimCLR (Chen et al. 2020, algorithm 1): of each sample two views are made by augmentation, and a network that
projects its features must tell, among all other views of the batch, which two belong together (NT-Xent,
equation 1). The projection head is thrown away; the model's own classifier is not touched. Put `fine-tune`
behind it.
"""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgepress_compression.data.dataset import Split
from edgepress_compression.errors import RecipeError
from edgepress_compression.executor import Executor, missing_operators
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.learning.classifier import find_classifier
from edgepress_compression.passes.learning.fresh import fresh_weights
from edgepress_compression.passes.state import PassState, Stage
from edgepress_compression.passes.training_data import batch_limit, step_budget
from edgepress_compression.training.augment import Augment, augmented, is_picture
from edgepress_compression.training.features import Seen

_LEAST_SAMPLES = 100  # fewer have too few others to be told from
_REPORT_SECONDS = 0.25

Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Count = Annotated[int, msgspec.Meta(ge=1)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of the pre-training; labels are never looked at."""

    split: str | None = None  # None: the split unlabelled where there is one, else train
    from_scratch: bool = False  # forget the trained weights first
    steps: Count = 2000
    batch_size: Annotated[int, msgspec.Meta(ge=8)] = 128  # each sample is told from 2 * 128 - 2 others
    learning_rate: Positive = 1e-3
    temperature: Positive = 0.5
    projection: Count = 64  # numbers that two views are compared by
    flip: bool = True
    shift: Fraction = 0.1
    crop: Fraction = 0.6
    noise: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.1
    most_epochs: Positive = 200.0
    most_gmacs: Positive = 6000.0


def run(state: PassState, options: Options) -> None:
    """Trains the features of `state.graph`. Raises RecipeError without samples of pictures."""
    started = time.monotonic()
    split = _split(state, options)
    graph = state.graph
    if options.from_scratch:
        fresh_weights(graph, state.seed)
        state.codes = {}
    first, last = _pretrain(state, graph, split, options)
    state.stages.append(
        Stage(
            name=f"pretrain on {split.name}, {len(split):,} samples",
            seconds=time.monotonic() - started,
            note=f"contrastive loss {first:.2f} -> {last:.2f}",
        )
    )


def _split(state: PassState, options: Options) -> Split:
    data = state.dataset
    if data is None:
        raise RecipeError("pretrain needs samples, without labels; give a data set (--data).")
    wanted = options.split or ("unlabelled" if "unlabelled" in data.splits else "train")
    if wanted not in data.splits or wanted == "test":
        raise RecipeError(
            f"pretrain looks for the split {wanted!r}, and {data.name} has {', '.join(data.splits)}; add a "
            "split unlabelled or train."
        )
    split = data.split(wanted)
    if len(split) < _LEAST_SAMPLES:
        raise RecipeError(
            f"The split {wanted} has {len(split)} samples; pretrain needs {_LEAST_SAMPLES} to tell them from "
            "each other."
        )
    if not all(is_picture(array) for array in split.fetch(np.arange(1)).values()):
        raise RecipeError("pretrain makes views of pictures, and this model takes something else.")
    missing = missing_operators(state.graph)
    if missing:
        raise RecipeError(f"The model uses {', '.join(missing)}, which cannot be trained here.")
    return split


def _pretrain(state: PassState, graph: Graph, split: Split, options: Options) -> tuple[float, float]:
    """(mean loss of the first tenth of the steps, of the last)"""
    classifier = find_classifier(graph)
    width = classifier.width(graph)
    torch.manual_seed(state.seed)
    executor = Executor(graph)
    head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, options.projection))
    optimizer = torch.optim.Adam([*executor.parameters(), *head.parameters()], lr=options.learning_rate)
    size = batch_limit(graph, min(options.batch_size, len(split)))
    steps = step_budget(
        graph, len(split), steps=options.steps, batch_size=2 * size,
        most_epochs=2 * options.most_epochs, most_gmacs=options.most_gmacs,
    )  # fmt: skip
    views = Augment(flip=options.flip, shift=options.shift, crop=options.crop, noise=options.noise)
    rng = np.random.default_rng(state.seed)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses: list[float] = []
    reported = time.monotonic()
    queue = np.empty(0, np.int64)
    for step in range(steps):
        state.check_cancelled()
        if len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(len(split))])
        rows, queue = queue[:size], queue[size:]
        samples = split.fetch(rows)
        projected = [
            head(_features(executor, classifier.features, augmented(samples, views, rng))) for _ in range(2)
        ]
        loss = contrastive_loss(projected[0], projected[1], options.temperature)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if time.monotonic() - reported > _REPORT_SECONDS:
            reported = time.monotonic()
            state.progress((step + 1) / steps, f"pre-training without labels, loss {losses[-1]:.2f}")
    before = dict(graph.weights)
    executor.write_back(graph)
    for name, old in before.items():  # what stands behind the features is not trained, and keeps its codes
        if not np.array_equal(graph.weights[name], old):
            state.codes.pop(name, None)
    tenth = max(1, steps // 10)
    return float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))


def _features(executor: Executor, name: str, samples: dict[str, np.ndarray]) -> Tensor:
    """(batch, width): the mean over positions, where there are some."""
    seen = Seen([name])
    executor({key: torch.from_numpy(array) for key, array in samples.items()}, watch=seen)
    value = seen.values[name]
    return value.flatten(2).mean(dim=2) if value.ndim > 2 else value


def contrastive_loss(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """NT-Xent of two views (batch, projection) of the same samples in the same order (Chen et al. 2020,
    equation 1); log(2 batch - 1) when nothing can be told."""
    views = F.normalize(torch.cat([first, second]), dim=1)  # (2 batch, projection)
    similarity = views @ views.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    batch = len(first)
    partner = torch.arange(2 * batch).roll(batch)
    return F.cross_entropy(similarity, partner)

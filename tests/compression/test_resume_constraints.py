"""Each constraint that can be resumed goes on to the same weights from wherever a checkpoint was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blobs import blobs
from tiny_models import mlp

from edgepress_compression.executor import Executor
from edgepress_compression.passes.pruning.masks import Moving
from edgepress_compression.passes.pruning.prune import Pruning
from edgepress_compression.passes.sharing.kmeans import share
from edgepress_compression.passes.sharing.share import Codebooks
from edgepress_compression.training.augment import Augment
from edgepress_compression.training.checkpoint import Resumable, TrainingCheckpoint
from edgepress_compression.training.constraint import Constraint, Free, zeros_kept
from edgepress_compression.training.loop import Schedule, Teacher, fine_tune
from edgepress_compression.training.losses import loss_for

torch.set_num_threads(1)
SPLIT = blobs(1000).split("train")
ROWS = np.arange(400)
NAMES = ["w1", "w2"]


def moving(growth: Any) -> Callable[[Executor], Constraint]:
    def make(executor: Executor) -> Constraint:
        generator = torch.Generator().manual_seed(0)
        masks = {n: torch.rand(executor.weights[n].shape, generator=generator) > 0.5 for n in NAMES}
        return Moving(executor, masks, growth, drop=0.3, updates=5, until=0.9)

    return make


def codebooks(executor: Executor) -> Constraint:
    return Codebooks(executor, {n: share(executor.weights[n].detach().numpy(), 8) for n in NAMES})


CONSTRAINTS: dict[str, Callable[[Executor], Constraint]] = {
    "free": Free,
    "zeros kept": lambda executor: zeros_kept(executor, NAMES),
    "pruning": lambda executor: Pruning(executor, NAMES, sparsity=0.8, rounds=4, ramp=0.8),
    "moving by gradient": moving("gradient"),
    "moving by momentum": moving("momentum"),
    "codebooks": codebooks,
}


class Stopped(BaseException):
    pass


def trained(
    make: Callable[[Executor], Constraint], path: Path | None, *, stop: int | None = None, **changes: Any
) -> dict[str, np.ndarray]:
    graph = mlp(np.random.default_rng(0))
    executor = Executor(graph)
    constraint = make(executor)
    assert isinstance(constraint, Resumable)
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise Stopped

    schedule = Schedule(
        steps=40, batch_size=32, learning_rate=1e-2, **{"augment": Augment(noise=0.1), **changes}
    )
    fine_tune(
        executor, SPLIT, loss_for(graph, "classification", label_share=0.5), constraint, schedule,
        rows=ROWS, teacher=Teacher(Executor(mlp(np.random.default_rng(5))), SPLIT), seed=1,
        held_out=np.arange(400, 500), check_cancelled=check,
        checkpoint=None if path is None else TrainingCheckpoint(path, every_s=0.0),
    )  # fmt: skip
    return {name: weight.detach().numpy() for name, weight in executor.weights.items()}


@pytest.mark.parametrize("stop", [2, 19, 39])
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_a_resumed_training_gives_the_same_weights(name: str, stop: int, tmp_path: Path) -> None:
    make, path = CONSTRAINTS[name], tmp_path / "training.pt"
    with pytest.raises(Stopped):
        trained(make, path, stop=stop)
    resumed, expected = trained(make, path), trained(make, None)
    for key, weight in expected.items():
        np.testing.assert_array_equal(resumed[key], weight)


@pytest.mark.parametrize("changes", [{"optimizer": "sgd"}, {"patience": 2}, {"weight_decay": 0.01}], ids=str)
def test_other_optimizers_and_judges_are_resumed(changes: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    with pytest.raises(Stopped):
        trained(Free, path, stop=20, **changes)
    resumed, expected = trained(Free, path, **changes), trained(Free, None, **changes)
    for key, weight in expected.items():
        np.testing.assert_array_equal(resumed[key], weight)


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    with pytest.raises(Stopped):
        trained(Free, path, stop=20)
    other = trained(Free, path, patience=3)
    expected = trained(Free, None, patience=3)
    np.testing.assert_array_equal(other["w1"], expected["w1"])
    for damaged in (b"", b"no checkpoint", path.read_bytes()[:500]):
        path.write_bytes(damaged)
        np.testing.assert_array_equal(trained(Free, path)["w1"], trained(Free, None)["w1"])

"""One of several processes that train together; started by torchrun (test_parallel.py).

Trains a small net and writes its weights, by process: argument 1 is the folder.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from blobs import blobs
from onnx import helper
from tiny_models import cnn, mlp

from edgepress_compression.errors import TrainingError
from edgepress_compression.executor import Executor
from edgepress_compression.graph.model import Graph
from edgepress_compression.training.constraint import Free
from edgepress_compression.training.features import matched_names
from edgepress_compression.training.loop import Schedule, Teacher, fine_tune
from edgepress_compression.training.losses import loss_for

SPLIT = blobs(1000).split("train")


class Shrinking(Free):
    """With a price on the size of weights, so that prices are seen to count once."""

    def penalty(self) -> torch.Tensor:
        return 0.01 * torch.stack([weight.square().sum() for weight in self.parameters()]).sum()


def train(task: str, batch_size: int = 33) -> dict[str, np.ndarray]:
    graph = mlp(np.random.default_rng(0))
    executor = Executor(graph)
    teacher = Teacher(Executor(mlp(np.random.default_rng(5))), SPLIT)
    loss = loss_for(graph, task, label_share=0.5)
    schedule = Schedule(steps=60, batch_size=batch_size, learning_rate=1e-2, shift=0.1)
    rows = np.arange(len(SPLIT))
    fine_tune(executor, SPLIT, loss, Shrinking(executor), schedule, rows=rows, teacher=teacher, seed=3)
    return {name: weight.detach().numpy() for name, weight in executor.weights.items()}


def train_statistics() -> dict[str, np.ndarray]:
    """Batch normalization by the statistics of whole batches, wherever their parts are."""
    rng = np.random.default_rng(0)
    pictures = rng.standard_normal((60, 1, 8, 8)).astype(np.float32)
    samples = replace(SPLIT, labels=rng.integers(0, 3, 60), fetch=lambda rows: {"x": pictures[rows]})
    graph = cnn(rng)
    executor = Executor(graph).train()
    loss = loss_for(graph, "classification", label_share=1.0)
    # not Adam: a bias that normalization undoes has rounding errors for gradients, which it would scale up
    schedule = Schedule(steps=15, batch_size=13, learning_rate=1e-2, optimizer="sgd")
    fine_tune(executor, samples, loss, Free(executor), schedule, rows=np.arange(60), teacher=None, seed=3)
    executor.write_back(graph)
    return {name: np.asarray(weight) for name, weight in graph.weights.items()}


def dropping(rng: np.random.Generator) -> Graph:
    graph = mlp(rng)
    graph.proto.graph.node.insert(2, helper.make_node("Dropout", ["r"], ["d"]))
    graph.proto.graph.node[3].input[0] = "d"
    return graph


def train_inside() -> dict[str, np.ndarray]:
    """Dropout of whole batches, and activations in units of their variance over whole batches."""
    graph = dropping(np.random.default_rng(0))
    original = mlp(np.random.default_rng(5))
    executor = Executor(graph).train()
    loss = loss_for(graph, "classification", label_share=0.5)
    schedule = Schedule(steps=60, batch_size=33, learning_rate=1e-2, feature_match=5.0)
    fine_tune(
        executor, SPLIT, loss, Free(executor), schedule, rows=np.arange(len(SPLIT)), seed=3,
        teacher=Teacher(Executor(original), SPLIT), matched=matched_names(graph, original),
    )  # fmt: skip
    return {name: weight.detach().numpy() for name, weight in executor.weights.items()}


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank = dist.get_rank()
    for task in ("classification", "other"):
        np.savez(folder / f"{task}-{rank}.npz", **train(task))  # type: ignore[arg-type]
    np.savez(folder / f"statistics-{rank}.npz", **train_statistics())  # type: ignore[arg-type]
    np.savez(folder / f"inside-{rank}.npz", **train_inside())  # type: ignore[arg-type]
    try:
        train("classification", batch_size=1)
    except TrainingError as error:
        (folder / f"small-{rank}.txt").write_text(str(error))
    graph = mlp(np.random.default_rng(rank))  # not the same in both
    executor = Executor(graph)
    try:
        fine_tune(
            executor, SPLIT, loss_for(graph, "classification", label_share=1.0), Free(executor),
            Schedule(steps=2, batch_size=4, learning_rate=1e-2), rows=np.arange(8), teacher=None, seed=0,
        )  # fmt: skip
    except TrainingError as error:
        (folder / f"apart-{rank}.txt").write_text(str(error))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()

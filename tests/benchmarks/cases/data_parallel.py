"""Data-parallel training: the same compression by one process and by two, which share every batch.

Each process has one thread, so two have twice the cores of one. What goes over the wire is known: a ring
all-reduce of n processes sends 2 (n - 1) / n of the gradients' bytes from each, every step.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgepress_compression.compress import Result
from edgepress_compression.graph.load import load_model
from edgepress_compression.parallel import compress_parallel

from .case import DATASETS, Row, Settings, row_of

TITLE = "Data-parallel training, 1 against 2 processes"
_RECIPE = """name = "prune-{steps}"
description = "Prunes while training."
needs = "labelled"
[[passes]]
name = "prune"
sparsity = {sparsity}
steps = {steps}
batch_size = {batch_size}
learning_rate = {learning_rate}
most_lost_points = 25.0
"""
_TARGET = "equal final accuracy; the speed-up stated"
# model, data set, steps, batch, sparsity, rate
_CASES = (
    ("LeNet-5", "lenet5_caffe_mnist", "mnist", 600, 100, 0.95, 1e-3),
    ("VGG-small", "vgg_small_cifar10", "cifar10", 150, 128, 0.7, 5e-4),
)


def measure(settings: Settings) -> Iterator[Row]:
    for title, model, dataset, steps, batch_size, sparsity, rate in _CASES:
        path = settings.model(model)
        recipe = _RECIPE.format(steps=steps, batch_size=batch_size, sparsity=sparsity, learning_rate=rate)
        reports = {n: _run(path, DATASETS / f"{dataset}.toml", recipe, n, settings) for n in (1, 2)}
        graph = load_model(path)
        sent = sum(4 * array.size for array in graph.float_weights().values())
        seconds = {n: report["stages"][-1]["seconds"] for n, report in reports.items()}
        correct = {n: report["accuracy"]["after"] for n, report in reports.items()}
        # a pass that took its training back proves nothing
        changed = all(not any("nothing was" in one for one in r["warnings"]) for r in reports.values())
        for n, report in reports.items():
            row = row_of(
                report,
                case=title,
                target=_TARGET,
                met=changed and abs(correct[2] - correct[1]) <= 0.002 if n == 2 else None,
                note=f"training {seconds[n]:.1f} s, {steps} steps of {batch_size}, one thread a process; "
                f"{os.getloadavg()[1]:.1f} processes wanted the {os.cpu_count()} cores meanwhile"
                + (
                    f"; {seconds[1] / seconds[2]:.2f} times as fast; each process sent about "
                    f"{sent * steps / 1e6:,.0f} MB (ring all-reduce, {sent:,} B a step)"
                    if n == 2
                    else ""
                ),
            )
            row.method = f"{n} process{'es' if n > 1 else ''}"
            row.more = {"seconds": seconds, "bytes_a_step": sent}
            yield row


def _run(model: Path, dataset: Path, recipe: str, processes: int, settings: Settings) -> dict[str, Any]:
    threads = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "prune.toml").write_text(recipe)
            result: Result = compress_parallel(
                model,
                processes=processes,
                recipe=str(Path(folder) / "prune.toml"),
                profile="x86-pc",
                data=dataset,
                seed=settings.seed,
            )
    finally:
        if threads is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = threads
    return result.report

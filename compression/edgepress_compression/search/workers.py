"""More processes of this machine that work on the same search: each opens the log's folder for itself.

They are never told to end in order: the log survives a kill at any moment, so the first process ends the
others when it has what it wanted. A worker that dies costs the trial it had in hand, which another takes
over.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgepress_compression.data.dataset import Dataset, load_dataset
from edgepress_compression.errors import EdgepressError
from edgepress_compression.graph.model import Graph
from edgepress_compression.search.budget import Budget
from edgepress_compression.search.log import FileLog, TrialLog
from edgepress_devices.profile import DeviceProfile


@dataclass(frozen=True)
class Job:
    """What a worker needs to know, all of which another process can be given."""

    source: Path | bytes | Graph
    profile: DeviceProfile
    dataset: Dataset | None
    budget: Budget
    seed: int
    model_name: str | None
    threads: int
    seconds: float
    trials: int | None


@contextmanager
def started_workers(job: Job, log: TrialLog, count: int) -> Iterator[str | None]:
    """`count` processes while the block runs; gives a sentence where they could not be started."""
    if count < 1:
        yield None
        return
    if not isinstance(log, FileLog) or (job.dataset is not None and job.dataset.origin is None):
        yield "One worker only: others need a log in a folder and a data set in a file."
        return
    source = job.source.serialize() if isinstance(job.source, Graph) else job.source
    origin = None if job.dataset is None else job.dataset.origin
    context = multiprocessing.get_context("spawn")
    processes = [
        context.Process(
            target=_run,
            args=(
                source, job.profile, origin, job.budget, log.folder, job.seed, job.model_name, job.threads,
                job.seconds, job.trials, os.getpid(),
            ),
            daemon=True,
        )
        for _ in range(count)
    ]  # fmt: skip
    for process in processes:
        process.start()
    try:
        yield None
        for process in processes:
            process.join()  # each ends by itself when the limits are reached
    finally:
        for process in processes:
            process.kill()
            process.join()


def _run(
    source: Path | bytes,
    profile: DeviceProfile,
    origin: str | None,
    budget: Budget,
    folder: Path,
    seed: int,
    model_name: str | None,
    threads: int,
    seconds: float,
    trials: int | None,
    parent: int,
) -> None:
    """Of a worker process. What goes wrong here went wrong in the first process, too, and is said there."""
    import torch

    from edgepress_compression.search.evaluate import Evaluator
    from edgepress_compression.search.search import Limits, work

    torch.set_num_threads(1)
    began = time.monotonic()
    limits = Limits(began + seconds, seconds, trials, lambda: os.getppid() != parent)
    try:
        dataset = None if origin is None else load_dataset(Path(origin))
        with FileLog(folder) as log:
            bench = Evaluator(
                source, profile, dataset, budget, seed=seed, model_name=model_name, threads=threads
            )
            work(bench, log, limits, seconds=seconds)
    except EdgepressError:
        return

"""The process that runs one compression job: ``compress_child DATA_DIR JOB WORKER ATTEMPT``.

It reads and writes the store itself: progress rows while it runs; at the end the artifact's blob first, then
artifact row and job state in one transaction. So wherever it is killed, the job is either done or not; what
its passes and trainings had reached lies in a folder of the job's own, from which the next attempt goes on.

Exit status: 0 the job has its final state (done, or failed with a sentence), 4 the job is not ours any more,
anything else: it crashed, and the worker decides whether to try again.
"""

from __future__ import annotations

import hashlib
import logging
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgepress_compression.errors import CompressionCancelledError, EdgepressError
from edgepress_compression.recipe import Recipe
from edgepress_devices.profile import ProfileError
from edgepress_server.errors import StoreError
from edgepress_server.jobs.checkpoints import checkpoints_of
from edgepress_server.jobs.child_process import die_with_pipe, settle_in
from edgepress_server.jobs.inputs import linked_dataset, linked_model
from edgepress_server.jobs.progress_rows import ProgressRows
from edgepress_server.jobs.search_outcome import remake_command
from edgepress_server.store import Store, open_store
from edgepress_server.store.jobs import Job, LeaseLostError, Result

log = logging.getLogger("edgepress_server.jobs")

LEASE_LOST = 4

Compress = Callable[..., Any]  # edgepress_compression.compress.compress


def run_job(store: Store, job: Job, cancelled: threading.Event, compress: Compress) -> Job:
    """Compress and store the result. Returns the job as it ended, done or failed.

    Raises LeaseLostError when it is not ours any more, CompressionCancelledError.
    """
    try:
        result = _compress(store, job, cancelled, compress)
    except (CompressionCancelledError, LeaseLostError):
        raise
    except (EdgepressError, ProfileError) as error:
        if isinstance(error, StoreError) and error.code != "blob_damaged":
            raise  # the store may be back for the next attempt
        return store.jobs.fail(job, str(error))
    except MemoryError:
        return store.jobs.fail(
            job,
            "There is not enough memory on the server for this model. Free some, or take a smaller model.",
        )
    return store.jobs.finish(job, result)


def _compress(store: Store, job: Job, cancelled: threading.Event, compress: Compress) -> Result:
    with tempfile.TemporaryDirectory(dir=store.blobs.aside(), prefix="job-") as folder:
        result = compress(
            linked_model(store, job.model, Path(folder)),
            recipe=_recipe(store, job),
            profile=store.profiles.resolve(job.profile),
            dataset=linked_dataset(store, job.dataset, Path(folder)),
            progress=ProgressRows(
                lambda now: store.jobs.report_progress(job, now.fraction, now.step, now.message),
                LeaseLostError,
                cancelled,
            ),
            cancelled=cancelled.is_set,
            seed=int(job.options.get("seed", 0)),
            target_bytes=job.options.get("target_bytes"),
            coding=job.options.get("coding"),
            checkpoint_dir=checkpoints_of(store.data_dir, job.id),
        )
    if cancelled.is_set():
        raise CompressionCancelledError()
    artifact: bytes = result.artifact
    digest = store.blobs.put(artifact)
    assert digest == hashlib.sha256(artifact).hexdigest()  # noqa: S101 - our own code
    return Result(digest, len(artifact), {**result.report, "command": _command(job)})


def _recipe(store: Store, job: Job) -> Recipe | str:
    """The shipped one of that name, or that of a search's trial, which is made again."""
    if "search" not in job.options:
        return job.recipe
    trial = store.search_trials.get(job.options["search"], job.options["trial"]).trial
    return msgspec.convert(trial.recipe, Recipe)


def _command(job: Job) -> str:
    """The command that asks this server for the same artifact; the compression knew only temporary files."""
    if "search" in job.options:
        return remake_command(job.options["search"], job.options["trial"])
    words = ["edgepress", "compress", job.model, "--recipe", job.recipe, "--profile", job.profile]
    if job.dataset is not None:
        words += ["--data", job.dataset]
    if "target_bytes" in job.options:
        words += ["--target-bytes", str(job.options["target_bytes"])]
    if "coding" in job.options:
        words += ["--coding", job.options["coding"]]
    return shlex.join([*words, "--seed", str(job.options.get("seed", 0))])


def main() -> int:
    settle_in()
    die_with_pipe()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    data_dir, job_id, worker, attempt = sys.argv[1:]
    cancelled = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: cancelled.set())
    store = open_store(Path(data_dir))
    job = store.jobs.get(job_id)
    if job.worker != worker or job.attempts != int(attempt):
        return LEASE_LOST
    from edgepress_compression.compress import compress

    log.info("job %s: %s of %s for %s", job.id, job.recipe, job.model, job.profile)
    try:
        ended = run_job(store, job, cancelled, compress)
    except (LeaseLostError, CompressionCancelledError) as error:
        log.info("job %s: %s", job.id, error)
        return LEASE_LOST
    log.info("job %s: %s %s", job.id, ended.state, ended.message)
    return 0


if __name__ == "__main__":
    sys.exit(main())

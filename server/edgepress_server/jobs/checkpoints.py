"""Where a job's passes and trainings keep what they have reached, until the job has its final state."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgepress_server.errors import NotFoundError
from edgepress_server.store import Store

_FOLDER = "checkpoints"
_GOING_ON = ("queued", "running")


def checkpoints_of(data_dir: Path, job_id: str) -> Path:
    """The folder of one job; whoever runs it makes it."""
    return data_dir / _FOLDER / job_id


def forget_ended(store: Store) -> None:
    """Removes the folders of jobs that are done, failed, cancelled or gone. Raises StoreError."""
    try:
        folders = sorted((store.data_dir / _FOLDER).iterdir())
    except FileNotFoundError:
        return
    for folder in folders:
        if not _goes_on(store, folder.name):
            shutil.rmtree(folder, ignore_errors=True)


def _goes_on(store: Store, job_id: str) -> bool:
    try:
        return store.jobs.get(job_id).state in _GOING_ON
    except NotFoundError:
        return False

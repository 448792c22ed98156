"""Checkpoints of a training: everything the next step depends on, in a file that is whole at any moment.

A training that finds its checkpoint goes on from there and gives the weights that it would have given without
the interruption: kept are the weights, the optimizer's memory, the step, the order of samples still to come,
the state of the random numbers, the teacher's answers, and what the constraint remembers. How often they are
written depends on the clock; what is trained does not.
"""

from __future__ import annotations

import io
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from edgepress_compression.errors import TrainingError
from edgepress_compression.training import parallel
from edgepress_compression.whole_file import write_whole

EVERY_SECONDS = 30.0


@runtime_checkable
class Resumable(Protocol):
    """A constraint (or teacher) that can be put back where it was. Others begin their training again."""

    def resume_state(self) -> dict[str, Any]:
        """Tensors, numbers, strings, and lists and dicts of them, beside the optimizer's and the weights."""

    def resume_from(self, state: dict[str, Any]) -> None:
        """Puts back what `resume_state` gave."""


class TrainingCheckpoint:
    """The file of one training."""

    def __init__(self, path: Path, every_s: float = EVERY_SECONDS) -> None:
        self._path, self._every_s = path, every_s
        self._due_s = time.monotonic() + every_s

    def load(self, identity: str) -> dict[str, Any] | None:
        """What was saved by a training of this identity, or None. A file that cannot be read is no
        checkpoint."""
        try:
            saved = torch.load(self._path, map_location="cpu", weights_only=True)
        except FileNotFoundError:
            return None
        except (RuntimeError, pickle.UnpicklingError, zipfile.BadZipFile, EOFError, OSError):
            return None  # damaged, or of another version: the training begins again
        return saved if isinstance(saved, dict) and saved.get("identity") == identity else None

    def due(self) -> bool:
        return time.monotonic() >= self._due_s

    def save(self, identity: str, state: dict[str, Any]) -> None:
        """Process 0 writes; others have the same. Raises TrainingError when the disk does not take it."""
        if parallel.rank() == 0:
            buffer = io.BytesIO()
            torch.save({"identity": identity, **state}, buffer)
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(self._path, buffer.getvalue())
            except OSError as error:
                raise TrainingError(
                    f"The checkpoint {self._path} cannot be written: {error.strerror}. Free some space, or "
                    "run without checkpoints."
                ) from error
        self._due_s = time.monotonic() + self._every_s


class PassCheckpoints:
    """The checkpoints of one pass: one file for each training in it, by their order."""

    def __init__(self, folder: Path, every_s: float = EVERY_SECONDS) -> None:
        self._folder, self._every_s = folder, every_s
        self._count = 0

    def next(self) -> TrainingCheckpoint:
        self._count += 1
        return TrainingCheckpoint(self._folder / f"training-{self._count}.pt", self._every_s)

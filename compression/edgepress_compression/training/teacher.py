"""The samples of a training, and the original model's answers to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from edgepress_compression.executor import Executor

Fetch = Callable[[np.ndarray], dict[str, np.ndarray]]
Misspelled = Callable[[np.ndarray, float, np.random.Generator], dict[str, np.ndarray]]
_CACHE_BYTES = 256 * 2**20  # larger sets of answers are computed again for each batch


class Samples(Protocol):
    """What training needs of a split: inputs by row number, and one label a row."""

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def fetch(self) -> Fetch: ...

    def __len__(self) -> int: ...


@runtime_checkable
class Misspellable(Protocol):
    """Samples of text that can be had with slips in a fraction of their words; None: not of text."""

    @property
    def misspelled(self) -> Misspelled | None: ...


class Teacher:
    """The original model's answers by row number of a split, computed once where they are small enough."""

    def __init__(self, executor: Executor, samples: Samples) -> None:
        self.executor = executor
        self._samples = samples
        self._known = np.zeros(len(samples), bool)
        self._answers: dict[str, np.ndarray] = {}

    def __call__(self, rows: np.ndarray) -> dict[str, Tensor]:
        new = rows[~self._known[rows]]
        if len(new):
            outputs = self.executor.run(self._samples.fetch(new))
            row_bytes = sum(array.nbytes for array in outputs.values()) // len(new)
            if row_bytes * len(self._samples) > _CACHE_BYTES:
                if len(new) < len(rows):  # some were known from a smaller answer: all of them again
                    outputs = self.executor.run(self._samples.fetch(rows))
                return {name: torch.from_numpy(array) for name, array in outputs.items()}
            for name, array in outputs.items():
                kept = self._answers.setdefault(
                    name, np.zeros((len(self._samples), *array.shape[1:]), array.dtype)
                )
                kept[new] = array
            self._known[new] = True
        return {name: torch.from_numpy(kept[rows]) for name, kept in self._answers.items()}

    def resume_state(self) -> dict[str, Any]:
        """What is known: a batch's answers may differ in the last bit from those of another batch."""
        known = np.flatnonzero(self._known)
        answers = {name: torch.from_numpy(kept[known]) for name, kept in self._answers.items()}
        return {"rows": torch.from_numpy(known), "answers": answers}

    def resume_from(self, state: dict[str, Any]) -> None:
        rows = state["rows"].numpy()
        self._known = np.zeros(len(self._samples), bool)
        self._known[rows] = True
        self._answers = {}
        for name, answers in state["answers"].items():
            array = answers.numpy()
            self._answers[name] = np.zeros((len(self._samples), *array.shape[1:]), array.dtype)
            self._answers[name][rows] = array

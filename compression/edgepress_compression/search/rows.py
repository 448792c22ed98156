"""Which rows a search chooses by: never those that test.

Rows of the split train are held out before any pass looks at them: half of a small split, a fifth of a large
one. Where there are no labels to hold out, the test split has to do, and the result says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import numpy as np

from edgepress_compression.data.dataset import Dataset, Split

SELECTION: Final = "selection"
_HALF_BELOW: Final = 1000  # rows of the split train
_SHARE: Final = 0.2
_MOST: Final = 2000


@dataclass(frozen=True)
class Rows:
    """`passes` is what passes may look at; `selection` what trials are judged by."""

    passes: Dataset
    selection: Split
    note: str


def choose_rows(dataset: Dataset, seed: int) -> Rows:
    """Of a data set that is fitted to the model. The same seed holds out the same rows."""
    tests = [name for name in dataset.splits if name not in ("train", "unlabelled")]
    if "train" not in dataset.splits or not tests:
        name = "test" if "test" in dataset.splits else dataset.splits[-1]
        split = dataset.split(name)
        return Rows(
            dataset,
            replace(split, name=SELECTION),
            f"The data set has no labelled rows beside the split {name}, so the choice was made by the "
            "rows that also test it: expect a little less on new data.",
        )
    train = dataset.split("train")
    count = len(train)
    held = count // 2 if count < _HALF_BELOW else min(int(_SHARE * count), _MOST)
    order = np.random.default_rng([seed, 7]).permutation(count)
    chosen, rest = np.sort(order[:held]), np.sort(order[held:])
    selection = _part(train, chosen, SELECTION)
    remaining = _part(train, rest, "train")
    openers: dict[str, Callable[[], Split]] = {
        name: partial(dataset.split, name) for name in dataset.splits if name not in tests
    }
    openers |= {"train": lambda: remaining, SELECTION: lambda: selection}
    return Rows(
        replace(dataset, openers=openers),
        selection,
        f"Chosen by {held:,} rows held out of the split train; the test split was looked at once, "
        "at the end.",
    )


def _part(split: Split, rows: np.ndarray, name: str) -> Split:
    misspelled = split.misspelled
    return replace(
        split,
        name=name,
        labels=split.labels[rows],
        fetch=lambda chosen: split.fetch(rows[chosen]),
        misspelled=None
        if misspelled is None
        else lambda chosen, rate, rng: misspelled(rows[chosen], rate, rng),
    )

"""One trial of a search: a recipe, how far it was looked into, and what came of it.

States and stages:

    state   running -> done            figures are there
            running -> failed          `error` says why in a sentence; the search goes on
            running -> running         its worker died (the lease ran out): another worker takes it over
    stage   predicted -> evaluated -> measured     figures of a later stage replace those of an earlier one

A trial "predicted" was never run on data: its bytes are an estimate and its accuracy is unknown. Trial 0 is
the model as it is, artifact of the recipe `none`: what every drop is counted from.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

Stage = Literal["predicted", "evaluated", "measured"]
State = Literal["running", "done", "failed"]
# Where a figure comes from. "datasheet" and "calibration": predicted for the profile; "here": timed on this
# machine in turns with the original; "device": timed on a device of the profile; "estimate": not from a file;
# "file": the artifact's own bytes.
Basis = Literal["datasheet", "calibration", "here", "device", "estimate", "file"]

STAGES: Final[tuple[Stage, ...]] = ("predicted", "evaluated", "measured")
RECIPE_MAX_BYTES: Final = 65_536


class Figures(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of one trial; None: not known at its stage. Accuracies are fractions 0..1 of the data set's metric."""

    accuracy: float | None = None
    drop: float | None = None  # the original's accuracy less this one's, on the same samples
    drop_error: float | None = None  # standard error of `drop`, samples paired
    samples: int | None = None
    # What choosing goes by where samples are few: each sample counts by how sure the model is of its label,
    # so it moves long before an answer tips over (judge.py). None where the metric is no count of answers.
    expected_drop: float | None = None
    expected_drop_error: float | None = None
    split: str | None = None  # the rows that `accuracy` is of: "selection" while choosing
    latency_us: float | None = None  # of one sample; measured here: undisturbed (timing.py); by a device: p50
    latency_basis: Basis | None = None
    latency_error: float | None = None  # expected relative error of a prediction, 0..1
    artifact_bytes: int | None = None
    bytes_basis: Basis | None = None
    memory_bytes: int | None = None
    memory_basis: Basis | None = None
    energy_mj: float | None = None
    energy_basis: Basis | None = None

    @property
    def loss(self) -> float | None:
        """What is known of the drop: that which choosing goes by."""
        return self.drop if self.expected_drop is None else self.expected_drop

    @property
    def loss_error(self) -> float | None:
        return self.drop_error if self.expected_drop is None else self.expected_drop_error


class Trial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    number: int  # 0: the original
    recipe: dict[str, Any]  # Recipe.as_json()
    point: dict[str, Any] = {}  # the recipe as a point of the space: parameter -> value
    title: str = ""  # the recipe in words: "4.5-bit weights, int8"
    reason: str = ""  # why this trial, in words
    state: State = "running"
    stage: Stage = "evaluated"  # that it is meant for while running, that it reached when done
    figures: Figures | None = None
    within: bool | None = None  # all limits of the budget are met; None: not known
    artifact: str | None = None  # SHA-256 of the file, where the log keeps it
    error: str | None = None
    seconds: float | None = None
    worker: str = ""
    tested: Figures | None = None  # on the test split, for points of the front when the search has ended:
    # told to people, never chosen by


class SearchResult(msgspec.Struct, frozen=True, kw_only=True):
    original: Trial
    front: list[Trial]  # nothing else is better in one figure without being worse in another; by latency
    best: Trial | None  # within the budget; None: nothing is
    nearest: Trial | None  # that misses the budget least, where nothing is within
    blocked: list[str]  # why nothing is within, in sentences; empty where `best` is there
    trials: int  # evaluated, the original included
    seconds: float
    notes: list[str] = []  # what people should know: by which rows was chosen, what was left out
    artifact: bytes | None = None  # of best, else of nearest, made from all the data
    report: dict[str, Any] | None = None  # its report (docs/report.md), tested on the test split

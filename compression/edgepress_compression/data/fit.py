"""Fits a data set to a model: the right preprocessing, names and types, or one sentence that says what
does not fit."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Protocol

import numpy as np

from edgepress_compression.data.dataset import Dataset, Split
from edgepress_compression.data.sources import DEFAULT_INPUT
from edgepress_compression.errors import DatasetError


class TensorInfo(Protocol):
    """One input or output of a model."""

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> Sequence[int | str | None]: ...  # whole numbers are fixed, all else is free
    @property
    def dtype(self) -> np.dtype: ...


def fit(
    dataset: Dataset,
    inputs: Sequence[TensorInfo],
    outputs: Sequence[TensorInfo] = (),
    *,
    model_name: str | None = None,
) -> Dataset:
    """The data set with batches named, typed and shaped as the model's inputs ask.

    Where the data set has several preprocessings: the one whose `models` match the model's name, else the
    first that fits. Raises DatasetError when none fits, or when a label is beyond the model's outputs.
    """
    problems = []
    for candidate in _candidates(dataset, model_name):
        problem = _problem(candidate, inputs)
        if problem is None:
            fitted = _rename(candidate, inputs)
            _check_labels(fitted, outputs)
            return fitted
        problems.append(problem if candidate.variant is None else f"Variant {candidate.variant}: {problem}")
    raise DatasetError(f"The data set {dataset.name} does not fit the model. " + " ".join(problems))


def check_fits(dataset: Dataset, inputs: Sequence[TensorInfo], outputs: Sequence[TensorInfo] = ()) -> None:
    """Raises DatasetError when the data set's shapes, types or labels do not fit the model."""
    fit(dataset, inputs, outputs)


def _candidates(dataset: Dataset, model_name: str | None) -> list[Dataset]:
    named = [
        variant
        for variant, facts in dataset.variants.items()
        if model_name is not None and any(fnmatchcase(model_name, pattern) for pattern in facts.models)
    ]
    if named:
        return [dataset.select(variant) for variant in named]
    return [dataset, *(dataset.select(variant) for variant in dataset.variants)]


def _sample(dataset: Dataset) -> dict[str, np.ndarray]:
    split = dataset.split(dataset.splits[0])
    return split.fetch(np.arange(min(1, len(split))))


def _names(sample: dict[str, np.ndarray], inputs: Sequence[TensorInfo]) -> dict[str, str] | None:
    """Data name -> model input, or None when they cannot be paired."""
    wanted = [one.name for one in inputs]
    if set(sample) == set(wanted):
        return {name: name for name in wanted}
    if len(sample) == len(wanted) == 1:  # one of each: nothing to confuse
        return {next(iter(sample)): wanted[0]}
    return None


def _problem(dataset: Dataset, inputs: Sequence[TensorInfo]) -> str | None:
    sample = _sample(dataset)
    names = _names(sample, inputs)
    if names is None:
        have = ", ".join(name for name in sample if name != DEFAULT_INPUT) or "one unnamed input"
        return f"The model's inputs are {', '.join(one.name for one in inputs)}, the data set gives {have}."
    by_name = {one.name: one for one in inputs}
    for name, array in sample.items():
        wanted = by_name[names[name]]
        shape = array.shape
        fits = len(shape) == len(wanted.shape) and all(
            not isinstance(want, int) or want == have
            for want, have in zip(wanted.shape[1:], shape[1:], strict=True)
        )
        if not fits:
            want_text = " x ".join(str(length) for length in list(wanted.shape)[1:])
            have_text = " x ".join(str(length) for length in shape[1:])
            return f"Input {wanted.name} takes samples of {want_text}, the data set gives {have_text}."
        if wanted.dtype.kind in "iu" and array.dtype.kind not in "iub":
            return (
                f"Input {wanted.name} takes whole numbers ({wanted.dtype}), the data set gives {array.dtype}."
            )
    return None


def _rename(dataset: Dataset, inputs: Sequence[TensorInfo]) -> Dataset:
    names = _names(_sample(dataset), inputs) or {}
    dtypes = {one.name: one.dtype for one in inputs}

    def renamed(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            names[key]: np.ascontiguousarray(array, dtype=dtypes[names[key]]) for key, array in arrays.items()
        }

    def opener(name: str) -> Callable[[], Split]:
        def open_fitted() -> Split:
            split = dataset.split(name)

            typed = split.misspelled

            def misspelled(rows: np.ndarray, rate: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
                return renamed(typed(rows, rate, rng)) if typed is not None else {}

            return replace(
                split,
                fetch=lambda rows: renamed(split.fetch(rows)),
                misspelled=None if typed is None else misspelled,
            )

        return open_fitted

    return replace(dataset, openers={name: opener(name) for name in dataset.splits})


def _check_labels(dataset: Dataset, outputs: Sequence[TensorInfo]) -> None:
    if dataset.task != "classification" or not outputs or not outputs[0].shape:
        return
    classes = outputs[0].shape[-1]
    if not isinstance(classes, int):
        return
    for name in dataset.splits:
        labels = dataset.split(name).labels
        highest = int(labels.max(initial=0))
        if highest >= classes:
            raise DatasetError(
                f"The data set {dataset.name} does not fit the model: split {name} has class {highest}, "
                "and the "
                f"model's output {outputs[0].name} has {classes} classes, numbered from 0."
            )

"""A labelled data set: named splits that give batches ready for a model's inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgepress_compression.data import spec as s
from edgepress_compression.data.npz import read_npz
from edgepress_compression.data.sources import Fetch, Misspelled, open_split, whole_labels
from edgepress_compression.errors import DatasetError

Batch = tuple[dict[str, np.ndarray], np.ndarray]  # arrays by model input, labels
RESERVED = ("labels", "split", "class_names")  # arrays of a plain .npz that are no inputs
TEST_EVERY = 5  # a plain .npz without `split`: every fifth sample tests


@dataclass(frozen=True)
class Split:
    """Samples with their labels. Labels: int64 (N,); for detection float32 (N, M, 5), see metric.py."""

    name: str
    labels: np.ndarray
    fetch: Fetch
    decode: str | None = None  # detection: how boxes are read from the output
    misspelled: Misspelled | None = None  # texts with slips in their words
    unknown_token: int | None = None  # texts: id that stands for words not in the vocabulary

    def __len__(self) -> int:
        return len(self.labels)

    def batches(
        self, batch_size: int, limit: int | None = None, shuffle_seed: int | None = None
    ) -> Iterator[Batch]:
        """Batches of at most `batch_size`, of the first `limit` samples (of the shuffled order, when
        shuffled)."""
        order = np.arange(len(self))
        if shuffle_seed is not None:
            np.random.default_rng(shuffle_seed).shuffle(order)
        order = order[:limit]
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            yield self.fetch(rows), self.labels[rows]


@dataclass(frozen=True)
class Dataset:
    """Splits are opened on first use and kept."""

    name: str
    openers: Mapping[str, Callable[[], Split]]
    task: str = "classification"
    class_names: tuple[str, ...] | None = None
    decode: str | None = None  # detection: how boxes are read from the output
    variant: str | None = None
    variants: Mapping[str, DatasetVariant] = field(default_factory=dict)
    preprocessing: Mapping[str, Any] = field(default_factory=dict)  # JSON-able, for the artifact's metadata
    origin: str | None = None  # the path it was loaded from, as given

    @cached_property
    def _opened(self) -> dict[str, Split]:
        return {}

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(self.openers)

    @cached_property
    def inputs(self) -> tuple[str, ...]:
        """Names of the model inputs that batches hold."""
        first = self.split(self.splits[0])
        return tuple(first.fetch(np.arange(min(1, len(first)))))

    def split(self, name: str) -> Split:
        if name not in self.openers:
            raise DatasetError(
                f"The data set {self.name} has no split {name!r}; it has: {', '.join(self.splits)}."
            )
        if name not in self._opened:
            self._opened[name] = self.openers[name]()
        return self._opened[name]

    def select(self, variant: str) -> Dataset:
        """The same samples, preprocessed as the variant says."""
        if variant not in self.variants:
            known = ", ".join(self.variants) or "none"
            raise DatasetError(f"The data set {self.name} has no variant {variant!r}; it has: {known}.")
        return self.variants[variant].make()

    def describe(self) -> dict[str, Any]:
        """What a program needs to feed and read the model, JSON-able."""
        facts: dict[str, Any] = {"dataset": self.name, "task": self.task, **self.preprocessing}
        if self.variant is not None:
            facts["variant"] = self.variant
        if self.class_names is not None:
            facts["labels"] = list(self.class_names)
        return facts


@dataclass(frozen=True)
class DatasetVariant:
    models: tuple[str, ...]  # patterns of model names
    make: Callable[[], Dataset]


def load_dataset(path: Path, *, inside: Path | None = None) -> Dataset:
    """Opens a data set file (.toml) or a plain .npz; `FILE.toml#VARIANT` chooses a preprocessing.

    `inside`: the only folder whose files may be read, for data sets that came from strangers.
    Raises DatasetError with a sentence that says what to correct.
    """
    path = Path(path)
    given = str(path)
    variant = None
    if "#" in path.name and not path.exists():
        name, _, variant = path.name.rpartition("#")
        path = path.with_name(name)
    if not path.is_file():
        raise DatasetError(
            f"There is no data set {path}; give a .toml file (docs/datasets.md) or an .npz file."
        )
    if path.suffix == ".npz":
        dataset = _plain_npz(path)
    elif path.suffix == ".toml":
        dataset = _from_toml(path, inside)
    else:
        raise DatasetError(
            f"{path.name} is no data set; give a .toml file (docs/datasets.md) or an .npz file."
        )
    return replace(dataset if variant is None else dataset.select(variant), origin=given)


def _from_toml(path: Path, inside: Path | None) -> Dataset:
    if path.stat().st_size > s.MAX_TOML_BYTES:
        raise DatasetError(
            f"{path.name} is larger than {s.MAX_TOML_BYTES:,} bytes; it should describe the data only."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path.name} cannot be read: {error}.") from error
    spec = s.read_spec(text, path.name)

    def paths(relative: str) -> Path:
        return s.resolve(relative, path.parent, inside)

    class_names = _class_names(spec, paths)

    def make(variant: str | None) -> Dataset:
        input_spec = s.variant_input(spec, spec.variants[variant] if variant else None)

        def opener(name: str) -> Callable[[], Split]:
            def opened() -> Split:
                found = open_split(spec, name, input_spec, paths)
                return Split(
                    name, found.labels, found.fetch, spec.decode, found.misspelled, found.unknown_token
                )

            return opened

        preprocessing = {"input": msgspec.to_builtins(input_spec)}
        if spec.features is not None:
            preprocessing["features"] = msgspec.to_builtins(spec.features)
        if spec.decode is not None:
            preprocessing["decode"] = spec.decode
        return Dataset(
            name=spec.name,
            openers={name: opener(name) for name in spec.splits},
            task=spec.task,
            class_names=class_names,
            decode=spec.decode,
            variant=variant,
            preprocessing=preprocessing,
        )

    variants = {
        name: DatasetVariant(tuple(one.models), lambda name=name: make(name))  # type: ignore[misc]
        for name, one in spec.variants.items()
    }
    return replace(make(None), variants=variants)


def _class_names(spec: s.DatasetSpec, paths: Callable[[str], Path]) -> tuple[str, ...] | None:
    if spec.classes is not None:
        return tuple(spec.classes)
    if spec.classes_file is None:
        return None
    path = paths(spec.classes_file)
    try:
        if path.stat().st_size > s.MAX_TOML_BYTES:
            raise DatasetError(
                f"{path.name} is larger than {s.MAX_TOML_BYTES:,} bytes; it should hold class names."
            )
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"The class names {path} cannot be read: {error}; check the path.") from error
    return tuple(line.split("\t")[-1] for line in lines)


def _plain_npz(path: Path) -> Dataset:
    arrays = read_npz(path)
    if "labels" not in arrays:
        raise DatasetError(
            f"{path.name} has no array `labels`; it has: {', '.join(arrays) or 'none'}. Save the class "
            "numbers under "
            "that name beside the model's inputs."
        )
    return dataset_from_arrays(path.stem, arrays)


def dataset_from_arrays(name: str, arrays: Mapping[str, np.ndarray]) -> Dataset:
    """A data set of arrays by model input, `labels`, and if wanted `split` (text per sample) and
    `class_names`."""
    labels = whole_labels(arrays["labels"], name)
    inputs = {key: array for key, array in arrays.items() if key not in RESERVED}
    if not inputs:
        raise DatasetError(f"{name} has labels and no inputs; add an array named as the model's input.")
    if not len(labels):
        raise DatasetError(f"{name} is empty; add samples.")
    for key, array in inputs.items():
        if array.ndim < 1 or len(array) != len(labels):
            raise DatasetError(
                f"{name}: the array {key!r} has shape {array.shape} and there are {len(labels)} labels."
            )
        if array.dtype.kind not in "biuf":
            raise DatasetError(f"{name}: the array {key!r} holds {array.dtype}; inputs must be numbers.")
    split = arrays.get("split")
    if split is None:
        split = np.where(np.arange(len(labels)) % TEST_EVERY == 0, "test", "train")
    elif split.shape != labels.shape or split.dtype.kind != "U":
        raise DatasetError(f"{name}: `split` must hold one word for each sample, such as 'train' or 'test'.")

    def opener(word: str) -> Callable[[], Split]:
        rows = np.flatnonzero(split == word)
        return lambda: Split(
            word, labels[rows], lambda chosen: {key: array[rows[chosen]] for key, array in inputs.items()}
        )

    names = arrays.get("class_names")
    return Dataset(
        name=name,
        openers={str(word): opener(str(word)) for word in sorted(set(split.tolist()))},
        class_names=None if names is None else tuple(str(one) for one in names.ravel()),
    )

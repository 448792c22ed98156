"""Opens one split of a data set file: labels at once, samples on demand."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from edgepress_compression.data import spec as s
from edgepress_compression.data.audio import LogMel, cut_clips, log_mel
from edgepress_compression.data.npz import read_npz
from edgepress_compression.data.pictures import PictureRows, open_files, read_atlas
from edgepress_compression.data.preprocess import InputSpec, normalise_arrays, normalise_pictures
from edgepress_compression.data.typos import with_typos
from edgepress_compression.data.wordpiece import WordPiece
from edgepress_compression.errors import DatasetError

MAX_TEXT_BYTES = 512 << 20
Fetch = Callable[[np.ndarray], dict[str, np.ndarray]]  # row numbers -> arrays by input
# the same, with slips in a fraction of the words (typos.py)
Misspelled = Callable[[np.ndarray, float, np.random.Generator], dict[str, np.ndarray]]
Paths = Callable[[str], Path]

DEFAULT_INPUT = "input"  # stands for "the model's only input" until a model is known


class Opened(NamedTuple):
    """One split's samples."""

    labels: np.ndarray
    fetch: Fetch
    misspelled: Misspelled | None = None  # of texts
    unknown_token: int | None = None  # of texts


def open_split(spec: s.DatasetSpec, name: str, input_spec: InputSpec, paths: Paths) -> Opened:
    """Labels: int64 (N,), or for detection float32 (N, M, 5) with -1 as class of empty
    rows."""
    source = spec.source
    choice = s.split_spec(spec, name, s.SPLIT_TYPES[type(source)])
    match source:
        case s.NpzSource():
            return Opened(*_open_npz(source, choice, input_spec, paths))
        case s.ImagesSource():
            return Opened(*_open_images(source, choice, input_spec, paths))
        case s.AtlasSource():
            return Opened(*_open_atlas(source, choice, input_spec, paths))
        case s.BoxesSource():
            return Opened(*_open_boxes(source, choice, input_spec, paths))
        case s.TextSource():
            return _open_text(source, choice, paths)
        case s.AudioSource():
            if spec.features is None:
                raise DatasetError(f"{spec.name}: an audio source needs a [features] table.")
            return Opened(*_open_audio(source, choice, spec.features, input_spec, paths))


def whole_labels(labels: np.ndarray, where: str) -> np.ndarray:
    """Class numbers as int64 (N,)."""
    if labels.dtype.kind not in "iub" or labels.ndim != 1:
        raise DatasetError(
            f"{where}: labels must be one row of whole numbers, and are {labels.dtype} of shape "
            f"{labels.shape}."
        )
    if len(labels) and labels.min() < 0:
        raise DatasetError(f"{where}: a label is negative; classes are numbered from 0.")
    return labels.astype(np.int64)


def _array(arrays: dict[str, np.ndarray], name: str, path: Path) -> np.ndarray:
    if name not in arrays:
        raise DatasetError(
            f"{path.name} has no array {name!r}; it has: {', '.join(sorted(arrays)) or 'none'}."
        )
    return arrays[name]


def _open_npz(
    source: s.NpzSource, split: s.NpzSplit, input_spec: InputSpec, paths: Paths
) -> tuple[np.ndarray, Fetch]:
    location = split.path or source.path
    if location is None:
        raise DatasetError("A source of kind npz needs `path`, in [source] or in each split.")
    path = paths(location)
    arrays = read_npz(path, only={*split.arrays.values(), split.labels, *split.where})
    labels = whole_labels(_array(arrays, split.labels, path), path.name)
    columns = {name: _array(arrays, name, path) for name in split.where}
    rows = s.chosen_rows(split, len(labels), columns)
    inputs = {name: _array(arrays, array, path) for name, array in split.arrays.items()}
    for name, array in inputs.items():
        if array.ndim < 1 or len(array) != len(labels):
            raise DatasetError(
                f"{path.name}: {name!r} has {array.shape[:1]} samples and there are {len(labels)} labels."
            )

    def fetch(chosen: np.ndarray) -> dict[str, np.ndarray]:
        return {name: _as_input(array[rows[chosen]], input_spec) for name, array in inputs.items()}

    return labels[rows], fetch


def _as_input(stored: np.ndarray, input_spec: InputSpec) -> np.ndarray:
    """Whole numbers stay so when nothing is asked of them (token numbers); all else becomes float32."""
    untouched = (input_spec.scale, input_spec.mean, input_spec.std, input_spec.reshape) == (
        1.0,
        0.0,
        1.0,
        None,
    )
    return stored if untouched else normalise_arrays(stored, input_spec)


def _picture_fetch(pictures: PictureRows, input_spec: InputSpec) -> Fetch:
    name = input_spec.name or DEFAULT_INPUT
    return lambda chosen: {name: normalise_pictures(pictures.pixels(chosen), input_spec)}


def _open_images(
    source: s.ImagesSource, split: s.ImagesSplit, input_spec: InputSpec, paths: Paths
) -> tuple[np.ndarray, Fetch]:
    files = open_files(paths(source.path))
    columns = _csv_columns(_text(files.read(source.labels), source.labels), source.labels)
    for column in (source.file_column, source.label_column):
        if column not in columns:
            raise DatasetError(f"{source.labels} has no column {column!r}; it has: {', '.join(columns)}.")
    names = columns[source.file_column]
    rows = s.chosen_rows(split, len(names), columns)
    try:
        numbers = columns[source.label_column].astype(np.int64)
    except ValueError:
        raise DatasetError(
            f"{source.labels}: the column {source.label_column!r} must hold class numbers."
        ) from None
    labels = whole_labels(numbers, source.labels)[rows]
    return labels, _picture_fetch(PictureRows(files, names[rows].tolist(), input_spec), input_spec)


def _csv_columns(text: str, where: str) -> dict[str, np.ndarray]:
    try:
        lines = [line for line in csv.reader(io.StringIO(text)) if line]
    except csv.Error as error:
        raise DatasetError(f"{where} is not valid CSV: {error}.") from error
    if len(lines) < 2:
        raise DatasetError(f"{where} needs a line of column names and one line for each picture.")
    width = len(lines[0])
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != width:
            raise DatasetError(f"{where}, line {number}: {len(line)} values for {width} columns.")
    return {name.strip(): np.array([line[i] for line in lines[1:]]) for i, name in enumerate(lines[0])}


def _open_atlas(
    source: s.AtlasSource, split: s.AtlasSplit, input_spec: InputSpec, paths: Paths
) -> tuple[np.ndarray, Fetch]:
    labels_path = paths(source.labels_path)
    arrays = read_npz(labels_path, only={split.labels, *split.where})
    labels = whole_labels(_array(arrays, split.labels, labels_path), labels_path.name)
    rows = s.chosen_rows(
        split, len(labels), {name: _array(arrays, name, labels_path) for name in split.where}
    )
    tiles = read_atlas(paths(split.path), source.tile, len(labels), input_spec)[rows]
    name = input_spec.name or DEFAULT_INPUT
    return labels[rows], lambda chosen: {name: normalise_pictures(tiles[chosen], input_spec)}


class _Annotated(msgspec.Struct):
    file: str
    boxes: list[tuple[float, float, float, float, float]]  # class, x1, y1, x2, y2 in 0..1


class _Annotations(msgspec.Struct):
    images: list[_Annotated]


def _open_boxes(
    source: s.BoxesSource, split: s.BoxesSplit, input_spec: InputSpec, paths: Paths
) -> tuple[np.ndarray, Fetch]:
    files = open_files(paths(source.path))
    try:
        images = msgspec.json.decode(files.read(split.annotations), type=_Annotations).images
    except msgspec.DecodeError as error:
        raise DatasetError(f"{split.annotations}: {error}. See docs/datasets.md for the format.") from error
    rows = s.chosen_rows(split, len(images), {})
    chosen_images = [images[row] for row in rows]
    most = max(len(image.boxes) for image in chosen_images)
    boxes = np.full((len(rows), max(most, 1), 5), -1, dtype=np.float32)
    for row, image in enumerate(chosen_images):
        if image.boxes:
            boxes[row, : len(image.boxes)] = image.boxes
    prefix = f"{split.folder.rstrip('/')}/" if split.folder else ""
    names = [prefix + image.file for image in chosen_images]
    return boxes, _picture_fetch(PictureRows(files, names, input_spec), input_spec)


def _text(content: bytes, where: str) -> str:
    if len(content) > MAX_TEXT_BYTES:
        raise DatasetError(f"{where} is larger than {MAX_TEXT_BYTES:,} bytes; split it.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DatasetError(f"{where} is not UTF-8 text; save it as UTF-8.") from None


def _open_text(source: s.TextSource, split: s.TextSplit, paths: Paths) -> Opened:
    path = paths(split.path)
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise DatasetError(f"{path.name} is larger than {MAX_TEXT_BYTES:,} bytes; split it.")
        content = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}; check the path.") from error
    texts, numbers = [], []
    for number, line in enumerate(_text(content, path.name).splitlines(), start=1):
        cells = line.split("\t")
        try:
            texts.append(cells[source.text_column])
            numbers.append(int(cells[source.label_column]))
        except (IndexError, ValueError):
            raise DatasetError(
                f"{path.name}, line {number}: needs a class number in column {source.label_column} and "
                "text in "
                f"column {source.text_column}, separated by a tab."
            ) from None
    labels = whole_labels(np.array(numbers, dtype=np.int64), path.name)
    rows = s.chosen_rows(split, len(labels), {})
    tokens = WordPiece.from_file(paths(source.vocabulary), lowercase=source.lowercase)
    ids, mask = tokens.encode_batch([texts[row] for row in rows], source.max_length)

    def fetch(chosen: np.ndarray) -> dict[str, np.ndarray]:
        batch = {source.ids: ids[chosen]}
        if source.mask is not None:
            batch[source.mask] = mask[chosen]
        return batch

    def misspelled(chosen: np.ndarray, rate: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
        typed = [with_typos(texts[row], rate, rng) for row in rows[chosen]]
        typed_ids, typed_mask = tokens.encode_batch(typed, source.max_length)
        return {source.ids: typed_ids} | ({} if source.mask is None else {source.mask: typed_mask})

    return Opened(labels[rows], fetch, misspelled, tokens.unknown)


def _open_audio(
    source: s.AudioSource, split: s.AudioSplit, features: LogMel, input_spec: InputSpec, paths: Paths
) -> tuple[np.ndarray, Fetch]:
    path = paths(source.path)
    arrays = read_npz(path, only={source.audio, source.lengths, source.labels, *split.where})
    labels = whole_labels(_array(arrays, source.labels, path), path.name)
    rows = s.chosen_rows(split, len(labels), {name: _array(arrays, name, path) for name in split.where})
    clips = cut_clips(_array(arrays, source.audio, path), _array(arrays, source.lengths, path))
    if len(clips) != len(labels):
        raise DatasetError(f"{path.name} has {len(clips)} clips and {len(labels)} labels.")
    name = input_spec.name or DEFAULT_INPUT
    kept: list[np.ndarray] = []  # features of the whole split, made on first use: small beside the audio

    def fetch(chosen: np.ndarray) -> dict[str, np.ndarray]:
        if not kept:
            kept.append(log_mel([clips[row] for row in rows], features))
        return {name: kept[0][chosen]}

    return labels[rows], fetch

"""The data set file (TOML) as types. docs/datasets.md describes every field with an example of each kind."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from edgepress_compression.data.audio import LogMel
from edgepress_compression.data.preprocess import InputSpec
from edgepress_compression.errors import DatasetError

MAX_TOML_BYTES = 1 << 20
DATA_VARIABLE = "EDGEPRESS_DATA"

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]


class NpzSource(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="npz"
):
    path: str | None = None  # a split may name its own


class ImagesSource(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="images"
):
    path: str  # folder or uncompressed tar
    labels: str = "labels.csv"  # inside it
    file_column: str = "file"
    label_column: str = "label"


class AtlasSource(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="atlas"
):
    tile: tuple[Positive, Positive]  # height, width in pixels
    labels_path: str  # .npz


class BoxesSource(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="boxes"
):
    path: str  # folder or uncompressed tar of pictures


class TextSource(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="text"
):
    vocabulary: str
    max_length: Annotated[int, msgspec.Meta(ge=2, le=8192)]
    lowercase: bool = True
    label_column: NotNegative = 0
    text_column: NotNegative = 1
    ids: str = "input_ids"  # the model's inputs
    mask: str | None = "attention_mask"


class AudioSource(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="audio"
):
    path: str  # .npz
    audio: str = "audio"  # names of its arrays
    lengths: str = "length"
    labels: str = "label"


Source = NpzSource | ImagesSource | AtlasSource | BoxesSource | TextSource | AudioSource


class RowChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which rows of a source a split takes, in this order: `where`, then `rows`, then `modulo`."""

    where: dict[str, list[int | str]] = {}  # column -> accepted values
    rows: tuple[NotNegative, NotNegative] | None = None  # first, end (excluded)
    modulo: Positive | None = None  # takes row i when i % modulo is one of `remainders`
    remainders: list[NotNegative] = []


class NpzSplit(RowChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    arrays: dict[str, str]  # model input -> array
    labels: str
    path: str | None = None


class ImagesSplit(RowChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class AtlasSplit(RowChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str
    labels: str  # array in `labels_path`


class BoxesSplit(RowChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    annotations: str  # JSON inside the source: {"classes": [...], "images": [{"file", "boxes"}]}
    folder: str = ""  # of the pictures, inside the source


class TextSplit(RowChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    path: str  # tab-separated, no header


class AudioSplit(RowChoice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


SPLIT_TYPES: dict[type, type[RowChoice]] = {
    NpzSource: NpzSplit,
    ImagesSource: ImagesSplit,
    AtlasSource: AtlasSplit,
    BoxesSource: BoxesSplit,
    TextSource: TextSplit,
    AudioSource: AudioSplit,
}


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another preprocessing of the same samples, for models that were trained with it."""

    models: list[str] = []  # patterns of model names, such as "resnet20*"
    input: dict[str, Any] = {}  # replaces these keys of [input]


class DatasetSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    source: Source
    splits: dict[str, dict[str, Any]]
    task: Literal["classification", "detection"] = "classification"
    classes: list[str] | None = None
    classes_file: str | None = None  # tab-separated; the last column is the name
    input: InputSpec = InputSpec()
    features: LogMel | None = None
    decode: Literal["fastestdet"] | None = None  # how a detector's output becomes boxes
    variants: dict[str, Variant] = {}


def read_spec(text: str, where: str) -> DatasetSpec:
    try:
        spec = msgspec.convert(tomllib.loads(text), DatasetSpec)
        _check(spec)
    except tomllib.TOMLDecodeError as error:
        raise DatasetError(f"{where} is not valid TOML: {error}.") from error
    except (msgspec.ValidationError, ValueError) as error:
        raise DatasetError(f"{where}: {error}. See docs/datasets.md for the format.") from error
    return spec


def _check(spec: DatasetSpec) -> None:
    if not spec.splits:
        raise ValueError(
            "it has no splits; add [splits.test], and [splits.train] for calibration and training"
        )
    if isinstance(spec.source, AudioSource) and spec.features is None:
        raise ValueError("an audio source needs a [features] table")
    if spec.task == "detection" and spec.decode is None:
        raise ValueError('task "detection" needs `decode`, which says how boxes are read from the output')
    if (spec.task == "detection") != isinstance(spec.source, BoxesSource):
        raise ValueError('task "detection" and source kind "boxes" go together')
    for name, variant in spec.variants.items():
        try:
            variant_input(spec, variant)
        except msgspec.ValidationError as error:
            raise ValueError(f"variant {name}: {error}") from error


def variant_input(spec: DatasetSpec, variant: Variant | None) -> InputSpec:
    """[input] with the variant's keys in place."""
    if variant is None:
        return spec.input
    merged = {name: getattr(spec.input, name) for name in spec.input.__struct_fields__} | variant.input
    return msgspec.convert(merged, InputSpec)


def split_spec(spec: DatasetSpec, name: str, kind: type[RowChoice]) -> Any:
    try:
        choice = msgspec.convert(spec.splits[name], kind)
    except msgspec.ValidationError as error:
        raise DatasetError(f"[splits.{name}] of {spec.name}: {error}. See docs/datasets.md.") from error
    if choice.modulo is not None and not all(r < choice.modulo for r in choice.remainders):
        raise DatasetError(f"[splits.{name}] of {spec.name}: `remainders` must be smaller than `modulo`.")
    return choice


def chosen_rows(choice: RowChoice, count: int, columns: dict[str, np.ndarray]) -> np.ndarray:
    """Row numbers (int64) that the split takes of `count` rows."""
    rows = np.arange(count)
    for column, accepted in choice.where.items():
        if column not in columns:
            raise DatasetError(
                f"There is no column {column!r} to choose rows by; there are: {', '.join(columns)}."
            )
        values = columns[column]
        if len(values) != count:
            raise DatasetError(f"The column {column!r} has {len(values)} values for {count} rows.")
        rows = rows[np.isin(values[rows].astype(str), [str(value) for value in accepted])]
    if choice.rows is not None:
        rows = rows[choice.rows[0] : choice.rows[1]]
    if choice.modulo is not None:
        rows = rows[np.isin(rows % choice.modulo, choice.remainders)]
    if not len(rows):
        raise DatasetError("A split takes no rows; correct its `where`, `rows`, `modulo` and `remainders`.")
    return rows


def resolve(text: str, base: Path, inside: Path | None) -> Path:
    """A path of the file: relative to the file's folder, with ${EDGEPRESS_DATA} put in.

    `inside` is the only folder that may be read when the file came from a stranger; ${...} is refused then.
    """
    if inside is not None:
        path = (base / text).resolve()
        if "${" in text or not path.is_relative_to(inside.resolve()):
            raise DatasetError(
                f"The path {text!r} leads out of the data set's own folder; use a path inside it."
            )
        return path
    variable = "${" + DATA_VARIABLE + "}"
    if variable in text:
        text = text.replace(variable, str(data_folder(base)))
    return base / text


def data_folder(start: Path) -> Path:
    """EDGEPRESS_DATA, or `../shared/data` beside the repository that holds `start`."""
    if configured := os.environ.get(DATA_VARIABLE):
        return Path(configured)
    for folder in (start.resolve(), *start.resolve().parents):
        if (folder / "pyproject.toml").is_file():
            return folder.parent / "shared" / "data"
    raise DatasetError(f"Set {DATA_VARIABLE} to the folder with the data; this file refers to it.")

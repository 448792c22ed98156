"""Turns a sample and its answer into the few numbers that drift is watched by; the same here and on devices.

Of a row (one sample, without the batch axis):

* ``planes``   pictures, spectrograms, signals: of each channel (at most four, else all as one) mean, std,
               min, max and gradient, the mean squared step to the next element to the right and below,
               which blur lowers and noise raises. Of at most 32 x 32 elements (1024 of a signal) in a grid.
* ``columns``  each of at most 32 values as it is
* ``tokens``   length (ids that are not 0), distinct (share of them that differ), mean id, and unknown (share
               of them that stand for a word nobody knows) where that id is known

Whoever looks elsewhere must look the same way: the baseline's edges are of these numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact.baseline import FEATURES_MAX, NAME_MAX_CHARS, Form, Kind, Look

CHANNELS_MAX: Final = 4
SIDE_MAX: Final = 32
SIGNAL_MAX: Final = SIDE_MAX * SIDE_MAX
PLANE_FEATURES: Final = ("mean", "std", "min", "max", "gradient")
_SHORT_NAME_CHARS: Final = 40
_SUM_NEAR_ONE: Final = 0.01

Arrays = Mapping[str, NDArray[Any]]


def choose_looks(rows: Arrays, *, unknown: int | None = None) -> tuple[Look, ...]:
    """How to look at inputs of which these are some: arrays by name, batch axis first.

    ``unknown``: id of the token for words nobody knows. An input of strings, or with a name too long for a
    header, is not looked at.
    """
    looks = []
    for name, array in rows.items():
        if array.dtype.kind not in "biuf" or not 0 < len(name) <= NAME_MAX_CHARS:
            continue
        kind = _kind(array)
        ids = kind == "tokens" and bool(array.size) and int(array.max()) > 1  # not a mask
        looks.append(Look(name, kind, _channels(array) if kind == "planes" else "", unknown if ids else None))
    return tuple(looks)


def feature_names(looks: Sequence[Look], rows: Arrays) -> list[str]:
    """The names of what ``input_features`` gives, in its order."""
    names: list[str] = []
    for number, look in enumerate(looks):
        prefix = look.input if len(look.input) <= _SHORT_NAME_CHARS else f"input {number}"
        row = rows[look.input][0]
        if look.kind == "columns":
            names += [f"{prefix}.{column}" for column in range(row.size)]
        elif look.kind == "tokens":
            stats = ("length", "distinct", "mean", "unknown")[: 3 if look.unknown is None else 4]
            names += [f"{prefix}.{stat}" for stat in stats]
        else:
            channels = _planes(look, row).shape[0]
            names += [
                f"{prefix}.{stat}" if channels == 1 else f"{prefix}.{channel}.{stat}"
                for channel in range(channels)
                for stat in PLANE_FEATURES
            ]
    return names[:FEATURES_MAX]


def input_features(looks: Sequence[Look], feeds: Arrays, row: int) -> list[float]:
    """The numbers of sample ``row`` of a request; an input that is missing raises KeyError."""
    found: list[float] = []
    for look in looks:
        one = feeds[look.input][row]
        if look.kind == "columns":
            found += one.reshape(-1).astype(np.float64).tolist()
        elif look.kind == "tokens":
            found += _token_features(one, look.unknown)
        else:
            found += plane_features(_planes(look, one))
    return found[:FEATURES_MAX]


def plane_features(planes: NDArray[Any]) -> list[float]:
    """Of (C, H, W): the five numbers of each channel, channel by channel.

    Devices do this for every request: bare reductions cost a third of ``mean`` and the like.
    """
    channels, height, width = planes.shape
    down = -(-height // SIDE_MAX) if height > 1 else 1
    right = -(-width // (SIDE_MAX if height > 1 else SIGNAL_MAX))
    seen = np.ascontiguousarray(planes[:, ::down, ::right], np.float64)  # channels last would stay so, slowly
    values = seen.reshape(channels, -1)  # (C, at most 1024)
    count = values.shape[1]
    mean = np.add.reduce(values, axis=1) / count
    variance = np.add.reduce(values * values, axis=1) / count - mean * mean
    columns = (
        mean.tolist(),
        np.sqrt(np.maximum(variance, 0.0)).tolist(),
        np.minimum.reduce(values, axis=1).tolist(),
        np.maximum.reduce(values, axis=1).tolist(),
        _gradient(planes, down, right),
    )
    return [number for channel in zip(*columns, strict=True) for number in channel]


def answer_form(outputs: NDArray[Any]) -> Form:
    """What an output (N, ...) holds of a classifier's answers; "values" where it is none."""
    if outputs.ndim != 2 or outputs.shape[1] < 2:
        return "values"
    if outputs.dtype.kind in "iu":
        return "counts" if int(outputs.min(initial=0)) >= 0 else "values"
    sums = outputs.astype(np.float64).sum(axis=1)
    is_share = bool((outputs >= 0).all()) and bool((np.abs(sums - 1.0) <= _SUM_NEAR_ONE).all())
    return "probabilities" if is_share else "logits"


def class_shares(form: Form, answer: NDArray[Any]) -> NDArray[np.float64]:
    """(classes,) shares that add up to one, of one row of a classifier's output."""
    values = answer.astype(np.float64)
    if form == "logits":
        values = np.exp(values - np.maximum.reduce(values))
    total = np.add.reduce(values)
    return values / total if total > 0 else values


def values_features(answer: NDArray[Any]) -> list[float]:
    """mean and std of one row of an output that is no classifier's, of at most 1024 values, evenly spread."""
    flat = answer.reshape(-1)
    values = flat[:: -(-flat.size // SIGNAL_MAX) or 1].astype(np.float64)
    return [float(values.mean()), float(values.std())] if values.size else [0.0, 0.0]


def _kind(array: NDArray[Any]) -> Kind:
    per_row = array[0].size if len(array) else 0
    if array.ndim <= 2:
        whole = array.dtype.kind in "iu" and array.dtype.itemsize >= 4
        if whole and (per_row > FEATURES_MAX or not array.size or int(array.max()) > 255):
            return "tokens"
        if per_row <= FEATURES_MAX:
            return "columns"
    return "planes"


def _channels(array: NDArray[Any]) -> Any:
    if array.ndim < 4:
        return ""
    if array.shape[1] <= CHANNELS_MAX:
        return "first"
    return "last" if array.shape[-1] <= CHANNELS_MAX else ""


def _planes(look: Look, row: NDArray[Any]) -> NDArray[Any]:
    """(C, H, W), a view where that can be."""
    if look.channels == "first":
        split = row
    elif look.channels == "last":
        split = np.moveaxis(row, -1, 0)
    else:
        split = row[None]
    if split.ndim == 2:
        return split[:, None, :]
    return split if split.ndim == 3 else split.reshape(split.shape[0], -1, split.shape[-1] or 1)


def _gradient(planes: NDArray[Any], down: int, right: int) -> list[float]:
    channels, height, width = planes.shape
    if width < 2:
        return [0.0] * channels
    rows = slice(0, height - 1, down) if height > 1 else slice(None)
    here = np.ascontiguousarray(planes[:, rows, 0 : width - 1 : right], np.float64)
    step = planes[:, rows, 1:width:right] - here
    squares = step * step
    if height > 1:
        step = planes[:, 1:height:down, 0 : width - 1 : right] - here
        squares += step * step
    flat = squares.reshape(channels, -1)
    found: list[float] = (np.add.reduce(flat, axis=1) / flat.shape[1]).tolist()
    return found


def _token_features(ids: NDArray[Any], unknown: int | None) -> list[float]:
    used = ids[ids != 0]
    length = int(used.size)
    distinct = len(np.unique(used)) / length if length else 0.0
    found = [float(length), distinct, float(used.mean()) if length else 0.0]
    if unknown is not None:
        found.append(float((used == unknown).sum()) / length if length else 0.0)
    return found

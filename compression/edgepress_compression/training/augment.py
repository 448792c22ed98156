"""More samples than there are: pictures flipped, moved, cut and blurred by noise, samples mixed.

What keeps a sample what it is (flip, shift, crop, noise) is in `augmented`; what makes a new one of two, with
two answers, is in `mixed`. Both only touch what they fit: float pictures (batch, channels, height, width).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np

from edgepress_compression.training.shift import shifted

_LEAST_SIDE = 8  # pixels; what is smaller is no picture

Fraction = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
Alpha = Annotated[float, msgspec.Meta(ge=0.0, le=8.0)]


class Augment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done to training samples; each 0 or false does nothing."""

    flip: bool = False  # half of the pictures, left to right: not for digits or writing
    shift: Fraction = 0.0  # of a picture's size each way, the border repeated
    crop: Fraction = 0.0  # a window of at least 1 - crop of the area, stretched to the whole
    noise: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.0  # Gaussian, of the batch's own deviation
    mixup: Alpha = 0.0  # Zhang et al. 2018: lambda ~ Beta(alpha, alpha)
    cutmix: Alpha = 0.0  # Yun et al. 2019, the same lambda for the area that stays
    typos: Fraction = 0.0  # of the words of a text

    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


@dataclass(frozen=True)
class Mix:
    """Each sample is `share` of itself and the rest of the sample `partner` of the batch."""

    partner: np.ndarray  # (batch,) int64
    share: float


def augmented(
    inputs: Mapping[str, np.ndarray], augment: Augment, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Samples that are the same to a person. Inputs by name, batch first."""
    return {name: _augmented(array, augment, rng) for name, array in inputs.items()}


def _augmented(array: np.ndarray, augment: Augment, rng: np.random.Generator) -> np.ndarray:
    if not is_picture(array):
        return _noisy(array, augment.noise, rng) if array.dtype == np.float32 else array
    if augment.shift > 0:
        array = shifted(array, augment.shift, rng)
    if augment.crop > 0:
        array = cropped(array, augment.crop, rng)
    if augment.flip:
        array = flipped(array, rng)
    return _noisy(array, augment.noise, rng)


def is_picture(array: np.ndarray) -> bool:
    """Float, (batch, channels, height, width), not tiny."""
    return array.ndim == 4 and array.dtype == np.float32 and min(array.shape[2:]) >= _LEAST_SIDE


def flipped(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Half of the pictures (batch, channels, height, width), drawn by `rng`, seen in a mirror."""
    turned = rng.random(len(array)) < 0.5
    result = array.copy()
    result[turned] = array[turned][..., ::-1]
    return result


def cropped(array: np.ndarray, most: float, rng: np.random.Generator) -> np.ndarray:
    """Of each picture a window of 1 - `most` to 1 of its area and its shape, stretched to the whole size by
    the nearest pixel (Szegedy et al. 2015 crop so; here without a change of shape)."""
    batch, _, height, width = array.shape
    side = np.sqrt(rng.uniform(1 - most, 1, batch))
    rows = _window(height, side, rng)  # (batch, height)
    columns = _window(width, side, rng)
    sample = np.arange(batch)[:, None, None]
    moved = array.transpose(0, 2, 3, 1)[sample, rows[:, :, None], columns[:, None, :]]
    return np.ascontiguousarray(moved.transpose(0, 3, 1, 2))


def _window(size: int, side: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    first = rng.random(len(side)) * (1 - side) * size
    positions = first[:, None] + side[:, None] * (np.arange(size) + 0.5)[None, :]
    whole: np.ndarray = np.clip(positions.astype(np.int64), 0, size - 1)
    return whole


def _noisy(array: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    if amount <= 0:
        return array
    deviation = float(array.std()) * amount
    return array + (deviation * rng.standard_normal(array.shape, dtype=np.float32)).astype(np.float32)


def mixed(
    inputs: Mapping[str, np.ndarray], augment: Augment, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], Mix | None]:
    """Each sample mixed with another of the batch, and how; (the inputs, None) where nothing is to be mixed
    or an input is no picture. With both mixup and cutmix one is drawn for each batch."""
    if not augment.mixes() or not all(is_picture(array) for array in inputs.values()):
        return dict(inputs), None
    cut = augment.cutmix > 0 and (augment.mixup <= 0 or rng.random() < 0.5)
    alpha = augment.cutmix if cut else augment.mixup
    share = float(rng.beta(alpha, alpha))
    partner = rng.permutation(len(next(iter(inputs.values()))))
    if not cut:
        blended = {
            name: (np.float32(share) * array + np.float32(1 - share) * array[partner]).astype(np.float32)
            for name, array in inputs.items()
        }
        return blended, Mix(partner, share)
    result, kept = {}, 1.0
    place = rng.random(2)
    for name, array in inputs.items():
        height, width = array.shape[2:]
        top, bottom = _patch(height, share, place[0])
        left, right = _patch(width, share, place[1])
        copy = array.copy()
        copy[:, :, top:bottom, left:right] = array[partner][:, :, top:bottom, left:right]
        result[name] = copy
        kept = 1.0 - (bottom - top) * (right - left) / (height * width)
    return result, Mix(partner, kept)


def _patch(size: int, share: float, place: float) -> tuple[int, int]:
    """The rows (or columns) that come from the partner: sqrt(1 - share) of all, around a place, cut off at
    the border (Yun et al. 2019, equation 2)."""
    half = size * np.sqrt(1 - share) / 2
    centre = place * size
    return int(np.clip(round(centre - half), 0, size)), int(np.clip(round(centre + half), 0, size))

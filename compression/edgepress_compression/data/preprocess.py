"""From a decoded picture or stored array to what the model's input expects.

stored -> resize, crop -> uint8 or float (H, W, C) -> channel order -> (x * scale - mean) / std -> layout
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from PIL import Image

from edgepress_compression.errors import DatasetError


class InputSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The `[input]` table of a data set file. All values apply to stored values of 0..255 unless the
    source says else."""

    name: str | None = None  # the model's input; None fits a model with one input
    channels: Literal["RGB", "BGR", "grey"] = "RGB"
    resize: int | tuple[int, int] | None = None  # pixels of the shorter side, or stretch to (height, width)
    crop: int | tuple[int, int] | None = None  # centre crop, pixels
    reshape: tuple[int, ...] | None = None  # shape of one stored sample, for arrays
    scale: float = 1.0
    mean: float | tuple[float, ...] = 0.0  # per channel, in the order of `channels`
    std: float | tuple[float, ...] = 1.0
    layout: Literal["NCHW", "NHWC"] = "NCHW"


def fit_picture(picture: Image.Image, spec: InputSpec) -> np.ndarray:
    """Resized, cropped and in the model's channel order: uint8 (H, W, C)."""
    picture = picture.convert("L" if spec.channels == "grey" else "RGB")
    if isinstance(spec.resize, int):
        width, height = picture.size
        shorter = min(width, height)
        if shorter != spec.resize:
            size = (round(width * spec.resize / shorter), round(height * spec.resize / shorter))
            picture = picture.resize(size, Image.Resampling.BILINEAR)
    elif spec.resize is not None:
        height, width = spec.resize
        picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    if spec.crop is not None:
        height, width = (spec.crop, spec.crop) if isinstance(spec.crop, int) else spec.crop
        if picture.width < width or picture.height < height:
            raise DatasetError(
                f"A picture of {picture.width} x {picture.height} pixels is smaller than the crop of "
                f"{width} x "
                f"{height}; set `resize` in [input] to at least {max(width, height)}."
            )
        left, top = (picture.width - width) // 2, (picture.height - height) // 2
        picture = picture.crop((left, top, left + width, top + height))
    pixels = np.asarray(picture, dtype=np.uint8)
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    return pixels[:, :, ::-1] if spec.channels == "BGR" else pixels


def normalise_pictures(pixels: np.ndarray, spec: InputSpec) -> np.ndarray:
    """(N, H, W, C) uint8 -> float32 in the layout of the spec."""
    values = _normalise(pixels, spec, channel_axis=3)
    return values if spec.layout == "NHWC" else np.ascontiguousarray(values.transpose(0, 3, 1, 2))


def normalise_arrays(stored: np.ndarray, spec: InputSpec) -> np.ndarray:
    """(N, ...) stored numbers, reshaped if the spec says so -> float32; channels are where the layout has
    them."""
    if spec.reshape is not None:
        try:
            stored = stored.reshape((len(stored), *spec.reshape))
        except ValueError:
            raise DatasetError(
                f"A sample of shape {stored.shape[1:]} cannot become {spec.reshape}; correct `reshape` in "
                "[input]."
            ) from None
    return _normalise(stored, spec, channel_axis=1 if spec.layout == "NCHW" else stored.ndim - 1)


def _normalise(stored: np.ndarray, spec: InputSpec, channel_axis: int) -> np.ndarray:
    mean, std = np.asarray(spec.mean, np.float32), np.asarray(spec.std, np.float32)  # () or (C,)
    for what, constant in (("mean", mean), ("std", std)):
        if constant.ndim and (channel_axis >= stored.ndim or len(constant) != stored.shape[channel_axis]):
            raise DatasetError(
                f"`{what}` in [input] has {constant.size} values, which does not fit samples of shape "
                f"{stored.shape[1:]} with layout {spec.layout}."
            )
    if not np.all(std):
        raise DatasetError("`std` in [input] is 0; give the divisor of each channel.")
    broadcast = [1] * stored.ndim
    broadcast[min(channel_axis, stored.ndim - 1)] = -1
    values = stored.astype(np.float32)
    if spec.scale != 1.0:
        values *= np.float32(spec.scale)
    if np.any(mean):
        values -= mean.reshape(broadcast) if mean.ndim else mean
    if np.any(std != 1.0):
        values /= std.reshape(broadcast) if std.ndim else std
    return values

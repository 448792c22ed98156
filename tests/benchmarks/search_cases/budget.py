"""A budget on real models: half the latency at one point or less, within 15 minutes on 2 cores.

SqueezeNet 1.1 and EfficientNet-Lite0 on the ImageNet sample, profile x86-pc, latency on this machine. Then
the best single recipes in the same run: the chosen point may be worse than none of them that meets the
budget, on no axis: latency (each in turns with the original), bytes, accuracy (test split, within one
standard error of the paired difference).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepress_compression.artifact.read import decode
from edgepress_compression.compress import compress, sample_feed
from edgepress_compression.data.dataset import Dataset, load_dataset
from edgepress_compression.data.fit import fit
from edgepress_compression.search.budget import Budget
from edgepress_compression.search.judge import Judge
from edgepress_compression.search.log import FileLog
from edgepress_compression.search.search import search
from edgepress_compression.search.timing import undisturbed_us
from edgepress_compression.source import Source, read_source
from edgepress_devices.profile import load_profile
from search_cases.case import Row

TITLE = "Budget: half the latency at one point or less"
MODELS = ("squeezenet1.1", "efficientnet_lite0")
RECIPES = ("int8", "best-latency", "balanced", "rate-distortion")  # the last at the chosen point's bytes
PROFILE = "x86-pc"
SECONDS = 900.0
MAX_DROP = 0.01
DATA = Path(__file__).parents[1] / "datasets" / "imagenet_sample.toml"
NOISE = 1.03  # of latencies, in turns


@dataclass(frozen=True)
class Made:
    name: str
    artifact: bytes
    right: np.ndarray  # (rows of the test split,) bool
    latency_us: float = 0.0


def measure(
    folder: Path,
    *,
    models: Sequence[str] = MODELS,
    seconds: float = SECONDS,
    workers: int | None = None,
    recipes: Sequence[str] = RECIPES,
    seed: int = 0,
    resume: Path | None = None,
) -> Iterator[Row]:
    for name in models:
        path = folder / "models" / f"{name}.onnx"
        yield from _model(path, seconds, workers or min(2, os.cpu_count() or 1), recipes, seed, resume)


def _model(
    path: Path, seconds: float, workers: int, recipes: Sequence[str], seed: int, resume: Path | None
) -> Iterator[Row]:
    source, dataset, profile = read_source(path), load_dataset(DATA), load_profile(PROFILE)
    before = source.graph.serialize()
    data = fit(dataset, source.graph.inputs, source.graph.outputs, model_name=source.name)
    feed = sample_feed(before, source.graph, data, seed)
    whole_us = undisturbed_us(before, before, feed, threads=1, seconds=3.0)[0]
    budget = Budget(latency_us=whole_us / 2, max_drop=MAX_DROP)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as spare, FileLog((resume or Path(spare)) / path.stem) as log:
        result = search(path, profile, dataset, budget, log=log, seconds=seconds, workers=workers, seed=seed)
    taken = time.monotonic() - began
    case = f"budget, {path.stem}"
    if result.best is None or result.artifact is None or result.report is None:
        yield Row(case=case, what="the search", figures=" ".join(result.blocked), met=False, target=_target())
        return
    judge = Judge(before, data.split("test"), threads=1, check=lambda: None)
    rows = judge.rows
    original = judge.answers(before, rows).right
    chosen = Made("the search", result.artifact, judge.answers(decode(result.artifact), rows).right)
    made = [chosen]
    for recipe in recipes:
        aimed = len(chosen.artifact) if recipe == "rate-distortion" else None
        one = compress(path, recipe=recipe, profile=profile, dataset=dataset, seed=seed, target_bytes=aimed)
        made.append(Made(recipe, one.artifact, judge.answers(decode(one.artifact), rows).right))
    made = _timed(source, dataset, made, seed)
    first = made[0]
    for one in made:
        drop = float((original.astype(float) - one.right).mean())
        meets = one.latency_us <= 0.5 and drop <= MAX_DROP
        words = (
            f"{one.latency_us:.3f} of the latency, {len(one.artifact):,} B, {-100 * drop:+.2f} points on "
            f"{rows} test rows"
        )
        if one is first:
            words += f"; trial {result.best.number} of {result.trials}, {result.best.title}; {taken:.0f} s"
            met: bool | None = meets and taken <= SECONDS * 1.1
        else:
            words += "" if meets else " (not within the budget)"
            met = _no_worse(first, one) if meets else None
        yield Row(
            case=case,
            what=one.name,
            figures=words,
            met=met,
            target=_target() if one is first else "the search is no worse",
            numbers={"latency_share": one.latency_us, "bytes": len(one.artifact), "drop": drop},
        )


def _target() -> str:
    return "half the latency, <= 1.0 point, 15 minutes"


def _no_worse(chosen: Made, other: Made) -> bool:
    lost = other.right.astype(float) - chosen.right
    error = float(lost.std(ddof=1)) / np.sqrt(len(lost))
    return bool(
        chosen.latency_us <= NOISE * other.latency_us
        and len(chosen.artifact) <= len(other.artifact)
        and lost.mean() <= error
    )


def _timed(source: Source, dataset: Dataset, made: Sequence[Made], seed: int) -> list[Made]:
    """Each in turns with the original: its share of that latency."""
    before = source.graph.serialize()
    data = fit(dataset, source.graph.inputs, source.graph.outputs, model_name=source.name)
    feed = sample_feed(before, source.graph, data, seed)
    shares = []
    for one in made:
        first_us, second_us = undisturbed_us(before, decode(one.artifact), feed, threads=1, seconds=4.0)
        shares.append(second_us / first_us)
    return [Made(one.name, one.artifact, one.right, share) for one, share in zip(made, shares, strict=True)]

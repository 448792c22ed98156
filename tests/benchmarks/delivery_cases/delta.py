"""Deltas between real artifacts: the model before and after fine-tuning, both compressed from scratch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from delivery_cases.case import Options, Row
from edgepress_compression.artifact.read import decode
from edgepress_compression.artifact.rebase import write_delta
from edgepress_compression.compress import compress
from edgepress_compression.data.spec import data_folder

TITLE: Final = "Deltas: LeNet-5 on MNIST, compressed again from scratch after it changed; real models"
RECIPES: Final = ("int8", "weight-only", "rate-distortion", "none")
TARGET: Final = 5.0
DATASET: Final = Path(__file__).parents[1] / "datasets" / "mnist.toml"


def measure(options: Options) -> Iterator[Row]:
    folder = data_folder(Path(__file__))
    if not folder.is_dir():
        print(f"  There is no data folder {folder}; set EDGEPRESS_DATA to it.")
        return
    os.environ["EDGEPRESS_DATA"] = str(folder.resolve())
    from delivery_cases.fine_tuned import LAST_LAYER, MODEL, fine_tuned

    before = folder / "models" / f"{MODEL}.onnx"
    changed = {
        "one epoch": fine_tuned(folder, options.folder / "epoch.onnx", rate=1e-3),
        "a new last layer": fine_tuned(folder, options.folder / "last.onnx", rate=1e-2, only=LAST_LAYER),
    }
    for recipe in RECIPES:
        base = _compress(before, recipe, MODEL)
        for what, after in changed.items():
            full = _compress(after, recipe, MODEL)
            delta = write_delta(full, base)
            same = decode(delta, base=decode(base)) == decode(full)
            yield Row(
                case="delta",
                what=f"{recipe}, {what}",
                measured=f"{len(delta):,} B of {len(full):,}: {len(full) / len(delta):.1f} times smaller",
                peer="decoded: the same bytes" if same else "decoded: ANOTHER MODEL",
                target="" if recipe == "none" else "5 times or more",
                met=None if recipe == "none" else same and len(full) >= TARGET * len(delta),
                numbers={"delta_bytes": len(delta), "full_bytes": len(full)},
            )


def _compress(path: Path, recipe: str, name: str) -> bytes:
    return compress(
        path,
        recipe=recipe,
        profile="x86-pc",
        dataset=DATASET,
        model_name=name,
        latency_seconds=0.1,
        stage_seconds=0.02,
    ).artifact

"""SqueezeNet 1.1 in at most 400,000 bytes, without labels: the whole artifact, decoded, run in onnxruntime.

The recipe sees the inputs of the 200 images of the split `train`; the other 500 test. The sample's accuracy
is inflated (its images look like training images): only the difference counts, and one image is 0.2 points.
What chance does to the difference is printed beside it: images that became right and images that became wrong
pull both ways, and the standard error is that of their count.

Needs the data folder (EDGEPRESS_DATA, default ../shared/data). Exits with 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgepress_compression.artifact.read import decode
from edgepress_compression.compress import Progress, compress
from edgepress_compression.data.dataset import Split, load_dataset
from edgepress_compression.data.fit import fit
from edgepress_compression.data.spec import data_folder
from edgepress_compression.evaluate import open_session, run
from edgepress_compression.graph.load import load_model
from edgepress_compression.recipe import BUDGETED, load_recipe
from edgepress_devices.profile import load_profile

MODEL = "squeezenet1.1"
RECIPE = "rate-distortion"
RECIPES = (RECIPE, "layer-distillation", "none", "int8", "deep-compression")
MOST_BYTES = 400_000
MOST_LOST_POINTS = 0.5
_BATCH = 20


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line last")
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each recipe, each with the next seed")
    parser.add_argument("--bytes", type=int, default=MOST_BYTES, help="of the whole artifact")
    parser.add_argument(
        "--recipe", choices=RECIPES, action="append", help=f"instead of {RECIPE}; may be given several times"
    )
    arguments = parser.parse_args()
    folder = data_folder(Path(__file__))
    if not folder.is_dir():
        print(f"There is no data folder {folder}; set EDGEPRESS_DATA to it.", file=sys.stderr)
        return 2
    recipes = arguments.recipe or [RECIPE]
    runs = [(name, arguments.seed + number) for name in recipes for number in range(arguments.seeds)]
    rows = [measure(folder, name, seed, arguments.bytes) for name, seed in runs]
    print(
        f"{'recipe':<20}{'seed':>5}{'artifact B':>12}{'ratio':>7}{'top-1':>8}{'after':>8}{'points':>8}"
        f"{'+-':>6}{'same answer':>13}{'seconds':>9}  goals"
    )
    for row in rows:
        verdict = "-" if row["met"] is None else "met" if row["met"] else "MISSED"
        print(
            f"{row['recipe']:<20}{row['seed']:>5}{row['artifact_bytes']:>12,}{row['ratio']:>7.2f}"
            f"{row['before']:>8.2%}{row['after']:>8.2%}{-row['lost_points']:>+8.2f}"
            f"{row['standard_error_points']:>6.2f}{row['agreement']:>13.2%}{row['seconds']:>9.0f}  {verdict}"
        )
    if arguments.json:
        print(json.dumps({"benchmark": "squeezenet", "rows": rows}))
    return 1 if any(row["met"] is False for row in rows) else 0


def measure(folder: Path, recipe: str, seed: int, most_bytes: int) -> dict[str, Any]:
    def say(progress: Progress) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{recipe} {progress.fraction:4.0%} {progress.message}", end="", file=sys.stderr)

    path = folder / "models" / f"{MODEL}.onnx"
    dataset = load_dataset(Path(__file__).parent / "datasets" / "imagenet_sample.toml")
    budgeted = any(step.name in BUDGETED for step in load_recipe(recipe).passes)
    result = compress(
        path,
        recipe=recipe,
        profile=load_profile("x86-pc"),
        dataset=dataset,
        progress=say,
        seed=seed,
        target_bytes=most_bytes if budgeted else None,
    )
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    report = result.report
    graph = load_model(path)
    split = fit(dataset, graph.inputs, graph.outputs, model_name=MODEL).split("test")
    before, after = (
        answers(model, split)
        for model in (graph.serialize(), decode(result.artifact, max_bytes=report["bytes"]["onnx_after"]))
    )
    right_before, right_after = before == split.labels, after == split.labels
    lost_points = 100 * (right_before.mean() - right_after.mean())
    return {
        "recipe": recipe,
        "seed": seed,
        "artifact_bytes": len(result.artifact),
        "ratio": report["bytes"]["ratio"],
        "n": len(split),
        "before": float(right_before.mean()),
        "after": float(right_after.mean()),
        "lost_points": float(lost_points),
        # of a paired difference: images that became right or wrong, each with the same chance (McNemar 1947)
        "standard_error_points": float(100 * np.sqrt((right_before != right_after).sum()) / len(split)),
        "agreement": float((before == after).mean()),
        "seconds": report["seconds"],
        "met": bool(len(result.artifact) <= MOST_BYTES and lost_points <= MOST_LOST_POINTS + 1e-9)
        if budgeted and most_bytes <= MOST_BYTES
        else None,
    }


def answers(model: bytes, split: Split) -> np.ndarray:
    """Class with the highest score, (samples,)."""
    session = open_session(model, threads=1)
    found = [run(session, inputs)[0] for inputs, _ in split.batches(_BATCH)]
    return np.concatenate([scores.reshape(len(scores), -1).argmax(axis=1) for scores in found])


if __name__ == "__main__":
    sys.exit(main())

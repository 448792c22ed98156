"""Deep compression of LeNet-300-100 and LeNet-5 (MNIST), measured on the decoded artifact in onnxruntime.

Han, Mao and Dally 2016 (table 1) report 40x and 39x for these networks without loss. Ratio = fp32 weight
bytes over the bytes of the whole artifact (header, skeleton, codebooks and all). Nothing was chosen by the
test images: the recipe's options were fixed with reference networks that were trained here on 54,000 of the
training images and judged by the other 6,000.

Needs the data folder (EDGEPRESS_DATA, default ../shared/data). Exits with 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # read by torch: waiting threads leave the cores to others

import torch

from edgepress_compression.compress import Progress, compress
from edgepress_compression.data.dataset import load_dataset
from edgepress_compression.data.spec import data_folder
from edgepress_devices.profile import load_profile

MODELS = ("lenet_300_100_mnist", "lenet5_caffe_mnist")
RECIPE = "deep-compression"
LEAST_RATIO = 40.0
MOST_LOST_POINTS = 0.1
MOST_SECONDS = 15 * 60


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line last")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", choices=MODELS, action="append", help="only this one")
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count() or 1, help="of torch; results may differ"
    )
    arguments = parser.parse_args()
    folder = data_folder(Path(__file__))
    if not folder.is_dir():
        print(f"There is no data folder {folder}; set EDGEPRESS_DATA to it.", file=sys.stderr)
        return 2
    torch.set_num_threads(arguments.threads)
    rows = [measure(folder, name, arguments.seed) for name in arguments.model or MODELS]
    print(
        f"{'model':<22}{'fp32 B':>11}{'artifact B':>12}{'ratio':>8}{'error':>9}{'after':>9}{'points':>9}"
        f"{'nonzero':>9}{'seconds':>9}  goals"
    )
    for row in rows:
        print(
            f"{row['model']:<22}{row['weight_bytes']:>11,}{row['artifact_bytes']:>12,}{row['ratio']:>7.1f}x"
            f"{row['error_before']:>8.2%}{row['error_after']:>9.2%}{row['lost_points']:>+9.2f}"
            f"{row['nonzero']:>9.2%}{row['seconds']:>9.0f}  {'met' if row['met'] else 'MISSED'}"
        )
    if arguments.json:
        print(json.dumps({"benchmark": "lenet", "recipe": RECIPE, "seed": arguments.seed, "rows": rows}))
    return 0 if all(row["met"] for row in rows) else 1


def measure(folder: Path, name: str, seed: int) -> dict[str, float | int | str | bool]:
    def say(progress: Progress) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{name} {progress.fraction:4.0%} {progress.message}", end="", file=sys.stderr)

    result = compress(
        folder / "models" / f"{name}.onnx",
        recipe=RECIPE,
        profile=load_profile("raspberry-pi-4"),
        dataset=load_dataset(Path(__file__).parent / "datasets" / "mnist.toml"),
        progress=say,
        seed=seed,
        latency_seconds=0.5,
    )
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    report = result.report
    before, after = (1 - report["accuracy"][when] for when in ("before", "after"))
    ratio, lost_points = report["bytes"]["ratio"], 100 * (after - before)
    return {
        "model": name,
        "weight_bytes": report["bytes"]["weights_before"],
        "artifact_bytes": report["bytes"]["artifact"],
        "ratio": ratio,
        "error_before": before,
        "error_after": after,
        "lost_points": lost_points,
        "nonzero": report["stages"][-1]["nonzero"],
        "seconds": report["seconds"],
        "threads": torch.get_num_threads(),
        "met": ratio >= LEAST_RATIO
        and lost_points <= MOST_LOST_POINTS + 1e-9
        and report["seconds"] <= MOST_SECONDS,
    }


if __name__ == "__main__":
    sys.exit(main())

"""Static int8 against fp32 on the ImageNet sample, measured on the decoded artifact in onnxruntime.

One thread; both models run in turns in the same process, so whatever else the machine does hits both. The
sample's accuracy is inflated (its images look like training images): only the difference counts. Calibration
sees the 200 images of the split `train`, the test the other 500.

Needs the data folder (EDGEPRESS_DATA, default ../shared/data). Exits with 1 when a goal is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from edgepress_compression.compress import Progress, compress
from edgepress_compression.data.dataset import load_dataset
from edgepress_compression.data.spec import data_folder
from edgepress_devices.profile import load_profile

MODELS = {  # name -> data set, and whether the goals of the acceptance hold for it
    "squeezenet1.1": ("imagenet_sample", True),
    "efficientnet_lite0": ("imagenet_sample", True),
    "resnet20_cifar10": ("cifar10", False),
    "vgg_small_cifar10": ("cifar10", False),
    "minilm3_sst2": ("sst2", False),
    "dscnn_fsdd": ("fsdd", False),
    "FastestDet": ("coco", False),
}
MOST_LOST_POINTS = 1.0
LEAST_SPEEDUP = 1.8


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line last")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=8.0, help="of timing a model")
    parser.add_argument("--all", action="store_true", help="models without a goal, too")
    parser.add_argument("--model", choices=list(MODELS), action="append", help="only this one")
    arguments = parser.parse_args()
    folder = data_folder(Path(__file__))
    if not folder.is_dir():
        print(f"There is no data folder {folder}; set EDGEPRESS_DATA to it.", file=sys.stderr)
        return 2
    names = arguments.model or [name for name, (_, goal) in MODELS.items() if goal or arguments.all]
    rows = [measure(folder, name, arguments.seed, arguments.seconds) for name in names]
    print(
        f"{'model':<20}{'fp32 B':>11}{'artifact B':>12}{'metric':>9}{'before':>9}{'after':>9}{'points':>8}"
        f"{'p50 us':>9}{'after':>9}{'faster':>8}{'seconds':>9}  goals"
    )
    for row in rows:
        verdict = "-" if row["met"] is None else "met" if row["met"] else "MISSED"
        print(
            f"{row['model']:<20}{row['weight_bytes']:>11,}{row['artifact_bytes']:>12,}{row['metric']:>9}"
            f"{row['before']:>9.2%}{row['after']:>9.2%}{-row['lost_points']:>+8.2f}{row['p50_us_before']:>9.0f}"
            f"{row['p50_us_after']:>9.0f}{row['speedup']:>7.2f}x{row['seconds']:>9.0f}  {verdict}"
        )
    if arguments.json:
        print(json.dumps({"benchmark": "int8", "seed": arguments.seed, "rows": rows}))
    return 1 if any(row["met"] is False for row in rows) else 0


def measure(folder: Path, name: str, seed: int, seconds: float) -> dict[str, float | int | str | bool | None]:
    def say(progress: Progress) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{name} {progress.fraction:4.0%} {progress.message}", end="", file=sys.stderr)

    dataset, has_goal = MODELS[name]
    report = compress(
        folder / "models" / f"{name}.onnx",
        recipe="int8",
        profile=load_profile("x86-pc"),
        dataset=load_dataset(Path(__file__).parent / "datasets" / f"{dataset}.toml"),
        progress=say,
        seed=seed,
        latency_seconds=seconds,
    ).report
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    accuracy, latency = report["accuracy"], report["latency_us"]
    lost_points = 100 * (accuracy["before"] - accuracy["after"])
    met = lost_points <= MOST_LOST_POINTS + 1e-9 and latency["speedup"] >= LEAST_SPEEDUP
    return {
        "model": name,
        "weight_bytes": report["bytes"]["weights_before"],
        "artifact_bytes": report["bytes"]["artifact"],
        "metric": accuracy["metric"],
        "n": accuracy["n"],
        "before": accuracy["before"],
        "after": accuracy["after"],
        "lost_points": lost_points,
        "p50_us_before": latency["before"]["p50"],
        "p50_us_after": latency["after"]["p50"],
        "speedup": latency["speedup"],
        "machine": latency["machine"],
        "seconds": report["seconds"],
        "met": met if has_goal else None,
    }


if __name__ == "__main__":
    sys.exit(main())

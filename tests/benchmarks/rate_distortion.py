"""Accuracy against bytes when integers are chosen for a size, without labels and without training.

Every row is a whole artifact, decoded, in onnxruntime; before and after are of the same test images, none of
which was seen while integers were chosen. The ImageNet sample's accuracy is inflated (its images look like
training images): only the difference counts, and one of its 500 test images is 0.2 points.

Needs the data folder (EDGEPRESS_DATA, default ../shared/data).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from edgepress_compression.compress import Progress, compress
from edgepress_compression.data.dataset import load_dataset
from edgepress_compression.data.spec import data_folder
from edgepress_compression.recipe import Recipe, Step
from edgepress_devices.profile import load_profile

MODELS: dict[str, tuple[str, tuple[int, ...]]] = {  # data set, targets in bytes
    "squeezenet1.1": ("imagenet_sample", (700_000, 600_000, 500_000, 400_000)),
    "lenet5_caffe_mnist": ("mnist", (60_000,)),
    "resnet20_cifar10": ("cifar10", (100_000,)),
    "efficientnet_lite0": ("imagenet_sample", (2_200_000,)),
}
VARIANTS: dict[str, dict[str, Any]] = {
    "trellis": {"trellis": True},
    "uniform": {"trellis": False},
    "codebook": {"grid": "codebook"},
    "thrifty": {"trellis": False, "thrift": 1.0},
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="one JSON line last")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", choices=list(MODELS), action="append", help="only this one")
    parser.add_argument("--target", type=int, action="append", help="bytes, in place of the model's own")
    parser.add_argument("--variant", choices=list(VARIANTS), action="append", help="default: trellis")
    arguments = parser.parse_args()
    folder = data_folder(Path(__file__))
    if not folder.is_dir():
        print(f"There is no data folder {folder}; set EDGEPRESS_DATA to it.", file=sys.stderr)
        return 2
    print(
        f"{'model':<20}{'variant':<10}{'fp32 B':>11}{'target B':>11}{'artifact B':>11}{'bits':>6}"
        f"{'n':>7}{'before':>9}{'after':>9}{'points':>8}{'seconds':>9}"
    )
    rows = []
    for name in arguments.model or MODELS:
        for target in arguments.target or MODELS[name][1]:
            for variant in arguments.variant or ["trellis"]:
                rows.append(_row(folder, name, target, variant, arguments.seed))
    if arguments.json:
        print(json.dumps({"benchmark": "rate_distortion", "seed": arguments.seed, "rows": rows}))
    return 0


def _row(folder: Path, name: str, target: int, variant: str, seed: int) -> dict[str, Any]:
    def say(progress: Progress) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K{name} {progress.fraction:4.0%} {progress.message}", end="", file=sys.stderr)

    report = compress(
        folder / "models" / f"{name}.onnx",
        recipe=Recipe(variant, variant, passes=(Step("quantize", VARIANTS[variant]),)),
        profile=load_profile("x86-pc"),
        dataset=load_dataset(Path(__file__).parent / "datasets" / f"{MODELS[name][0]}.toml"),
        progress=say,
        seed=seed,
        latency_seconds=0.2,
        target_bytes=target,
    ).report
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    accuracy, bytes_ = report["accuracy"], report["bytes"]
    row = {
        "model": name,
        "variant": variant,
        "weight_bytes": bytes_["weights_before"],
        "target_bytes": target,
        "artifact_bytes": bytes_["artifact"],
        "bits": report["stages"][-1]["bits"],
        "n": accuracy["n"],
        "before": accuracy["before"],
        "after": accuracy["after"],
        "seconds": report["seconds"],
    }
    print(
        f"{name:<20}{variant:<10}{row['weight_bytes']:>11,}{target:>11,}{row['artifact_bytes']:>11,}"
        f"{row['bits']:>6.2f}{row['n']:>7,}{row['before']:>9.2%}{row['after']:>9.2%}"
        f"{100 * (row['after'] - row['before']):>+8.2f}{row['seconds']:>9.0f}",
        flush=True,
    )
    return row


if __name__ == "__main__":
    sys.exit(main())

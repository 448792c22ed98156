"""Random tensors through every coder and back, in a library built with the sanitizers.

    python compression/native/fuzz/round_trips.py [--tensors N] [--seed S] [--keep FOLDER]

What encoders are given is our own, but its lengths are not: this looks for a byte beside a buffer in them,
and in the way Python calls both. Exit status 1 when the sanitizers report one, or when a tensor changes.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import builds
import numpy as np
from numpy.typing import NDArray

from edgepress_compression.codec import native
from edgepress_compression.codec.coder import symbol_dtype
from edgepress_compression.codec.registry import BYTE_CODERS, DELTA_CODERS, SYMBOL_CODERS

Case = tuple[int, tuple[int, ...], NDArray[Any]]


def cases(count: int, seed: int) -> Iterator[Case]:
    """(alphabet, shape, symbols) of many kinds; few elements, so that ends and edges are common."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        alphabet = int(2 ** rng.uniform(0, 12))
        shape = tuple(int(2 ** rng.uniform(0, side)) for side in rng.choice([2, 3, 6, 9], rng.integers(0, 5)))
        size = int(np.prod(shape))
        if size > 20_000:
            continue
        middle = int(rng.integers(0, alphabet))
        spread = alphabet / 2 ** rng.uniform(1, 8)
        values = np.clip(np.rint(rng.normal(middle, spread, size)), 0, alphabet - 1)
        if rng.random() < 0.3:
            values = rng.integers(0, alphabet, size)
        kept = rng.random(size) < 2 ** -rng.uniform(0, 8)
        if rng.random() < 0.5 and shape:
            kept &= np.resize(rng.random(shape[-1]) < rng.random(), size)  # columns without weights
        if rng.random() < 0.6:
            values = np.where(kept, values, middle)
        yield alphabet, shape, values.astype(symbol_dtype(alphabet))


def round_trip(alphabet: int, shape: tuple[int, ...], symbols: NDArray[Any]) -> None:
    """Through every coder of symbols, of changes and of bytes. Raises AssertionError."""
    out = np.empty_like(symbols)
    for name, coder in SYMBOL_CODERS.items():
        payload = coder.encode(symbols, alphabet, shape)
        if payload is not None:
            coder.decode(memoryview(payload), alphabet, shape, out)
            _same(name, out, symbols)
    base = np.minimum(symbols + (np.arange(symbols.size) % 7 == 0), alphabet - 1).astype(symbols.dtype)
    for name, delta in DELTA_CODERS.items():
        payload = delta.encode(symbols, alphabet, shape, base)
        delta.decode(memoryview(payload), alphabet, shape, base, out)
        _same(name, out, symbols)
    floats = (symbols * np.float32(0.01)).astype(np.float32)
    for data in (floats, np.sort(floats)):
        raw = data.tobytes()
        for name, of_bytes in BYTE_CODERS.items():
            if name != "text" or len(raw) < 1000:  # slow
                payload = of_bytes.encode(raw, 4, True)
                if of_bytes.decode(memoryview(payload), len(raw), 4, True) != raw:
                    raise AssertionError(f"{name} does not give back what it took")


def _same(name: str, out: NDArray[Any], symbols: NDArray[Any]) -> None:
    if not np.array_equal(out, symbols):
        raise AssertionError(f"{name} does not give back what it took")


def main() -> int:
    parser = argparse.ArgumentParser(description="Round trips of random tensors under the sanitizers.")
    parser.add_argument("--tensors", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="build in this folder, and leave it")
    parser.add_argument("--library", type=Path, help=argparse.SUPPRESS)  # the child's, below
    arguments = parser.parse_args()
    if arguments.library is not None:
        native.LIBRARY = arguments.library  # type: ignore[misc]
        if not native.available():
            raise AssertionError("the library with the sanitizers is not loaded")
        done = 0
        for case in cases(arguments.tensors, arguments.seed):
            round_trip(*case)
            done += 1
        print(f"{done} tensors through every coder and back: no byte beside a buffer, none changed")
        return 0
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="edgepress-fuzz-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        library, runtime = builds.sanitized_library(folder.resolve())
    except (builds.BrokenError, builds.MissingError) as error:
        print(error, file=sys.stderr)
        return 1
    # Python itself is not instrumented: the sanitizers must be there first, and its own leaks do not matter.
    env = {**os.environ, "LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0", "EDGEPRESS_NATIVE": "1"}
    command = [sys.executable, __file__, "--library", str(library), "--seed", str(arguments.seed)]
    return subprocess.run([*command, "--tensors", str(arguments.tensors)], env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

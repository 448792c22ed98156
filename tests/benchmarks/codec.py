"""Bytes and decoding speed of every coder on the same weights, with zlib and xz beside them in the same run.

Each set is whole numbers made from a model's weights (pruned and clustered, or uniformly quantized), named
by a SHA-256, so that figures from different runs can be compared. Sizes count everything that a decoder
needs but the codebooks; every round trip is asserted; speeds are the best of several runs on one core.
"shuffled" is our choice on the same numbers in a random order inside each tensor: what is lost there is what
structure gave. A coder that declines one of a set's tensors has no line of its own.

Models come from the data folder (EDGEPRESS_DATA, default ../shared/data); without it a synthetic set is used.
"""

import argparse
import hashlib
import json
import lzma
import math
import os
import sys
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact.holes import find_holes
from edgepress_compression.codec.coder import symbol_dtype
from edgepress_compression.codec.registry import SYMBOL_CODERS

RUNS_MAX = 7
SECONDS_A_CODER = 3.0  # stop repeating after this


@dataclass
class Set:
    """Symbols of some tensors (each flat, uint16), their shapes, and the alphabet of each."""

    name: str
    tensors: list[NDArray[Any]] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    alphabets: list[int] = field(default_factory=list)

    def add(self, symbols: NDArray[Any]) -> None:
        self.alphabets.append(int(symbols.max()) + 1)
        self.tensors.append(symbols.reshape(-1).astype(symbol_dtype(self.alphabets[-1])))
        self.shapes.append(symbols.shape)

    @property
    def weights(self) -> int:
        return sum(len(tensor) for tensor in self.tensors)

    @property
    def sha256(self) -> str:
        return hashlib.sha256(b"".join(tensor.astype("<u2").tobytes() for tensor in self.tensors)).hexdigest()

    def entropy_bytes(self) -> int:
        """Zero-order entropy, each tensor by itself, no table counted."""
        total = 0.0
        for tensor in self.tensors:
            counts = np.bincount(tensor)
            counts = counts[counts > 0]
            total -= float((counts * np.log2(counts / len(tensor))).sum()) / 8
        return round(total)

    def shuffled(self) -> "Set":
        rng = np.random.default_rng(0)
        return Set(
            self.name, [rng.permutation(tensor) for tensor in self.tensors], self.shapes, self.alphabets
        )


@dataclass(frozen=True)
class Row:
    """One coder on one set."""

    coder: str
    size_bytes: int
    encode_mweights_s: float
    decode_mweights_s: float


def pruned_and_clustered(name: str, weights: list[NDArray[np.float32]], kept: float, bits: int) -> Set:
    """The largest ``kept`` of each tensor in 2**bits clusters (k-means, linear start: Deep Compression).

    Quantile, clusters and rounds as the design page's table has them: its zero-order entropies come out.
    """
    made = Set(name)
    for tensor in weights:
        mask = np.abs(tensor) > np.quantile(np.abs(tensor), 1 - kept)
        values = tensor[mask].astype(np.float64)
        centroids = np.linspace(values.min(), values.max(), 2**bits)
        for _ in range(30):
            nearest = _nearest(centroids, values)
            counts = np.bincount(nearest, minlength=len(centroids))
            sums = np.bincount(nearest, values, len(centroids))
            centroids = np.where(counts > 0, sums / np.maximum(counts, 1), centroids)
        nearest = _nearest(centroids, values)
        symbols = np.zeros(tensor.shape, np.int64)
        below = int((centroids < 0).sum())  # zero takes its place among the sorted centroids
        symbols[:] = below
        symbols[mask] = np.where(nearest < below, nearest, nearest + 1)
        made.add(symbols)
    return made


def _nearest(centroids: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)  # centroids are sorted


def uniform(name: str, weights: list[NDArray[np.float32]], bits: int) -> Set:
    """Each tensor on one symmetric grid of 2**bits - 1 steps."""
    made = Set(name)
    top = 2 ** (bits - 1) - 1
    for tensor in weights:
        symbols = np.round(tensor / (np.abs(tensor).max() or 1) * top).astype(np.int64) + top
        made.add(symbols)
    return made


def as_stored(name: str, weights: list[NDArray[np.float32]]) -> Set:
    """Tensors that already have few values: their indices."""
    made = Set(name)
    for tensor in weights:
        made.add(np.unique(tensor, return_inverse=True)[1].reshape(tensor.shape))
    return made


def model_weights(path: Path) -> list[NDArray[np.float32]]:
    data = path.read_bytes()
    return [
        np.frombuffer(data[hole.start : hole.stop], "<f4").reshape(hole.shape)
        for hole in find_holes(data)
        if hole.dtype == "float32" and len(hole.shape) in (2, 4) and math.prod(hole.shape) >= 256
    ]


def sets(data: Path) -> list[Callable[[], Set]]:
    models = data / "models"
    if not models.is_dir():
        print(f"no models in {data}: synthetic weights instead (set EDGEPRESS_DATA)", file=sys.stderr)
        rng = np.random.default_rng(0)
        layers = [rng.laplace(0, 0.05, shape).astype(np.float32) for shape in ((300, 784), (128, 64, 3, 3))]
        return [
            lambda: pruned_and_clustered("synthetic, 8 %, 4-bit", layers, 0.08, 4),
            lambda: pruned_and_clustered("synthetic, 35 %, 5-bit", layers, 0.35, 5),
            lambda: uniform("synthetic, 8-bit", layers, 8),
        ]

    def load(name: str) -> list[NDArray[np.float32]]:
        return model_weights(models / f"{name}.onnx")

    return [
        lambda: as_stored("SqueezeNet 1.0, authors' file", load("squeezenet1.0_deepcompressed")),
        lambda: pruned_and_clustered("SqueezeNet 1.1, 35 %, 5-bit", load("squeezenet1.1"), 0.35, 5),
        lambda: pruned_and_clustered("LeNet-300-100, 8 %, 4-bit", load("lenet_300_100_mnist"), 0.08, 4),
        lambda: pruned_and_clustered("LeNet-5, 8 %, 4-bit", load("lenet5_caffe_mnist"), 0.08, 4),
        lambda: pruned_and_clustered("ResNet-20, 30 %, 4-bit", load("resnet20_cifar10"), 0.30, 4),
        lambda: uniform("EfficientNet-Lite0, 8-bit", load("efficientnet_lite0"), 8),
        lambda: uniform("MiniLM-3, 6-bit", load("minilm3_sst2"), 6),
    ]


def measure(of: Set) -> list[Row]:
    rows = []
    coded: dict[str, list[bytes | None]] = {}
    seconds: dict[str, list[float]] = {}
    for name, coder in SYMBOL_CODERS.items():
        start = time.perf_counter()
        coded[name] = [
            coder.encode(tensor, alphabet, shape)
            for tensor, alphabet, shape in zip(of.tensors, of.alphabets, of.shapes, strict=True)
        ]
        encode_s = time.perf_counter() - start
        seconds[name] = [encode_s]
        if all(payload is not None for payload in coded[name]):
            rows.append(
                _row(name, of, [(name, payload) for payload in coded[name] if payload is not None], encode_s)
            )
    chosen = [
        min(
            ((name, payload) for name in coded if (payload := coded[name][place]) is not None),
            key=lambda c: len(c[1]),
        )
        for place in range(len(of.tensors))
    ]
    rows.append(_row("smallest of ours", of, chosen, sum(sum(times) for times in seconds.values())))
    rows.append(_peer("zlib -9", of, of.tensors, lambda data: zlib.compress(data, 9), zlib.decompress))
    rows.append(_peer("xz", of, of.tensors, lzma.compress, lzma.decompress))
    return rows


def _row(label: str, of: Set, coded: list[tuple[str, bytes]], encode_s: float) -> Row:
    def decode() -> list[NDArray[Any]]:
        decoded: list[NDArray[Any]] = [np.empty_like(tensor) for tensor in of.tensors]
        for (name, payload), alphabet, shape, out in zip(
            coded, of.alphabets, of.shapes, decoded, strict=True
        ):
            SYMBOL_CODERS[name].decode(memoryview(payload), alphabet, shape, out)
        return decoded

    for back, tensor in zip(decode(), of.tensors, strict=True):
        assert np.array_equal(back, tensor), f"{label} does not give {of.name} back"
    size = sum(len(payload) for _, payload in coded)
    return Row(label, size, of.weights / encode_s / 1e6, of.weights / best_seconds(decode) / 1e6)


def _peer(
    label: str,
    of: Set,
    tensors: list[NDArray[Any]],
    encode: Callable[[bytes], bytes],
    decode: Callable[[bytes], bytes],
) -> Row:
    plain = [tensor.tobytes() for tensor in tensors]
    start = time.perf_counter()
    coded = [encode(data) for data in plain]
    encode_s = time.perf_counter() - start
    assert [decode(data) for data in coded] == plain
    seconds = best_seconds(lambda: [decode(data) for data in coded])
    return Row(label, sum(map(len, coded)), of.weights / encode_s / 1e6, of.weights / seconds / 1e6)


def best_seconds(run: Callable[[], object]) -> float:
    best, began = float("inf"), time.perf_counter()
    for _ in range(RUNS_MAX):
        start = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() - began > SECONDS_A_CODER:
            break
    return best


def shuffled_bytes(of: Set) -> int:
    """What the smallest of ours takes when nothing but the counts of symbols is left."""
    mixed = of.shuffled()
    return sum(
        min(
            len(payload)
            for coder in SYMBOL_CODERS.values()
            if (payload := coder.encode(tensor, alphabet, shape)) is not None
        )
        for tensor, alphabet, shape in zip(mixed.tensors, mixed.alphabets, mixed.shapes, strict=True)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON line last")
    parser.add_argument("--only", default="", help="only sets with this in their name")
    options = parser.parse_args()
    results = []
    print(f"{'set / coder':34} {'bytes':>10} {'of H0':>7} {'bits/w':>7} {'enc M/s':>8} {'dec M/s':>8}")
    for make in sets(Path(os.environ.get("EDGEPRESS_DATA", "../shared/data"))):
        of = make()
        if options.only.lower() not in of.name.lower():
            continue
        entropy = of.entropy_bytes()
        print(f"\n{of.name}: {of.weights:,} weights, {len(of.tensors)} tensors, sha256 {of.sha256[:16]}")
        print(f"  {'H0, no tables':32} {entropy:>10,}")
        rows = measure(of)
        for row in rows:
            print(
                f"  {row.coder:32} {row.size_bytes:>10,} {row.size_bytes / entropy:>7.3f} "
                f"{8 * row.size_bytes / of.weights:>7.3f} "
                f"{row.encode_mweights_s:>8.1f} {row.decode_mweights_s:>8.1f}"
            )
        control = shuffled_bytes(of)
        print(f"  {'smallest of ours, shuffled':32} {control:>10,} {control / entropy:>7.3f}", flush=True)
        results.append(
            {
                "set": of.name,
                "sha256": of.sha256,
                "weights": of.weights,
                "h0_bytes": entropy,
                "shuffled_bytes": control,
                "coders": {
                    row.coder: {
                        "bytes": row.size_bytes,
                        "encode_mweights_s": round(row.encode_mweights_s, 2),
                        "decode_mweights_s": round(row.decode_mweights_s, 2),
                    }
                    for row in rows
                },
            }
        )
    if options.json:
        print(json.dumps({"benchmark": "codec", "sets": results}))


if __name__ == "__main__":
    main()

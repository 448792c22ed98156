"""The integer tensors that codecs are compared on: made from real models, the same ones every time.

Preparation as in the design page's table, whose zero-order entropies come out to the byte: each tensor with
two or four sides and at least 256 values; "p % kept, b-bit" keeps the largest magnitudes and clusters them by
k-means, "b-bit uniform" rounds to one symmetric grid. Models come from the data folder; without it synthetic
weights take their place.
"""

import hashlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress_compression.artifact.holes import find_holes
from edgepress_compression.codec.coder import symbol_dtype


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

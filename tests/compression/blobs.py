"""A data set that a tiny network learns at once: noisy copies of one random pattern a class."""

from __future__ import annotations

import numpy as np

from edgepress_compression.data.dataset import Dataset, dataset_from_arrays
from edgepress_compression.graph.model import Graph
from edgepress_compression.passes.state import PassState
from edgepress_devices.profile import load_profile


def blobs(samples: int, *, inputs: int = 16, classes: int = 4, seed: int = 0) -> Dataset:
    """Splits train and test (every fifth sample) of x float32 (N, inputs)."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((classes, inputs))
    labels = rng.integers(0, classes, samples)
    x = (centres[labels] + 0.7 * rng.standard_normal((samples, inputs))).astype(np.float32)
    return dataset_from_arrays("blobs", {"x": x, "labels": labels})


def state(graph: Graph, dataset: Dataset | None, seed: int = 0) -> PassState:
    return PassState(graph=graph, profile=load_profile("raspberry-pi-4"), dataset=dataset, seed=seed)

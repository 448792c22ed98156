"""Data sets of made-up numbers for passes that look at inputs."""

from __future__ import annotations

import numpy as np

from edgepress_compression.data.dataset import Dataset, dataset_from_arrays


def labelled(
    rng: np.random.Generator, *, inputs: int, classes: int, rank: int, samples: int = 400
) -> Dataset:
    """`x` (samples, inputs) in a space of `rank` directions, plus a little noise."""
    directions = rng.standard_normal((rank, inputs))
    x = rng.standard_normal((samples, rank)) @ directions + 0.01 * rng.standard_normal((samples, inputs))
    return dataset_from_arrays(
        "small", {"x": x.astype(np.float32), "labels": rng.integers(0, classes, samples)}
    )
